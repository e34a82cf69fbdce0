{{/* The pods of a pool of trainers: (list $ $name $pool). */}}
{{- define "training-engine.trainerPod" -}}
{{- $ := first . }}
{{- $name := index . 1 }}
{{- $pool := last . }}
{{- $component := printf "trainer-%s" $name }}
metadata:
  labels:
    {{- include "training-engine.selectorLabels" (list $ $component) | nindent 4 }}
    training-engine/trainer: "true"
  {{- with $pool.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "training-engine.component" (list $ "trainer") }}
  automountServiceAccountToken: false
  enableServiceLinks: false  # their variables would be taken for settings
  {{- with include "training-engine.imagePullSecrets" $ }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if $pool.priorityClassName }}
  priorityClassName: {{ $pool.priorityClassName }}
  {{- else if $.Values.trainers.priorityClass.create }}
  priorityClassName: {{ include "training-engine.component" (list $ "trainer") }}
  {{- end }}
  {{- with $pool.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "training-engine.podSecurityContext" 10001 | nindent 4 }}
  terminationGracePeriodSeconds: {{ add 30 $pool.checkpointSeconds }}
  containers:
    - name: trainer
      image: {{ include "training-engine.image" (list $ $pool.image) }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      securityContext:
        {{- include "training-engine.securityContext" $ | nindent 8 }}
      env:
        - name: HOME
          value: /tmp
        - name: OMP_NUM_THREADS
          value: {{ $pool.threads | quote }}
        - name: TRAINING_TRAINER_LOG_LEVEL
          value: {{ $.Values.logLevel }}
        - name: TRAINING_TRAINER_REDIS_URL_FILE
          value: /run/training-engine/redis-url
        - name: TRAINING_TRAINER_SCHEDULER_URL
          value: http://{{ include "training-engine.component" (list $ "scheduler") }}:8000
        - name: TRAINING_TRAINER_REGISTRY_URL
          value: http://{{ include "training-engine.component" (list $ "registry") }}:8000
        - name: TRAINING_TRAINER_TOKEN_FILE
          value: /run/training-engine/token
        - name: TRAINING_TRAINER_DATA_FOLDER
          value: /var/lib/training-engine/data
        - name: TRAINING_TRAINER_WORK_FOLDER
          value: /var/lib/training-engine/work
        - name: TRAINING_TRAINER_ENTRY_POINTS
          value: {{ append $.Values.trainers.entryPoints "services.trainer.samples.digits:build_model" | uniq | join "," | quote }}  # the last is helm test's
        - name: TRAINING_TRAINER_QUEUES
          value: {{ join "," $pool.queues }}
        - name: TRAINING_TRAINER_LEASE_SECONDS
          value: {{ $pool.leaseSeconds | quote }}
        - name: TRAINING_TRAINER_GRACE_SECONDS
          value: {{ $pool.checkpointSeconds | quote }}
        - name: TRAINING_TRAINER_MAX_ARTIFACT_BYTES
          value: {{ $pool.maxArtifactBytes | int64 | quote }}
        - name: TRAINING_TRAINER_THREADS
          value: {{ $pool.threads | quote }}
        {{- if $pool.gpus }}
        - name: TRAINING_TRAINER_GPUS
          value: {{ $pool.gpus | quote }}
        {{- end }}
        {{- if gt (int $pool.nodes) 1 }}
        - name: POD_NAME
          valueFrom:
            fieldRef: {fieldPath: metadata.name}
        - name: TRAINING_TRAINER_ADDRESS
          value: $(POD_NAME).{{ include "training-engine.trainerDomain" (list $ $component) }}
        - name: TRAINING_TRAINER_GROUP
          value: {{ include "training-engine.trainerGroup" (list $ $component $pool) }}
        - name: TRAINING_TRAINER_GROUP_SECONDS
          value: {{ $pool.groupSeconds | quote }}
        {{- end }}
      {{- if gt (int $pool.nodes) 1 }}
      ports:
        - name: group
          containerPort: 29400
      {{- end }}
      startupProbe:
        exec: {command: [python, -m, services.trainer.alive]}
        periodSeconds: 5
        timeoutSeconds: 10
        failureThreshold: 60
      livenessProbe:
        exec: {command: [python, -m, services.trainer.alive]}
        periodSeconds: 30
        timeoutSeconds: 20
        failureThreshold: 4
      readinessProbe:
        exec: {command: [python, -m, services.trainer.alive, ready]}
        periodSeconds: 30
        timeoutSeconds: 20
      resources:
        {{- if $pool.gpus }}
        {{- $gpus := dict $pool.gpuResource $pool.gpus }}
        {{- toYaml (mergeOverwrite (deepCopy $pool.resources) (dict "requests" $gpus "limits" $gpus)) | nindent 8 }}
        {{- else }}
        {{- toYaml $pool.resources | nindent 8 }}
        {{- end }}
      volumeMounts:
        - name: credentials
          mountPath: /run/training-engine
          readOnly: true
        - name: work
          mountPath: /var/lib/training-engine/work
        - name: data
          mountPath: /var/lib/training-engine/data
          readOnly: true
        - name: shm
          mountPath: /dev/shm
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: credentials
      projected:
        defaultMode: 0440
        sources:
          - secret:
              name: {{ include "training-engine.tokensSecret" $ }}
              items:
                - {key: {{ $component }}, path: token}
          - secret:
              name: {{ include "training-engine.redisSecret" $ }}
              items:
                - {key: url, path: redis-url}
    - name: work
      emptyDir:
        sizeLimit: {{ $pool.workSize }}
    - name: data
      {{- if $.Values.trainers.dataClaim }}
      persistentVolumeClaim:
        claimName: {{ $.Values.trainers.dataClaim }}
        readOnly: true
      {{- else }}
      emptyDir:
        sizeLimit: 1Mi
      {{- end }}
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: {{ $pool.sharedMemory }}
    - name: tmp
      emptyDir:
        sizeLimit: 2Gi
  {{- with $pool.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pool.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pool.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.topologySpread.keys }}
  topologySpreadConstraints:
    {{- range . }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "training-engine.selectorLabels" (list $ $component) | nindent 10 }}
    {{- end }}
  {{- end }}
{{- end }}

{{/* Where the pods of a group find each other: (list $ "trainer-nodes"). */}}
{{- define "training-engine.trainerDomain" -}}
{{- printf "%s.%s.svc" (include "training-engine.component" .) (first .).Release.Namespace }}
{{- end }}

{{/* The addresses of a group, its leader's first: (list $ "trainer-nodes" $pool). */}}
{{- define "training-engine.trainerGroup" -}}
{{- $component := list (first .) (index . 1) }}
{{- range $number := until (int (last .).nodes) }}
{{- if $number }},{{ end }}
{{- include "training-engine.component" $component }}-{{ $number }}.{{ include "training-engine.trainerDomain" $component }}
{{- end }}
{{- end }}
