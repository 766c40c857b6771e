{{/* Name of all objects. */}}
{{- define "auren-operator.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the operator's pods; never changes within a release. */}}
{{- define "auren-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "auren-operator.labels" -}}
{{ include "auren-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: auren
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Pods and containers by the Pod Security Standard `restricted`. */}}
{{- define "auren-operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "auren-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
What the operator does where it serves; tests/api/operator/test_rbac.py holds every line against the API server's audit
log. A server-side apply needs `patch`, and `create` when it makes the object; `get` is the look at a name that was
never seen, before it is taken.
*/}}
{{- define "auren-operator.rules" -}}
- apiGroups: [aupex.ai]
  resources: [aurenstacks]
  verbs: [list, watch]
- apiGroups: [aupex.ai]
  resources: [aurenstacks/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps, secrets, serviceaccounts, services]
  verbs: [list, watch, get, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [list, watch, get, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, get, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch, get, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, get, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, get, create, patch, delete]
# The operator looks for volumes that lost their label, grows them and, with data.deletionPolicy Delete, makes the stack their owner. It deletes none; but
# where OwnerReferencesPermissionEnforcement is on, only who may delete an object may give it an owner.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, get, patch, delete]
# A pod that is stuck on a broken revision after its template was fixed has to be deleted.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}
