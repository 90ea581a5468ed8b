package forecast

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/companyos/helmproof/internal/cluster"
)

func meta(name, uid string, owner *metav1.OwnerReference) metav1.ObjectMeta {
	o := metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid), Labels: map[string]string{"app": "web"}, Generation: 1}
	if owner != nil {
		owner.Controller = ptr.To(true)
		o.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return o
}

// shop is a Deployment of one pod on node a, beside an empty node b.
type shop struct {
	nodes      [2]*corev1.Node
	deployment *appsv1.Deployment
	set        *appsv1.ReplicaSet
	pod        *corev1.Pod
	budget     *policyv1.PodDisruptionBudget
	more       []runtime.Object
}

func newShop() *shop {
	s := &shop{}
	for i, name := range []string{"a", "b"} {
		s.nodes[i] = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}, Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("10")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		}}
	}
	tpl := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
	s.deployment = &appsv1.Deployment{ObjectMeta: meta("web", "d", nil), Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(1)), Template: tpl}, Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1}}
	s.set = &appsv1.ReplicaSet{ObjectMeta: meta("web-1", "r", &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "d"}), Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(int32(1)), Template: tpl}, Status: appsv1.ReplicaSetStatus{Replicas: 1, ObservedGeneration: 1}}
	s.pod = &corev1.Pod{ObjectMeta: meta("web-1-x", "p", &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1", UID: "r"}), Spec: corev1.PodSpec{
		NodeName: "a", SchedulerName: corev1.DefaultSchedulerName,
		Containers: []corev1.Container{{Name: "app", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}}}},
	}, Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	s.budget = &policyv1.PodDisruptionBudget{ObjectMeta: meta("web", "b", nil), Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1)), Selector: selecting("web")},
		Status: policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1, ExpectedPods: 1, DisruptionsAllowed: 1}}
	return s
}

func (s *shop) claim(pv *corev1.PersistentVolume, modes ...corev1.PersistentVolumeAccessMode) {
	s.pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	pvc := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{AccessModes: modes}}
	s.more = append(s.more, pvc)
	if pv != nil {
		pv.Name, pvc.Spec.VolumeName = "pv", "pv"
		s.more = append(s.more, pv)
	}
}

func (s *shop) hook(name string, rule admissionv1.Rule) {
	s.more = append(s.more, &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionv1.MutatingWebhook{{
		Name: name, Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create}, Rule: rule}},
	}}})
}

// answers makes pods of the webhook answer on a node.
func (s *shop) answers(node string, ready bool) {
	at := metav1.NewTime(time.Date(2026, 11, 1, 11, 0, 0, 0, time.UTC))
	c := s.more[len(s.more)-1].(*admissionv1.MutatingWebhookConfiguration)
	s.pod.CreationTimestamp, c.CreationTimestamp = at, at
	c.Webhooks[0].ClientConfig.Service = &admissionv1.ServiceReference{Namespace: "hooks", Name: "webhook"}
	s.more = append(s.more, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "hooks", Name: "webhook-1", Labels: map[string]string{discoveryv1.LabelServiceName: "webhook"}},
		Endpoints:  []discoveryv1.Endpoint{{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	})
}

func (s *shop) take(t *testing.T, refused string) (*Snapshot, error) {
	t.Helper()
	kube := fake.NewClientset(append([]runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, s.nodes[0], s.nodes[1], s.deployment, s.set, s.pod, s.budget}, s.more...)...)
	kube.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return a.GetResource().Resource == refused, nil, errors.New("forbidden")
	})
	return Take(t.Context(), &cluster.Cluster{Kube: kube}, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
}

func TestTake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*shop)
		want Outcome
		why  string
	}{
		{"drains", func(*shop) {}, Drains, ""},
		{"no room", func(s *shop) { s.nodes[1].Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("1") }, Unplaced, "1 short of cpu"},
		{"blocked", func(s *shop) { s.budget.Status.DisruptionsAllowed, s.budget.Status.DesiredHealthy = 0, 1 }, Blocks, "PodDisruptionBudget shop/web allows no disruption: there is no replica to spare (maxUnavailable 1;"},
		{"stale", func(s *shop) { s.budget.Generation = 2 }, Unknown, "its status is not up to date"},
		{"evictions under way", func(s *shop) { s.budget.Status.DisruptedPods = map[string]metav1.Time{"x": {}} }, Unknown, "pods of it are being evicted"},
		{"labelled with its zone", func(s *shop) { s.pod.Labels = map[string]string{"app": "web", corev1.LabelTopologyZone: "za"} }, Drains, ""},
		{"budget of a zone", func(s *shop) {
			s.pod.Labels = map[string]string{"app": "web", corev1.LabelTopologyZone: "za"}
			s.budget.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelTopologyZone: "za"}}
		}, Unknown, "it selects pods by where they run"},
		{"rolled out", func(s *shop) { s.deployment.Status.UpdatedReplicas = 0 }, Unknown, "Deployment/web, which is being rolled out"},
		{"deployed by an operator", func(s *shop) {
			s.deployment.OwnerReferences = []metav1.OwnerReference{{Kind: "Database", Name: "main", Controller: ptr.To(true)}}
		}, Unknown, "which belongs to Database main, which may do as it likes"},
		{"of a kind nobody knows", func(s *shop) { s.set.OwnerReferences[0].Kind, s.set.OwnerReferences[0].UID = "Rollout", "x" }, Unknown, "Rollout/web, which is not known to make pods again"},
		{"deleted", func(s *shop) { s.deployment.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, Unknown, "is being deleted"},
		{"of a Job", func(s *shop) { s.pod.OwnerReferences[0].Kind, s.pod.OwnerReferences[0].UID = "Job", "j" }, Unknown, "belongs to a Job"},
		{"own scheduler", func(s *shop) { s.pod.Spec.SchedulerName = "mine" }, Unknown, "is placed by the scheduler mine"},
		{"devices", func(s *shop) { s.pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} }, Unknown, "claims devices"},
		{"ephemeral volume", func(s *shop) {
			s.pod.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}
		}, Unknown, "gets a new volume"},
		{"unbound claim", func(s *shop) { s.claim(nil) }, Unknown, "claims data: no volume is bound to it"},
		{"network volume", func(s *shop) {
			s.claim(&corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}}})
		}, Drains, ""},
		{"local volume", func(s *shop) {
			s.claim(&corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{
				PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{}},
				NodeAffinity:           &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: "In", Values: []string{"a"}}}}}}},
			}})
		}, Unplaced, "out of reach of the volume of data"},
		{"CSI volume", func(s *shop) {
			s.claim(&corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk"}}}})
			s.more = append(s.more, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "disk", Allocatable: &storagev1.VolumeNodeResources{Count: ptr.To(int32(0))}}}}})
		}, Unplaced, "1 short of attachable-volumes/disk"},
		{"old disk", func(s *shop) {
			s.claim(&corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{}}}})
		}, Unknown, "the kind of its volume is not known to the model"},
		{"claimed twice", func(s *shop) {
			s.claim(&corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}}}, corev1.ReadWriteOnce)
			other := s.pod.DeepCopy()
			other.Name, other.UID, other.OwnerReferences, other.Spec.NodeName, other.Labels = "other", "o", nil, "b", nil
			other.Spec.Containers = nil
			s.more = append(s.more, other)
		}, Unknown, "other pods claim it too"},
		{"quota", func(s *shop) {
			s.more = append(s.more, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "q"}, Status: corev1.ResourceQuotaStatus{
				Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}, Used: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("2")}}})
		}, Unknown, "ResourceQuota q is overrun"},
		{"webhook of pods", func(s *shop) {
			s.hook("inject", admissionv1.Rule{APIGroups: []string{""}, Resources: []string{"pods"}})
		}, Unknown, "admission webhook inject (pods)"},
		{"webhook of pods that answers elsewhere", func(s *shop) {
			s.hook("inject", admissionv1.Rule{APIGroups: []string{""}, Resources: []string{"pods"}})
			s.answers("b", true)
		}, Drains, ""},
		{"webhook of pods whose pod is not Ready", func(s *shop) {
			s.hook("inject", admissionv1.Rule{APIGroups: []string{""}, Resources: []string{"pods"}})
			s.answers("b", false)
		}, Unknown, "admission webhook inject (pods)"},
		{"webhook of pods that answers on the node", func(s *shop) {
			s.hook("inject", admissionv1.Rule{APIGroups: []string{""}, Resources: []string{"pods"}})
			s.answers("a", true)
		}, Unknown, "admission webhook inject (pods), for which only pods on drained nodes answer"},
		{"webhook of evictions", func(s *shop) {
			s.hook("guard", admissionv1.Rule{APIGroups: []string{"*"}, Resources: []string{"pods/*"}})
		}, Unknown, "admission webhook guard (pods/eviction)"},
		{"webhook of others", func(s *shop) {
			s.hook("apps", admissionv1.Rule{APIGroups: []string{"apps"}, Resources: []string{"*"}})
		}, Drains, ""},
		{"no room, but Karpenter", func(s *shop) {
			s.nodes[1].Spec.Unschedulable = true
			s.nodes[1].Labels["karpenter.sh/nodepool"] = "x"
		}, Unknown, "Karpenter may make one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newShop()
			tt.edit(w)
			s, err := w.take(t, "")
			if err != nil {
				t.Fatal(err)
			}
			if f := s.Drain("a"); f.Outcome != tt.want || !strings.Contains(f.Why(), tt.why) {
				t.Errorf("%s: %s\nwant %s: …%s…", f.Outcome, f.Why(), tt.want, tt.why)
			}
			if err := s.check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefused holds that what may not be read never makes a node drain.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"nodes", "pods", "poddisruptionbudgets"} {
		if _, err := newShop().take(t, what); err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, what := range []string{"deployments", "replicasets", "statefulsets", "daemonsets", "namespaces", "resourcequotas", "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "configmaps"} {
		s, err := newShop().take(t, what)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		f := s.Drain("a")
		if f.Outcome != Unknown || !slices.ContainsFunc(f.Reasons, func(r Reason) bool { return strings.Contains(r.Message, "forbidden") }) {
			t.Errorf("%s: %s: %s", what, f.Outcome, f.Why())
		}
	}
	for _, what := range []string{"persistentvolumeclaims", "persistentvolumes", "csinodes"} {
		w := newShop()
		w.claim(&corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}}})
		s, err := w.take(t, what)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if f := s.Drain("a"); f.Outcome != Unknown || !strings.Contains(f.Why(), "forbidden") {
			t.Errorf("%s: %s: %s", what, f.Outcome, f.Why())
		}
	}
}

func TestPagesRefuseWhatIsTooLong(t *testing.T) {
	t.Parallel()
	list := func(context.Context, metav1.ListOptions) ([]int, string, error) { return make([]int, 3), "next", nil }
	n := 0
	if err := pages(t.Context(), "things", 7, list, func(*int) { n++ }); err == nil || !strings.Contains(err.Error(), "list things: more than 7") || n != 6 {
		t.Errorf("%d, %v", n, err)
	}
}
