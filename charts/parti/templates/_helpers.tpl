{{/* Names, labels and images that several templates share. */}}

{{- define "parti.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of everything namespaced: the release, with the chart's name unless it is in it. */}}
{{- define "parti.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "parti.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "parti.operatorName" -}}
{{- printf "%s-operator" (include "parti.fullname" .) }}
{{- end }}

{{/* Name of everything of the whole cluster: two releases in two namespaces must not collide. */}}
{{- define "parti.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "parti.operatorName" .) }}
{{- end }}

{{- define "parti.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "parti.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: parti
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "parti.selectorLabels" -}}
app.kubernetes.io/name: {{ include "parti.name" . }}-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "parti.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "parti.operatorName" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* An image from {repository, tag, digest}; a digest names the bytes, so the tag is left out. */}}
{{- define "parti.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}
