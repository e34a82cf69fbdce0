{{/* Names. */}}
{{- define "training-engine.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "training-engine.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "training-engine.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The name of a component's objects: (list $ "registry"). */}}
{{- define "training-engine.component" -}}
{{- printf "%s-%s" (include "training-engine.fullname" (first .)) (last .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "training-engine.tokensSecret" -}}
{{- .Values.tokens.existingSecret | default (include "training-engine.component" (list . "tokens")) }}
{{- end }}

{{- define "training-engine.postgresqlSecret" -}}
{{- .Values.postgresql.existingSecret | default (include "training-engine.component" (list . "postgresql")) }}
{{- end }}

{{- define "training-engine.redisSecret" -}}
{{- .Values.redis.existingSecret | default (include "training-engine.component" (list . "redis")) }}
{{- end }}

{{/* The chart's own Postgres does not run before the release is there: then an ordinary Job, which the pods wait for. */}}
{{- define "training-engine.migrationIsHook" -}}
{{- if or .Release.IsUpgrade (not .Values.postgresql.enabled) }}true{{ end }}
{{- end }}

{{/* Labels: (list $ "registry"). */}}
{{- define "training-engine.selectorLabels" -}}
app.kubernetes.io/name: {{ include "training-engine.name" (first .) }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "training-engine.labels" -}}
{{ include "training-engine.selectorLabels" . }}
app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
app.kubernetes.io/part-of: training-engine
app.kubernetes.io/managed-by: {{ (first .).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (first .).Chart.Name (first .).Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image: (list $ .Values.registry.image). */}}
{{- define "training-engine.image" -}}
{{- $common := (first .).Values.image }}
{{- $image := last . }}
{{- $name := $image.repository }}
{{- with $image.registry | default $common.registry }}
{{- $name = printf "%s/%s" . $name }}
{{- end }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name ($image.tag | default $common.tag | default (first .).Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* What a pod pulls its images with. */}}
{{- define "training-engine.imagePullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The security context of a pod, by its user's id: Pod Security's "restricted". */}}
{{- define "training-engine.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "training-engine.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
