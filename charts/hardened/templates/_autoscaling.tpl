{{- /* Scaling between bounds, by cpu, memory and requests per second: the largest of what each asks
       for. Only for kinds Deployment and StatefulSet, and where autoscaling is enabled. */}}
{{- define "hardened.horizontalpodautoscaler" -}}
{{- if include "hardened.internal.asked" (dict "of" .spec "part" "autoscaling") }}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkReplicas" $c }}
{{- $a := $c.spec.autoscaling }}
{{- if and $a.enabled (not $a.keda.enabled) (include "hardened.internal.scales" $c) -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
{{ include "hardened.internal.metadata" $c }}
spec:
  scaleTargetRef:
    {{- include "hardened.internal.workloadRef" $c | nindent 4 }}
  minReplicas: {{ int $a.minReplicas }}
  maxReplicas: {{ int $a.maxReplicas }}
  metrics:
    {{- range $resource, $percent := dict "cpu" $a.targetCPUUtilizationPercentage "memory" $a.targetMemoryUtilizationPercentage }}
    {{- if $percent }}
    - type: Resource
      resource:
        name: {{ $resource }}
        target:
          type: Utilization
          averageUtilization: {{ int $percent }}
    {{- end }}
    {{- end }}
    {{- with $a.requestsPerSecond }}
    {{- if .enabled }}
    - type: {{ .source }}
      {{ lower .source }}:
        metric:
          name: {{ .metric | toYaml }}
          {{- with .matchLabels }}
          selector:
            matchLabels:
              {{- toYaml . | nindent 14 }}
          {{- end }}
        target:
          type: AverageValue
          averageValue: {{ .perPod | quote }}
    {{- end }}
    {{- end }}
    {{- /* In peak hours the guard is 1 for peakReplicas pods together; off-peak it is 0 and keeps none. */}}
    {{- if not (int $a.minReplicas) }}
    - type: External
      external:
        metric:
          name: {{ $a.scaleToZero.peakMetric | toYaml }}
        target:
          type: AverageValue
          averageValue: {{ printf "%dm" (div 1000 (int $a.scaleToZero.peakReplicas)) }}
    {{- end }}
  behavior:
    {{- include "hardened.internal.scaling" $a | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The behavior of a HorizontalPodAutoscaler. */}}
{{- define "hardened.internal.scaling" -}}
scaleUp:
  stabilizationWindowSeconds: {{ int .scaleUp.stabilizationWindowSeconds }}
  policies:
    - type: Percent
      value: {{ int .scaleUp.percent }}
      periodSeconds: {{ int .scaleUp.periodSeconds }}
scaleDown:
  stabilizationWindowSeconds: {{ int .scaleDown.stabilizationWindowSeconds }}
  policies:
    - type: Pods
      value: {{ int .scaleDown.pods }}
      periodSeconds: {{ int .scaleDown.periodSeconds }}
{{- end }}

{{- /* Scaling by KEDA, which makes a HorizontalPodAutoscaler of it, with the same bounds and windows:
       instead of ours, where autoscaling.keda is enabled. */}}
{{- define "hardened.scaledobject" -}}
{{- if include "hardened.internal.asked" (dict "of" (kindIs "map" .spec.autoscaling | ternary .spec.autoscaling dict) "part" "keda") }}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkReplicas" $c }}
{{- $a := $c.spec.autoscaling }}
{{- if and $a.enabled $a.keda.enabled (include "hardened.internal.scales" $c) -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
{{ include "hardened.internal.metadata" $c }}
spec:
  scaleTargetRef:
    {{- include "hardened.internal.workloadRef" $c | nindent 4 }}
  minReplicaCount: {{ int $a.minReplicas }}
  maxReplicaCount: {{ int $a.maxReplicas }}
  pollingInterval: {{ int $a.keda.pollingInterval }}
  cooldownPeriod: {{ int $a.keda.cooldownPeriod }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "hardened.internal.scaling" $a | nindent 8 }}
  triggers:
    {{- range $a.keda.triggers }}
    - type: {{ .type }}
      {{- with .name }}
      name: {{ . | toYaml }}
      {{- end }}
      {{- with .metricType }}
      metricType: {{ . }}
      {{- end }}
      metadata:
        {{- range $key, $value := .metadata }}
        {{ $key }}: {{ include "hardened.internal.text" $value | quote }}
        {{- end }}
      {{- with .authenticationRef }}
      authenticationRef:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Recommends requests within bounds and changes nothing, so that it never fights an HPA. */}}
{{- define "hardened.verticalpodautoscaler" -}}
{{- if include "hardened.internal.asked" (dict "of" .spec "part" "verticalAutoscaling") }}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkRecommendations" $c }}
{{- $v := $c.spec.verticalAutoscaling }}
{{- if $v.enabled -}}
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
{{ include "hardened.internal.metadata" $c }}
spec:
  targetRef:
    {{- include "hardened.internal.workloadRef" $c | nindent 4 }}
  updatePolicy:
    updateMode: "Off"
  resourcePolicy:
    containerPolicies:
      - containerName: "*"
        minAllowed:
          {{- toYaml $v.minAllowed | nindent 10 }}
        maxAllowed:
          {{- toYaml $v.maxAllowed | nindent 10 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* With one replica a budget could only block drains, so there is none. */}}
{{- define "hardened.poddisruptionbudget" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkDisruptions" $c }}
{{- if and (include "hardened.internal.scales" $c) (ne (include "hardened.internal.floor" $c) "1") -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
{{ include "hardened.internal.metadata" $c }}
spec:
  maxUnavailable: {{ int $c.spec.disruptionBudget.maxUnavailable }}
  # A pod that is not ready does not hold up a drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
{{- end }}
{{- end }}
