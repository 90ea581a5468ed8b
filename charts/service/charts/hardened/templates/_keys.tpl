{{- /* Keys that each part may have; another one is a misspelling that would silently do
       nothing. Parts are named by their path; a text says which shared part's keys they have. What is not
       listed has keys of the user's. JSON, which is read faster than YAML. */}}
{{- define "hardened.keys" -}}
{
  "spec": [
    "global", "hardened", "enabled", "nameOverride", "fullnameOverride", "component",
    "partOf", "kind", "image", "command", "args", "port", "portName", "appProtocol", "ports",
    "env", "envFrom", "config", "mounts", "replicaCount", "singleReplicaReason",
    "autoscaling", "verticalAutoscaling", "resources", "probes", "securityContext",
    "writableDirectories", "initContainers", "sidecars", "volumeClaims", "serviceAccount",
    "rbac", "podLabels", "podAnnotations", "nodeSelector", "tolerations",
    "priorityClassName", "topologySpread", "antiAffinity", "disruptionBudget", "shutdown",
    "cron", "job", "hook", "syncWave", "nodeAgent", "service", "ingress", "httpRoute",
    "networkPolicy", "externalSecret", "metrics", "shares"
  ],
  "image": ["repository", "tag", "digest", "pullPolicy", "pullSecrets"],
  "ports": ["name", "port", "servicePort", "appProtocol", "from"],
  "ports.from": "*peer",
  "*peer": ["podSelector", "namespaceSelector", "ipBlock"],
  "*peer.podSelector": "*labelSelector",
  "*labelSelector": ["matchLabels", "matchExpressions"],
  "*labelSelector.matchExpressions": ["key", "operator", "values"],
  "*peer.namespaceSelector": "*labelSelector",
  "*peer.ipBlock": ["cidr", "except"],
  "envFrom": ["configMap", "prefix", "containers"],
  "config": ["env", "files", "containers"],
  "mounts": ["path", "configMap", "secret", "secretProviderClass", "key", "containers"],
  "autoscaling": [
    "enabled", "minReplicas", "maxReplicas", "targetCPUUtilizationPercentage", "scaleUp",
    "scaleDown", "targetMemoryUtilizationPercentage", "initialReplicas", "keda",
    "requestsPerSecond", "scaleToZero"
  ],
  "autoscaling.scaleUp": ["stabilizationWindowSeconds", "percent", "periodSeconds"],
  "autoscaling.scaleDown": ["stabilizationWindowSeconds", "pods", "periodSeconds"],
  "autoscaling.keda": ["enabled", "triggers", "pollingInterval", "cooldownPeriod"],
  "autoscaling.keda.triggers": ["type", "name", "metricType", "metadata", "authenticationRef"],
  "autoscaling.keda.triggers.authenticationRef": ["name", "kind"],
  "autoscaling.requestsPerSecond": ["enabled", "perPod", "source", "metric", "matchLabels"],
  "autoscaling.scaleToZero": ["reason", "peakMetric", "peakReplicas"],
  "verticalAutoscaling": ["enabled", "minAllowed", "maxAllowed", "updateMode"],
  "verticalAutoscaling.minAllowed": "*bounds",
  "*bounds": ["cpu", "memory"],
  "verticalAutoscaling.maxAllowed": "*bounds",
  "resources": "*resources",
  "*resources": ["requests", "limits"],
  "*resources.requests": "*compute",
  "*compute": ["cpu", "memory", "ephemeral-storage"],
  "*resources.limits": "*compute",
  "probes": ["startup", "readiness", "liveness"],
  "probes.startup": "*probe",
  "*probe": [
    "type", "path", "command", "periodSeconds", "timeoutSeconds", "failureThreshold",
    "service", "scheme", "port"
  ],
  "probes.readiness": "*probe",
  "probes.liveness": "*probe",
  "securityContext": [
    "runAsUser", "runAsGroup", "fsGroup", "readOnlyRootFilesystem", "writableRootReason",
    "platformIDsReason", "seccompLocalhostProfile"
  ],
  "writableDirectories": "*directory",
  "*directory": ["path", "sizeLimit", "name", "medium"],
  "initContainers": "*container",
  "*container": [
    "name", "image", "command", "args", "port", "env", "resources", "writableDirectories",
    "probes"
  ],
  "*container.image": "*image",
  "*image": ["repository", "tag", "digest", "pullPolicy"],
  "*container.resources": "*resources",
  "*container.writableDirectories": "*directory",
  "*container.probes": ["startup", "readiness", "liveness"],
  "*container.probes.startup": "*probe",
  "*container.probes.readiness": "*probe",
  "*container.probes.liveness": "*probe",
  "sidecars": "*container",
  "volumeClaims": [
    "name", "path", "size", "storageClassName", "accessMode", "existingClaim", "subPath",
    "readOnly", "containers"
  ],
  "serviceAccount": ["annotations", "workloadIdentity", "apiToken", "tokens"],
  "serviceAccount.workloadIdentity": ["gcp", "aws", "azure"],
  "serviceAccount.workloadIdentity.gcp": ["serviceAccount"],
  "serviceAccount.workloadIdentity.aws": ["roleARN"],
  "serviceAccount.workloadIdentity.azure": ["clientID", "tenantID"],
  "serviceAccount.tokens": ["audience", "path", "expirationSeconds"],
  "rbac": ["rules"],
  "rbac.rules": ["apiGroups", "resources", "verbs", "resourceNames"],
  "tolerations": ["key", "operator", "value", "effect", "tolerationSeconds"],
  "topologySpread": ["zone", "node"],
  "disruptionBudget": ["maxUnavailable"],
  "shutdown": ["preStopSleepSeconds", "terminationGracePeriodSeconds"],
  "cron": [
    "schedule", "timeZone", "concurrencyPolicy", "startingDeadlineSeconds",
    "successfulJobsHistoryLimit", "failedJobsHistoryLimit", "suspend"
  ],
  "job": [
    "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "completions",
    "parallelism"
  ],
  "hook": ["by", "on", "weight"],
  "nodeAgent": ["reason", "hostPaths", "hostNetwork", "hostPID"],
  "nodeAgent.hostPaths": ["path", "mountPath", "type", "reason"],
  "service": [
    "enabled", "port", "type", "headless", "externalTrafficPolicy", "loadBalancerClass",
    "sourceRanges", "annotations"
  ],
  "ingress": ["enabled", "className", "annotations", "host", "path", "hosts", "from", "tls"],
  "ingress.hosts": ["host", "paths", "secretName"],
  "ingress.hosts.paths": ["path", "pathType", "port"],
  "ingress.from": "*peer",
  "ingress.tls": ["enabled", "secretName", "clusterIssuer"],
  "httpRoute": ["enabled", "hostnames", "parentRefs", "path", "rules", "from"],
  "httpRoute.parentRefs": ["name", "namespace", "sectionName"],
  "httpRoute.rules": ["path", "port"],
  "httpRoute.from": "*peer",
  "networkPolicy": ["ingress", "egress"],
  "networkPolicy.ingress": ["sameNamespace", "from"],
  "networkPolicy.ingress.from": "*peer",
  "networkPolicy.egress": ["dns", "dnsPort", "allow", "to"],
  "networkPolicy.egress.dns": "*peer",
  "networkPolicy.egress.allow": ["name", "cidrs", "ports"],
  "networkPolicy.egress.to": ["peers", "ports"],
  "networkPolicy.egress.to.peers": "*peer",
  "networkPolicy.egress.to.ports": "*port",
  "*port": ["port", "endPort", "protocol"],
  "externalSecret": [
    "enabled", "store", "refreshInterval", "env", "data", "files", "dataFrom", "pull", "tls"
  ],
  "externalSecret.store": ["kind", "name"],
  "externalSecret.env": ["name", "key", "property", "value", "containers"],
  "externalSecret.data": ["name", "key", "property", "value"],
  "externalSecret.files": ["path", "key", "property", "template", "containers", "value"],
  "externalSecret.dataFrom": ["key", "path", "env", "template", "containers", "value"],
  "externalSecret.pull": ["key", "property", "value"],
  "externalSecret.tls": ["key", "certificate", "privateKey"],
  "metrics": ["enabled", "kind", "port", "path", "interval", "scrapeTimeout", "from"],
  "metrics.from": "*peer",
  "*valueFrom": ["field", "resource", "divisor", "configMap", "secret", "key", "optional"],
  "*file": ["text", "containers"]
}
{{- end }}
