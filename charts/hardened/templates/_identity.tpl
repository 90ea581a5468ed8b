{{- /* Who the pods are: to the cluster's API server, and to a cloud. */}}

{{- define "hardened.serviceaccount" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkIdentity" $c }}
{{- $annotations := ($c.spec.serviceAccount).annotations | default dict }}
{{- with ($c.spec.serviceAccount).workloadIdentity }}
{{- with .gcp }}{{ $annotations = merge (dict "iam.gke.io/gcp-service-account" .serviceAccount) $annotations }}{{ end }}
{{- with .aws }}{{ $annotations = merge (dict "eks.amazonaws.com/role-arn" .roleARN) $annotations }}{{ end }}
{{- with .azure }}
{{- $annotations = merge (dict "azure.workload.identity/client-id" .clientID) $annotations }}
{{- with .tenantID }}{{ $annotations = merge (dict "azure.workload.identity/tenant-id" .) $annotations }}{{ end }}
{{- end }}
{{- end -}}
apiVersion: v1
kind: ServiceAccount
{{ include "hardened.internal.metadata" (merge (dict "annotations" $annotations) $c) }}
automountServiceAccountToken: false
{{- end }}

{{- /* Labels of the pods beside those that select them, as JSON. */}}
{{- define "hardened.internal.podLabels" -}}
{{- $labels := .spec.podLabels | default dict }}
{{- if ((.spec.serviceAccount).workloadIdentity).azure }}
{{- $labels = merge (dict "azure.workload.identity/use" "true") $labels }}
{{- end }}
{{- toJson $labels }}
{{- end }}

{{- /* Not empty where the container gets a token of the API server: one that expires, in the main
       container alone, and only where it is asked for. */}}
{{- define "hardened.internal.apiToken" -}}
{{- if (.spec.serviceAccount).apiToken }}yes{{ end }}
{{- end }}

{{- /* A Role with the rules of spec.rbac, in the release's namespace, bound to the ServiceAccount; none
       without rules. */}}
{{- define "hardened.rbac" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkIdentity" $c }}
{{- with $c.spec.rbac.rules -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
{{ include "hardened.internal.metadata" $c }}
rules:
  {{- toYaml . | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
{{ include "hardened.internal.metadata" $c }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "hardened.fullname" $c | toYaml }}
subjects:
  - kind: ServiceAccount
    name: {{ include "hardened.fullname" $c | toYaml }}
    namespace: {{ $c.root.Release.Namespace | toYaml }}
{{- end }}
{{- end }}

{{- /* The account, its rights and what clouds read. */}}
{{- define "hardened.internal.checkIdentity" -}}
{{- $a := .spec.serviceAccount | default dict }}
{{- if gt (len (keys ($a.workloadIdentity | default dict))) 1 }}
{{- include "hardened.internal.refuse" (list $ "serviceAccount.workloadIdentity: want exactly one of gcp, aws and azure") }}
{{- end }}
{{- range $key, $value := .spec.podLabels }}
{{- if or (hasPrefix "app.kubernetes.io/" $key) (hasPrefix "helm.sh/" $key) (hasPrefix "pod-security.kubernetes.io/" $key) }}
{{- include "hardened.internal.refuse" (list $ (printf "podLabels.%s: by these labels pods are selected, and they are made from the names. Use nameOverride, component or partOf" $key)) }}
{{- end }}
{{- end }}
{{- if and .spec.rbac.rules (not $a.apiToken) }}
{{- include "hardened.internal.refuse" (list $ "rbac.rules without serviceAccount.apiToken: the pods get rights and no token to use them with. Set it to true, or leave the rules out") }}
{{- end }}
{{- range $i, $rule := .spec.rbac.rules }}
{{- $at := printf "rbac.rules[%d]" $i }}
{{- if not (and (hasKey $rule "apiGroups") $rule.resources $rule.verbs) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s: apiGroups, resources and verbs are required" $at)) }}
{{- end }}
{{- if or (has "*" (concat $rule.apiGroups $rule.resources $rule.verbs)) (regexMatch "(^| )[*]/|/[*]( |$)" (join " " $rule.resources)) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s has a wildcard: it gives what nobody has thought of (control RBC-1). Name API groups, resources and verbs" $at)) }}
{{- end }}
{{- range $verb := list "escalate" "bind" "impersonate" }}
{{- if has $verb $rule.verbs }}
{{- include "hardened.internal.refuse" (list $ (printf "%s: the verb %s leads to all other rights (control RBC-2). Leave it out" $at $verb)) }}
{{- end }}
{{- end }}
{{- if and (has "secrets" $rule.resources) (not $rule.resourceNames) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s reads or changes all Secrets of the namespace (control RBC-2). Name them in resourceNames, or use externalSecret" $at)) }}
{{- end }}
{{- range $resource := list "pods/exec" "pods/attach" "pods/ephemeralcontainers" "serviceaccounts/token" "nodes/proxy" }}
{{- if has $resource $rule.resources }}
{{- include "hardened.internal.refuse" (list $ (printf "%s: %s leads to the rights of others (control RBC-2). Leave it out" $at $resource)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
