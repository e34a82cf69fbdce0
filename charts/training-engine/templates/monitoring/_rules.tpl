{{/* An expression about this release alone: each series of the platform, known by how its name begins, gets the matcher. */}}
{{- define "training-engine.inNamespace" -}}
{{- $release := (index . 0).Release }}
{{- $series := "model:[\\w:]+|(?:drift|http|kube|kubelet|monitor|performance|process|serving|training)_\\w+" }}
{{- $matcher := printf "namespace=%q" $release.Namespace }}
{{- $chosen := regexReplaceAll (printf "\\b(up|%s)\\{" $series) (index . 1) (printf "${1}{%s, " $matcher) }}
{{- regexReplaceAll (printf "\\b(%s)([^\\w:{]|$)" $series) $chosen (printf "${1}{%s}${2}" $matcher) }}
{{- end }}
