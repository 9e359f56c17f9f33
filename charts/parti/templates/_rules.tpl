{{/*
What the operator may do in a namespace that it looks after. Everything it writes, it writes by
server-side apply: that is a patch, and a create where the object does not exist yet. Children are
deleted by Kubernetes, with their PartiCluster.
*/}}
{{- define "parti.rules" -}}
- apiGroups: [parti.dev]
  resources: [particlusters]
  verbs: [get, list, watch, patch]
- apiGroups: [parti.dev]
  resources: [particlusters/status]
  verbs: [patch]
# Owner references that block deletion need it where the API server checks them.
- apiGroups: [parti.dev]
  resources: [particlusters/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# A PartiCluster has these two or has them not.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}
