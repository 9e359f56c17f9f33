{{/* Names, labels and images that several templates share. */}}

{{/* Name of everything namespaced: the release, with the chart's name unless it is in it. */}}
{{- define "parti.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "parti.operatorName" -}}
{{- printf "%s-operator" (include "parti.fullname" .) }}
{{- end }}

{{/* Name of everything without a namespace: releases in two namespaces must not collide. */}}
{{- define "parti.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "parti.operatorName" .) }}
{{- end }}

{{- define "parti.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "parti.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Pods do not carry the chart's version: a new chart for the same operator restarts nothing. */}}
{{- define "parti.podLabels" -}}
{{ include "parti.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: parti
{{- end }}

{{/* NetworkPolicies of PartiClusters let in who has this name: it is not for changing. */}}
{{- define "parti.selectorLabels" -}}
app.kubernetes.io/name: parti-operator
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

{{/* The namespaces whose PartiClusters are looked after, as JSON; of no use with watch.all. */}}
{{- define "parti.namespaces" -}}
{{- default (list .Release.Namespace) .Values.watch.namespaces | uniq | toJson }}
{{- end }}
