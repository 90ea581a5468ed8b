package charts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestIdentity holds that each cloud finds what it reads, that a token of the
// API server is mounted only where it is asked for, and rights are bound to
// the workload's own account.
func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, values, object string
		path                 []any
		want                 any
	}{
		{"gcp", "serviceAccount: {workloadIdentity: {gcp: {serviceAccount: a@b.example.com}}}", "ServiceAccount/shop", []any{"metadata", "annotations"}, map[string]any{"iam.gke.io/gcp-service-account": "a@b.example.com"}},
		{"gcp's metadata server", "serviceAccount: {workloadIdentity: {gcp: {serviceAccount: a@b.example.com}}}", "NetworkPolicy/shop", []any{"spec", "egress", 1, "to", 0, "ipBlock", "cidr"}, "169.254.169.254/32"},
		{"aws", "serviceAccount: {workloadIdentity: {aws: {roleARN: 'arn:aws:iam::1:role/a'}}}", "ServiceAccount/shop", []any{"metadata", "annotations"}, map[string]any{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}},
		{"azure", "serviceAccount: {workloadIdentity: {azure: {clientID: x}}}", "ServiceAccount/shop", []any{"metadata", "annotations"}, map[string]any{"azure.workload.identity/client-id": "x"}},
		{"azure's label", "serviceAccount: {workloadIdentity: {azure: {clientID: x}}}", "Deployment/shop", []any{"spec", "template", "metadata", "labels", "azure.workload.identity/use"}, "true"},
		{"a label", "podLabels: {team: shop}", "Deployment/shop", []any{"spec", "template", "metadata", "labels", "team"}, "shop"},
		{"no label of the selector", "podLabels: {team: shop}", "Deployment/shop", []any{"spec", "selector", "matchLabels", "team"}, nil},
		{"no token", "{}", "Deployment/shop", []any{"spec", "template", "spec", "volumes", 1}, nil},
		{"token", "serviceAccount: {apiToken: true}", "Deployment/shop", []any{"spec", "template", "spec", "volumes", 1, "projected", "sources", 0, "serviceAccountToken", "expirationSeconds"}, int64(3600)},
		{"token mounted", "serviceAccount: {apiToken: true}", "Deployment/shop", []any{"spec", "template", "spec", "containers", 0, "volumeMounts", 1, "mountPath"}, "/var/run/secrets/kubernetes.io/serviceaccount"},
		{"rights", "{serviceAccount: {apiToken: true}, rbac: {rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]}}", "RoleBinding/shop", []any{"subjects"}, []any{map[string]any{"kind": "ServiceAccount", "name": "shop", "namespace": "default"}}},
		{"ids of the platform", "securityContext: {platformIDsReason: OpenShift gives them}", "Deployment/shop", []any{"spec", "template", "spec", "securityContext", "runAsUser"}, nil},
		{"not root all the same", "securityContext: {platformIDsReason: OpenShift gives them}", "Deployment/shop", []any{"spec", "template", "spec", "securityContext", "runAsNonRoot"}, true},
		{"insisting on nodes", "antiAffinity: required", "Deployment/shop", []any{"spec", "template", "spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution", 0, "matchLabelKeys"}, []any{"pod-template-hash"}},
		{"insisting on nodes, in order", "{antiAffinity: required, kind: StatefulSet}", "StatefulSet/shop", []any{"spec", "template", "spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution", 0, "matchLabelKeys"}, nil},
		{"autoscaled", "{}", "Deployment/shop", []any{"spec", "replicas"}, nil},
		{"autoscaled from now on", "autoscaling: {initialReplicas: 4}", "Deployment/shop", []any{"spec", "replicas"}, int64(4)},
		{"scaled by KEDA", "autoscaling: {keda: {enabled: true, triggers: [{type: cpu, metadata: {value: 70}}]}}", "ScaledObject/shop", []any{"spec", "minReplicaCount"}, int64(2)},
		{"settings of KEDA are text", "autoscaling: {keda: {enabled: true, triggers: [{type: cpu, metadata: {value: 70}}]}}", "ScaledObject/shop", []any{"spec", "triggers", 0, "metadata", "value"}, "70"},
		{"one autoscaler", "autoscaling: {keda: {enabled: true, triggers: [{type: cpu, metadata: {value: 70}}]}}", "HorizontalPodAutoscaler/shop", []any{"kind"}, nil},
		{"a singleton", "{autoscaling: {enabled: false}, replicaCount: 1, singleReplicaReason: it holds a lock}", "Deployment/shop", []any{"metadata", "annotations", "helmproof.companyos.github.io/declared-AVL-4"}, "it holds a lock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := parse(t, tt.values)
			v["fullnameOverride"] = "shop"
			if d := cmp.Diff(tt.want, at(objects(t, v)[tt.object].Object, tt.path...)); d != "" {
				t.Errorf("%v of %s (-want +got):\n%s", tt.path, tt.object, d)
			}
		})
	}
}
