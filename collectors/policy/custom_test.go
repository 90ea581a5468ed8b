package policy

import (
	"slices"
	"strings"
	"testing"
)

func custom(apiVersion, kind, spec string) string {
	return "---\napiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: x}\nspec: " + spec + "\n"
}

// check compares the findings of one rule about the only object.
func check(t *testing.T, rule, manifests string, want ...string) {
	t.Helper()
	if got := summary(findings(t, builtin(t), manifests), "policy/"+rule); !slices.Equal(got, want) {
		t.Errorf("%s: %q\nwant %q", rule, got, want)
	}
}

// The API server refuses what cannot be overcommitted unless it is limited to
// what is requested, and a pod's own resources as it does a container's.
func TestStrictResources(t *testing.T) {
	t.Parallel()
	const good = "pass Deployment/x: Limits are at or above requests"
	failed := func(s string) string { return "fail Deployment/x[c]: " + s }
	for title, tt := range map[string]struct{ spec, want string }{
		"devices, alike":            {container("resources: {requests: {nvidia.com/gpu: 2}, limits: {nvidia.com/gpu: '2'}}"), good},
		"devices, limit only":       {container("resources: {limits: {amd.com/gpu: 1}}"), good},
		"devices, below":            {container("resources: {requests: {nvidia.com/gpu: 2}, limits: {nvidia.com/gpu: 1}}"), failed("nvidia.com/gpu limit 1 is below the request 2")},
		"devices, above":            {container("resources: {requests: {nvidia.com/gpu: 1}, limits: {nvidia.com/gpu: 2}}"), failed("nvidia.com/gpu limit 2 is not the request 1, which has to be the same")},
		"devices, no limit":         {container("resources: {requests: {intel.com/fpga: 1}}"), failed("intel.com/fpga request 1 has no limit, which has to be the same")},
		"huge pages, below":         {container("resources: {requests: {cpu: 1, hugepages-2Mi: 128Mi}, limits: {cpu: 1, hugepages-2Mi: 64Mi}}"), failed("hugepages-2Mi limit 64Mi is below the request 128Mi")},
		"huge pages, above":         {container("resources: {requests: {hugepages-1Gi: 1Gi}, limits: {hugepages-1Gi: 2Gi}}"), failed("hugepages-1Gi limit 2Gi is not the request 1Gi, which has to be the same")},
		"huge pages, no limit":      {container("resources: {requests: {hugepages-2Mi: 4Mi}}"), failed("hugepages-2Mi request 4Mi has no limit, which has to be the same")},
		"huge pages, other digits":  {container("resources: {requests: {hugepages-2Mi: 4Mi}, limits: {hugepages-2Mi: 4096Ki}}"), good},
		"storage, no limit":         {container("resources: {requests: {ephemeral-storage: 1Gi}}"), good},
		"storage, above":            {container("resources: {requests: {ephemeral-storage: 1Gi}, limits: {ephemeral-storage: 2Gi}}"), good},
		"Kubernetes' own, above":    {container("resources: {requests: {example.kubernetes.io/x: 1}, limits: {example.kubernetes.io/x: 2}}"), good},
		"Kubernetes' own, below":    {container("resources: {requests: {example.kubernetes.io/x: 2}, limits: {example.kubernetes.io/x: 1}}"), failed("example.kubernetes.io/x limit 1 is below the request 2")},
		"cpu once":                  {container("resources: {requests: {cpu: 2}, limits: {cpu: 1}}"), failed("cpu limit 1 is below the request 2")},
		"init containers":           {"{initContainers: [{name: c, image: i, resources: {requests: {nvidia.com/gpu: 1}}}], containers: [{name: d, image: i}]}", failed("nvidia.com/gpu request 1 has no limit, which has to be the same")},
		"the pod, right":            {"{resources: {requests: {cpu: 1}, limits: {cpu: 1}}, containers: [{name: c, image: i}]}", good},
		"the pod, requests only":    {"{resources: {requests: {memory: 1Gi}}, containers: [{name: c, image: i}]}", good},
		"the pod, below":            {"{resources: {requests: {cpu: 500m}, limits: {cpu: 100m}}, containers: [{name: c, image: i}]}", "fail Deployment/x: resources of the pod: cpu limit 100m is below the request 500m"},
		"the pod, memory":           {"{resources: {requests: {memory: 1Gi}, limits: {memory: 1G}}, containers: [{name: c, image: i}]}", "fail Deployment/x: resources of the pod: memory limit 1G is below the request 1Gi"},
		"the pod, huge pages above": {"{resources: {requests: {hugepages-2Mi: 2Mi}, limits: {hugepages-2Mi: 4Mi}}, containers: [{name: c, image: i}]}", "fail Deployment/x: resources of the pod: hugepages-2Mi limit 4Mi is not the request 2Mi, which has to be the same"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			check(t, "limits-at-least-requests", deployment(tt.spec), tt.want)
		})
	}
}

func TestImagesBeyondContainers(t *testing.T) {
	t.Parallel()
	const pin, good = "r.example.com/a@sha256:" + hex64, "Every image is pinned by digest"
	pods := func(volumes string) string {
		return deployment("{containers: [{name: c, image: '" + pin + "'}], volumes: [" + volumes + "]}")
	}
	for title, tt := range map[string]struct {
		manifests string
		want      []string
	}{
		"volume, pinned":             {pods("{name: v, image: {reference: '" + pin + "'}}"), []string{"pass Deployment/x: " + good}},
		"volume, by tag":             {pods("{name: v, image: {reference: 'r.example.com/model:1'}}"), []string{`fail Deployment/x: volume "v": image r.example.com/model:1 has no sha256 digest`}},
		"volume, nothing":            {pods("{name: v, image: {}}"), []string{`fail Deployment/x: volume "v": no image`}},
		"volume, no reference":       {pods("{name: v, image: {reference: '/a@sha256:" + hex64 + "'}}"), []string{`fail Deployment/x: volume "v": image /a@sha256:` + hex64 + " is no valid reference: invalid reference format"}},
		"one of two":                 {pods("{name: v, image: {reference: '" + pin + "'}}, {name: w, image: {reference: a}}"), []string{`fail Deployment/x: volume "w": image a has no sha256 digest`}},
		"volume of a job":            {object("Job", "{containers: [{name: c, image: '"+pin+"'}], volumes: [{name: v, image: {reference: a}}]}"), []string{`fail Job/x: volume "v": image a has no sha256 digest`}},
		"volume of a rollout":        {custom("argoproj.io/v1alpha1", "Rollout", "{template: {spec: {containers: [{name: c, image: '"+pin+"'}], volumes: [{name: v, image: {reference: a}}]}}}"), []string{`fail Rollout/x: volume "v": image a has no sha256 digest`}},
		"field, pinned":              {custom("postgresql.cnpg.io/v1", "Cluster", "{imageName: '"+pin+"'}"), []string{"pass Cluster/x: " + good}},
		"field, by tag":              {custom("postgresql.cnpg.io/v1", "Cluster", "{imageName: 'ghcr.io/cloudnative-pg/postgresql:17'}"), []string{"fail Cluster/x: spec.imageName: image ghcr.io/cloudnative-pg/postgresql:17 has no sha256 digest"}},
		"field, no text":             {custom("kafka.strimzi.io/v1", "Kafka", "{kafka: {image: {a: b}}}"), []string{"not-checked Kafka/x: spec.kafka.image: no image"}},
		"field, none":                {custom("kafka.strimzi.io/v1", "Kafka", "{kafka: {}}"), []string{notApplicable}},
		"image left to an operator":  {custom("monitoring.coreos.com/v1", "Prometheus", "{replicas: 2}"), []string{"not-checked Prometheus/x[prometheus]: the image is left to the operator of Prometheus"}},
		"Thanos by tag":              {custom("monitoring.coreos.com/v1", "Prometheus", "{image: '"+pin+"', thanos: {image: a}}"), []string{"fail Prometheus/x[thanos-sidecar]: image a has no sha256 digest"}},
		"Thanos left to an operator": {custom("monitoring.coreos.com/v1", "Prometheus", "{image: '"+pin+"', thanos: {}, containers: [{name: config-reloader}]}"), []string{"not-checked Prometheus/x[thanos-sidecar]: the image is left to the operator of Prometheus"}},
		"Ray's autoscaler":           {custom("ray.io/v1", "RayCluster", "{enableInTreeAutoscaling: true, autoscalerOptions: {image: a}, headGroupSpec: {template: {spec: {containers: [{name: c, image: '"+pin+"'}]}}}}"), []string{"fail RayCluster/x[autoscaler]: image a has no sha256 digest"}},
		"a patch of an operator's":   {custom("monitoring.coreos.com/v1", "Prometheus", "{image: '"+pin+"', containers: [{name: config-reloader, resources: {}}]}"), []string{"pass Prometheus/x: " + good}},
		"a container beside it":      {custom("monitoring.coreos.com/v1", "Prometheus", "{image: '"+pin+"', containers: [{name: proxy, image: a}]}"), []string{"fail Prometheus/x[proxy]: image a has no sha256 digest"}},
		"two templates":              {custom("batch.volcano.sh/v1alpha1", "Job", "{tasks: [{template: {spec: {containers: [{name: c, image: '"+pin+"'}]}}}, {template: {spec: {containers: [{name: c, image: a}]}}}]}"), []string{"pass Job/x: spec.tasks[0].template: " + good, "fail Job/x[c]: spec.tasks[1].template: image a has no sha256 digest"}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got := summary(findings(t, builtin(t), tt.manifests), "policy/image-digest")
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestCustomAutoscalers(t *testing.T) {
	t.Parallel()
	const bounds, windows = "The HPA has bounds", "The HPA has stabilization windows"
	keda := func(spec string) string {
		return custom("keda.sh/v1alpha1", "ScaledObject", "{scaleTargetRef: {name: web}"+spec+"}")
	}
	knative := func(annotations string) string {
		return custom("serving.knative.dev/v1", "Service", "{template: {metadata: {annotations: {"+annotations+"}}, spec: {containers: [{image: i}]}}}")
	}
	for title, tt := range map[string]struct {
		manifests string
		bounds    []string
		windows   string
	}{
		"to zero by default": {keda(""), []string{"fail ScaledObject/x: minReplicaCount is 0, below 2"}, ""},
		"bounded":            {keda(", minReplicaCount: 2, maxReplicaCount: 5, advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 300}, scaleUp: {stabilizationWindowSeconds: 0}}}}"), []string{"pass ScaledObject/x: " + bounds}, "pass ScaledObject/x: " + windows},
		"no maximum":         {keda(", minReplicaCount: 2"), []string{"pass ScaledObject/x: " + bounds}, ""}, // KEDA's is 100
		"idle":               {keda(", minReplicaCount: 2, idleReplicaCount: 0"), []string{"fail ScaledObject/x: idleReplicaCount is 0, below 2"}, ""},
		"a fallback":         {keda(", minReplicaCount: 3, fallback: {failureThreshold: 3, replicas: 1}"), []string{"fail ScaledObject/x: fallback.replicas is 1, below 2"}, ""},
		"a higher fallback":  {keda(", minReplicaCount: 3, fallback: {failureThreshold: 3, replicas: 6}"), []string{"pass ScaledObject/x: " + bounds}, ""},
		"a fallback upwards": {keda(", minReplicaCount: 3, fallback: {failureThreshold: 3, replicas: 1, behavior: currentReplicasIfHigher}"), []string{"pass ScaledObject/x: " + bounds}, ""},
		"no room":            {keda(", minReplicaCount: 3, maxReplicaCount: 3"), []string{"fail ScaledObject/x: maxReplicaCount 3 is not above minReplicaCount 3"}, ""},
		"paused":             {strings.Replace(keda(", minReplicaCount: 2, maxReplicaCount: 5"), "name: x}", "name: x, annotations: {autoscaling.keda.sh/paused: 'true'}}", 1), []string{"fail ScaledObject/x: by autoscaling.keda.sh/paused no autoscaler keeps its bounds"}, ""},
		"not paused":         {strings.Replace(keda(", minReplicaCount: 2, maxReplicaCount: 5"), "name: x}", "name: x, annotations: {autoscaling.keda.sh/paused: 'false'}}", 1), []string{"pass ScaledObject/x: " + bounds}, ""},
		"paused in part":     {strings.Replace(keda(", minReplicaCount: 2, maxReplicaCount: 5"), "name: x}", "name: x, annotations: {autoscaling.keda.sh/paused-scale-in: 'true'}}", 1), []string{"pass ScaledObject/x: " + bounds}, ""},
		"paused at zero":     {strings.Replace(keda(", minReplicaCount: 3"), "name: x}", "name: x, annotations: {autoscaling.keda.sh/paused-replicas: '0'}}", 1), []string{"fail ScaledObject/x: autoscaling.keda.sh/paused-replicas is 0, below 2"}, ""},
		"of HTTP":            {custom("http.keda.sh/v1alpha1", "HTTPScaledObject", "{scaleTargetRef: {name: web}, replicas: {min: 2, max: 2}}"), []string{"fail HTTPScaledObject/x: replicas.max 2 is not above replicas.min 2"}, notApplicable},
		"unknown":            {custom("example.com/v1", "Scaler", "{scaleTargetRef: {name: web}}"), []string{"not-checked Scaler/x: Scaler x scales web, and by what bounds is not known"}, notApplicable},
		"a service":          {knative(""), []string{"fail Service/x: autoscaling.knative.dev/min-scale is 0, below 2", "fail Service/x: no autoscaling.knative.dev/max-scale"}, notApplicable},
		"a bounded service":  {knative("autoscaling.knative.dev/min-scale: '2', autoscaling.knative.dev/max-scale: '9'"), []string{"pass Service/x: " + bounds}, notApplicable},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got := findings(t, builtin(t), tt.manifests)
			said := summary(got, "policy/hpa-bounds")
			slices.Sort(said)
			if !slices.Equal(said, tt.bounds) {
				t.Errorf("%q\nwant %q", said, tt.bounds)
			}
			if said := summary(got, "policy/hpa-stabilization"); tt.windows != "" && !slices.Equal(said, []string{tt.windows}) {
				t.Errorf("%q\nwant %q", said, tt.windows)
			}
		})
	}
}

// Policies of the user's own are about the kinds that they name.
func TestOwnPoliciesSeeNoStandIns(t *testing.T) {
	t.Parallel()
	own := append(slices.Clone(builtin(t)), []byte(`---
# Source: own.yaml:1
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-deployments}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]}
  validations: [{expression: "false"}]
---
# Source: own.yaml:8
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-deployments}
spec: {policyName: no-deployments, validationActions: [Deny]}
`)...)
	got := summary(findings(t, own, custom("argoproj.io/v1alpha1", "Rollout", "{template: {spec: {containers: [{name: c}]}}}")), "policy/no-deployments")
	if !slices.Equal(got, []string{notApplicable}) {
		t.Errorf("%q", got)
	}
}
