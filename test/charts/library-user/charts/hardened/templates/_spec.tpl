{{- /* What holds unless the spec says otherwise. There is no default for the image and for
       resources: nobody but its owner knows them. JSON, which is read faster than YAML. */}}
{{- define "hardened.defaults" -}}
{
  "kind": "Deployment",
  "image": {"pullPolicy": "IfNotPresent", "pullSecrets": []},
  "port": 0,
  "portName": "http",
  "appProtocol": "",
  "ports": [],
  "envFrom": [],
  "config": {"env": {}, "files": {}, "containers": ["main"]},
  "mounts": [],
  "replicaCount": 2,
  "autoscaling": {
    "enabled": false,
    "minReplicas": 2,
    "maxReplicas": 6,
    "targetCPUUtilizationPercentage": 70,
    "targetMemoryUtilizationPercentage": 0,
    "initialReplicas": 0,
    "keda": {"enabled": false, "triggers": [], "pollingInterval": 30, "cooldownPeriod": 300},
    "requestsPerSecond": {
      "enabled": false,
      "perPod": 50,
      "source": "Pods",
      "metric": "http_requests_per_second",
      "matchLabels": {}
    },
    "scaleUp": {"stabilizationWindowSeconds": 30, "percent": 100, "periodSeconds": 60},
    "scaleDown": {"stabilizationWindowSeconds": 300, "pods": 1, "periodSeconds": 120},
    "scaleToZero": {"reason": "", "peakMetric": "", "peakReplicas": 2}
  },
  "verticalAutoscaling": {"enabled": false, "updateMode": "Off"},
  "probes": {
    "startup": {
      "type": "http",
      "path": "/healthz",
      "periodSeconds": 2,
      "timeoutSeconds": 2,
      "failureThreshold": 30
    },
    "readiness": {
      "type": "http",
      "path": "/readyz",
      "periodSeconds": 5,
      "timeoutSeconds": 2,
      "failureThreshold": 3
    },
    "liveness": {
      "type": "http",
      "path": "/healthz",
      "periodSeconds": 10,
      "timeoutSeconds": 2,
      "failureThreshold": 6
    }
  },
  "securityContext": {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "readOnlyRootFilesystem": true},
  "rbac": {"rules": []},
  "topologySpread": {"zone": "ScheduleAnyway", "node": "ScheduleAnyway"},
  "antiAffinity": "preferred",
  "disruptionBudget": {"maxUnavailable": 1},
  "shutdown": {"preStopSleepSeconds": 5, "terminationGracePeriodSeconds": 45},
  "cron": {
    "timeZone": "Etc/UTC",
    "concurrencyPolicy": "Forbid",
    "startingDeadlineSeconds": 300,
    "successfulJobsHistoryLimit": 3,
    "failedJobsHistoryLimit": 3,
    "suspend": false
  },
  "job": {
    "backoffLimit": 3,
    "activeDeadlineSeconds": 3600,
    "ttlSecondsAfterFinished": 0,
    "completions": 1,
    "parallelism": 1
  },
  "hook": {"by": "", "on": ["pre-install", "pre-upgrade"], "weight": 0},
  "service": {
    "enabled": true,
    "port": 80,
    "type": "ClusterIP",
    "headless": false,
    "externalTrafficPolicy": "Local",
    "loadBalancerClass": "",
    "sourceRanges": []
  },
  "ingress": {"enabled": false, "path": "/", "hosts": [], "tls": {}, "from": []},
  "httpRoute": {"enabled": false, "hostnames": [], "parentRefs": [], "path": "/", "rules": [], "from": []},
  "networkPolicy": {
    "ingress": {"sameNamespace": true, "from": []},
    "egress": {
      "dns": [
        {
          "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
          "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}
        }
      ],
      "dnsPort": 53,
      "allow": [],
      "to": []
    }
  },
  "externalSecret": {
    "refreshInterval": "1h",
    "env": [],
    "data": [],
    "files": [],
    "dataFrom": [],
    "pull": [],
    "tls": {}
  },
  "metrics": {
    "enabled": false,
    "kind": "PodMonitor",
    "port": 0,
    "path": "/metrics",
    "interval": "30s",
    "scrapeTimeout": "10s",
    "from": [
      {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
      }
    ]
  }
}
{{- end }}

{{- /* The spec with the defaults in it, as JSON. Every template of an object starts with this, and
       then checks what it is made from, so that none renders what another refuses. */}}
{{- define "hardened.internal.spec" -}}
{{- $defaults := include "hardened.defaults" . | fromJson }}
{{- $json := toJson .spec }}
{{- if regexMatch "[:\\[,]null[\\],}]" $json }}
{{- include "hardened.internal.checkNulls" (dict "at" (include "hardened.internal.speaksOf" .) "of" .spec "defaults" $defaults) }}
{{- end }}
{{- $spec := mustMergeOverwrite $defaults (fromJson $json) }}
{{- if kindIs "map" $spec.image }}
{{- $_ := set $spec.image "tag" (include "hardened.internal.text" $spec.image.tag) }}
{{- end }}
{{- $spec | toJson }}
{{- end }}

{{- /* Not empty where a part that is off by default may be on: dict of, part. Whatever stands in the
       place of a switch is read whole, and refused; what is off costs nothing. */}}
{{- define "hardened.internal.asked" -}}
{{- $value := get .of .part }}
{{- if kindIs "map" $value }}
{{- if not (has (get $value "enabled") (list false "")) }}yes{{ end }}
{{- else if hasKey .of .part }}yes{{ end }}
{{- end }}

{{- /* A value as text: YAML reads 8080 and true as no strings, and Go writes large numbers as 1e+07. */}}
{{- define "hardened.internal.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else if not (kindIs "invalid" .) }}{{ toJson . }}{{ end }}
{{- end }}

{{- /* A quantity of Kubernetes, such as 64Mi, as a number of bytes. */}}
{{- define "hardened.internal.bytes" -}}
{{- $text := include "hardened.internal.text" . }}
{{- $unit := regexFind "[A-Za-z]*$" $text }}
{{- $of := dict "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 }}
{{- mulf (trimSuffix $unit $text | float64) (get $of $unit | default 1.0) | printf "%.0f" }}
{{- end }}

{{- /* Not empty for workloads that serve until they are stopped; empty for those that end. */}}
{{- define "hardened.internal.longRunning" -}}
{{- if has .spec.kind (list "Deployment" "StatefulSet" "DaemonSet") }}yes{{ end }}
{{- end }}

{{- /* Not empty for workloads that have a number of replicas. */}}
{{- define "hardened.internal.scales" -}}
{{- if has .spec.kind (list "Deployment" "StatefulSet") }}yes{{ end }}
{{- end }}

{{- /* The fewest replicas that run by intent. */}}
{{- define "hardened.internal.floor" -}}
{{- .spec.autoscaling.enabled | ternary .spec.autoscaling.minReplicas .spec.replicaCount | int }}
{{- end }}
