package reporttest

import "github.com/companyos/helmproof/evidence"

// Catalog is a catalog like the built-in one.
func Catalog() *evidence.Catalog {
	return &evidence.Catalog{
		Version: "1",
		Groups: []evidence.Group{
			{ID: "CHT", Title: "Chart"}, {ID: "RES", Title: "Resources"}, {ID: "HLT", Title: "Health"}, {ID: "AVL", Title: "Availability"},
			{ID: "SEC", Title: "Security context"}, {ID: "IMG", Title: "Images"}, {ID: "SCR", Title: "Secrets"}, {ID: "ASC", Title: "Autoscaling"}, {ID: "CIS", Title: "CIS benchmark"},
		},
		Frameworks: []evidence.Framework{
			{ID: "pss", Title: "Pod Security Standards", URL: "https://kubernetes.io/docs/concepts/security/pod-security-standards/"},
			{ID: "cis", Title: "CIS Kubernetes Benchmark 1.10", URL: "https://www.cisecurity.org/benchmark/kubernetes"},
			{ID: "nsa", Title: "NSA/CISA Hardening Guidance 1.2", URL: "https://media.defense.gov/"},
			{ID: "nist", Title: "NIST SP 800-53 r5", URL: "https://csrc.nist.gov/pubs/sp/800/53/r5/upd1/final"},
			{ID: "iso", Title: "ISO/IEC 27001:2022", URL: "https://www.iso.org/standard/27001"},
		},
		Controls: append(chartControls(), evidence.Control{ID: "CIS-1", Group: "CIS", Title: "Every CIS check passes", Statement: "Every kube-bench check passes.", Severity: evidence.SeverityHigh, Collector: "kubebench", Rules: []string{"cis/*"}}),
	}
}

func chartControls() []evidence.Control {
	const (
		critical = evidence.SeverityCritical
		high     = evidence.SeverityHigh
		medium   = evidence.SeverityMedium
		low      = evidence.SeverityLow
	)
	c := func(id evidence.ControlID, s evidence.Severity, collector, rule, title, statement, fix string) evidence.Control {
		return evidence.Control{ID: id, Group: string(id[:3]), Title: title, Statement: statement, Severity: s, Collector: collector, Rules: []string{rule}, Remediation: fix,
			Frameworks: map[string][]string{"nist": {"CM-6", "SI-10"}, "iso": {"A.8.9"}, "cis": {"5.2.6"}, "nsa": {"Pod security"}}}
	}
	return []evidence.Control{
		c("CHT-1", medium, "helm", "helm/lint", "Lint without a warning", "helm lint, strict, gives no warning and logs none.", "Fix what helm lint names."),
		c("CHT-2", medium, "helm", "helm/values-schema", "Values schema holds", "values.schema.json is present and the values satisfy it.", "Add values.schema.json."),
		c("CHT-3", high, "helm", "helm/kubernetes-schema", "Valid for the target Kubernetes", "Every object is valid for the target Kubernetes version.", "Correct the field."),
		c("CHT-4", high, "helm", "helm/api-deprecated", "No removed or deprecated API", "No object uses a removed or deprecated API version.", "Move to the API version that replaces it."),
		c("CHT-5", medium, "helm", "helm/generated-values", "Rendering is reproducible", "Rendering makes no value up.", "Take the value from a Secret that exists."),
		c("RES-1", high, "policy", "policy/resource-requests", "Requests on every container", "Every container, init and sidecar too, requests cpu and memory.", "Set resources.requests.cpu and resources.requests.memory on the container."),
		c("RES-2", high, "policy", "policy/resource-limits", "Limits on every container", "Every container, init and sidecar too, limits cpu and memory.", "Set resources.limits.memory on the container."),
		c("RES-3", medium, "policy", "policy/limits-at-least-requests", "Limits at or above requests", "No limit is below its request.", "Raise the limit to the request."),
		c("HLT-1", high, "policy", "policy/readiness-probe", "Readiness probe", "Every long-running container has a readiness probe.", "Add a readinessProbe."),
		c("HLT-2", medium, "policy", "policy/liveness-probe", "Liveness probe", "Every long-running container has a liveness probe.", "Add a livenessProbe that needs no other service."),
		c("HLT-3", low, "policy", "policy/startup-probe", "Startup probe", "Every long-running container has a startup probe.", "Add a startupProbe."),
		c("HLT-4", low, "policy", "policy/distinct-probes", "Liveness differs from readiness", "The liveness probe is not the readiness probe's twin.", "Give the liveness probe an endpoint of its own."),
		c("AVL-1", high, "workload", "workload/pdb-selects", "A PodDisruptionBudget for each replicated workload", "A PodDisruptionBudget selects each replicated workload.", "Add a PodDisruptionBudget whose selector matches the pods."),
		c("AVL-2", high, "workload", "workload/pdb-allows-disruption", "The budget allows a disruption", "The budget allows one disruption, but not of all pods.", "Set maxUnavailable: 1."),
		c("AVL-3", medium, "policy", "policy/topology-spread", "Spread over zones and nodes", "Replicas are spread over zones and nodes.", "Add topologySpreadConstraints for zone and hostname."),
		c("AVL-4", medium, "workload", "workload/replicas", "At least two replicas", "Every workload has at least two replicas.", "Set replicas to 2 or more."),
		c("SEC-1", critical, "podsecurity", "podsecurity/restricted", "Pod Security Standard restricted", "Every pod meets the Pod Security Standard restricted.", "Set the fields that the message names."),
		c("SEC-2", high, "policy", "policy/run-as-non-root", "Runs as non-root", "Every container runs as a named non-root user.", "Set runAsNonRoot: true, runAsUser and fsGroup."),
		c("SEC-3", high, "policy", "policy/seccomp", "Seccomp profile", "The seccomp profile is RuntimeDefault or Localhost.", "Set seccompProfile.type: RuntimeDefault."),
		c("SEC-4", critical, "policy", "policy/privilege-escalation", "No privilege escalation", "No container may gain privileges; all capabilities are dropped.", "Set allowPrivilegeEscalation: false and capabilities.drop: [ALL] on the container."),
		c("SEC-5", medium, "policy", "policy/read-only-root", "Read-only root file system", "The root file system of every container is read-only.", "Set readOnlyRootFilesystem: true and mount an emptyDir where the container writes."),
		c("SEC-6", medium, "policy", "policy/service-account-token", "No service account token", "No pod mounts a service account token that it does not use.", "Set automountServiceAccountToken: false."),
		c("SEC-7", high, "workload", "workload/network-policy", "A NetworkPolicy selects each pod", "A NetworkPolicy selects each pod.", "Add a NetworkPolicy whose podSelector matches the pods."),
		c("IMG-1", high, "policy", "policy/image-digest", "Images pinned by digest", "Every image is pinned by digest.", "Write the image as name@sha256:…"),
		c("SCR-1", critical, "secrets", "secrets/gitleaks", "No secret in clear", "No secret stands in values, templates or manifests.", "Move it to the secret store and refer to it by an ExternalSecret."),
		c("SCR-2", high, "workload", "workload/secret-from-externalsecret", "Secrets come from an ExternalSecret", "Every secret reference comes from an ExternalSecret.", "Add an ExternalSecret that makes this Secret."),
		c("ASC-1", medium, "policy", "policy/hpa-bounds", "Autoscaler has bounds", "Every HorizontalPodAutoscaler has bounds, at least 2.", "Set minReplicas to 2 or more, and maxReplicas."),
		c("ASC-2", low, "policy", "policy/hpa-stabilization", "Stabilization windows", "Every HorizontalPodAutoscaler has stabilization windows.", "Set behavior.scaleDown.stabilizationWindowSeconds."),
		c("ASC-3", medium, "policy", "policy/vpa-recommend-only", "Vertical autoscaler recommends only", "Every VerticalPodAutoscaler recommends only, with bounds.", "Set updateMode: \"Off\"."),
	}
}
