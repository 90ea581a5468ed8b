package drillrun

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
)

func testSession(t testing.TB) *Session {
	t.Helper()
	set, err := manifest.Parse([]byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: migrate, annotations: {helm.sh/hook: pre-upgrade}}
`))
	if err != nil {
		t.Fatal(err)
	}
	return &Session{Objects: set, Now: time.Now, Release: evidence.Release{Namespace: "shop"}, Plan: drill.Plan{Experiment: drill.PodKill, AllowNamespaces: []string{"shop"}}}
}

func webPod(name, uid string, change ...func(*corev1.Pod)) *corev1.Pod {
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "shop", UID: types.UID(uid), Labels: map[string]string{"app": "web", "pod-template-hash": "7c9"}, CreationTimestamp: metav1.Unix(100, 0),
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-7c9", Controller: &yes}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func isReady(p *corev1.Pod) {
	p.Spec.NodeName, p.Status.Phase = "node-a", corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(101, 0)},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(104, 0)},
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Unix(103, 0)}}}}
}

func killed(p *corev1.Pod) {
	p.Status.ContainerStatuses[0].RestartCount = 1
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	p.Status.ContainerStatuses[0].LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", StartedAt: metav1.Unix(103, 0)}}
	p.Status.Conditions[1].Status = corev1.ConditionFalse
}

func deleting(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(110, 0)} }

func lines(t *testing.T, events []drill.Event) string {
	t.Helper()
	var out []string
	for _, e := range events {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return strings.Join(out, "\n")
}

// TestPodEvents: an event for each change that counts, and nothing twice.
func TestPodEvents(t *testing.T) {
	t.Parallel()
	st := newState(testSession(t))
	for i, step := range []struct {
		pod  *corev1.Pod
		want string
	}{
		{webPod("a", "1"), `{"at":0,"pod":{"name":"shop/a","uid":"1","owner":"Deployment/web","labels":{"app":"web","pod-template-hash":"7c9"},"phase":"Pending","created":"1970-01-01T00:01:40Z"}}`},
		{webPod("a", "1", func(p *corev1.Pod) { p.ResourceVersion = "9" }), ``},
		{webPod("a", "1", isReady), `{"at":0,"pod":{"name":"shop/a","uid":"1","owner":"Deployment/web","node":"node-a","phase":"Running","ready":true,"scheduled":"1970-01-01T00:01:41Z","pulled":"1970-01-01T00:01:43Z","readyAt":"1970-01-01T00:01:44Z"}}`},
		{webPod("a", "1", isReady, killed), `{"at":0,"pod":{"name":"shop/a","uid":"1","owner":"Deployment/web","node":"node-a","phase":"Running","restarts":1,"reason":"CrashLoopBackOff, OOMKilled"}}`},
		{webPod("a", "1", isReady, deleting, func(p *corev1.Pod) { p.Labels["app"] = "old" }), `{"at":0,"pod":{"name":"shop/a","uid":"1","owner":"Deployment/web","node":"node-a","labels":{"app":"old","pod-template-hash":"7c9"},"phase":"Running","ready":true,"deleting":true,"readyAt":"1970-01-01T00:01:44Z"}}`},
		{webPod("a", "2"), `{"at":0,"pod":{"name":"shop/a","uid":"1","owner":"Deployment/web","node":"node-a","phase":"Running","gone":true}}
{"at":0,"pod":{"name":"shop/a","uid":"2","owner":"Deployment/web","labels":{"app":"web","pod-template-hash":"7c9"},"phase":"Pending","created":"1970-01-01T00:01:40Z"}}`},
		{webPod("prober", "3", func(p *corev1.Pod) { p.Labels[managedBy] = "helmproof" }), ``},
		{webPod("b", "4", func(p *corev1.Pod) { p.Namespace = "elsewhere" }), ``},
	} {
		if got := lines(t, st.pod(step.pod)); got != step.want {
			t.Errorf("step %d:\n%s\nwant\n%s", i, got, step.want)
		}
	}
	if got := lines(t, st.gonePod("shop/a")); !strings.Contains(got, `"uid":"2"`) || !strings.Contains(got, `"gone":true`) {
		t.Error(got)
	}
	if got := st.gonePod("shop/a"); got != nil {
		t.Errorf("gone twice: %v", got)
	}
}

// A pod of another namespace counts where a budget selects it.
func TestPodOfBudget(t *testing.T) {
	t.Parallel()
	st := newState(testSession(t))
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "elsewhere"}, Spec: policyv1.PodDisruptionBudgetSpec{
		Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"web"}}}},
	}, Status: policyv1.PodDisruptionBudgetStatus{DesiredHealthy: 2, CurrentHealthy: 3, ExpectedPods: 3, DisruptionsAllowed: 1}}
	want := `{"at":0,"budget":{"name":"elsewhere/web","expression":"app in (web)","desired":2,"healthy":3,"expected":3,"allowed":1}}`
	if got := lines(t, st.budget(b)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := st.budget(b); got != nil {
		t.Errorf("the same again: %v", got)
	}
	if got := st.pod(webPod("b", "4", func(p *corev1.Pod) { p.Namespace = "elsewhere" })); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if got := lines(t, st.goneBudget("elsewhere/web")); !strings.Contains(got, `"gone":true`) {
		t.Error(got)
	}
}

func TestEndpointEvents(t *testing.T) {
	t.Parallel()
	st := newState(testSession(t))
	yes, no := true, false
	slice := func(name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}, Endpoints: endpoints}
	}
	to := func(uid string, ready, serving, terminating *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{UID: types.UID(uid)}, Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}}
	}
	if got := lines(t, st.slice(slice("web-4", to("1", &yes, &yes, &no), to("2", nil, nil, nil)))); got != `{"at":0,"endpoints":{"service":"shop/web","ready":2,"serving":2,"terminating":0}}` {
		t.Error(got)
	}
	if got := st.slice(slice("web-6", to("1", &yes, &yes, &no))); got != nil { // the same pod by IPv6
		t.Error(lines(t, got))
	}
	if got := lines(t, st.slice(slice("web-4", to("1", &yes, &yes, &no), to("2", &no, &yes, &yes)))); got != `{"at":0,"endpoints":{"service":"shop/web","ready":1,"serving":2,"terminating":1}}` {
		t.Error(got)
	}
	if got := lines(t, st.goneSlice("shop/web-4")); got != `{"at":0,"endpoints":{"service":"shop/web","ready":1,"serving":1,"terminating":0}}` {
		t.Error(got)
	}
	other := slice("api-1", to("1", &yes, &yes, &no))
	other.Labels[discoveryv1.LabelServiceName] = "api"
	if got := st.slice(other); got != nil {
		t.Errorf("a Service that is not the release's: %s", lines(t, got))
	}
}

func TestWhole(t *testing.T) {
	t.Parallel()
	two := int32(2)
	web := func(change func(*appsv1.DeploymentStatus)) *appsv1.Deployment {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Generation: 3}, Spec: appsv1.DeploymentSpec{Replicas: &two}}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 2, ReadyReplicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2}
		if change != nil {
			change(&d.Status)
		}
		return d
	}
	a, b := webPod("a", "1", isReady), webPod("b", "2", isReady)
	for _, tt := range []struct {
		name string
		load *appsv1.Deployment
		pods []*corev1.Pod
		want bool
	}{
		{"whole", web(nil), []*corev1.Pod{a, b}, true},
		{"no workload", nil, []*corev1.Pod{a, b}, false},
		{"generation not seen", web(func(s *appsv1.DeploymentStatus) { s.ObservedGeneration = 2 }), []*corev1.Pod{a, b}, false},
		{"not updated", web(func(s *appsv1.DeploymentStatus) { s.UpdatedReplicas = 1 }), []*corev1.Pod{a, b}, false},
		{"status lags: a pod is gone", web(nil), []*corev1.Pod{a}, false},
		{"status lags: a pod is being deleted", web(nil), []*corev1.Pod{a, webPod("b", "2", isReady, deleting)}, false},
		{"status lags: a pod is not ready", web(nil), []*corev1.Pod{a, webPod("b", "2", isReady, killed)}, false},
		{"a pod more that has ended", web(nil), []*corev1.Pod{a, b, webPod("c", "3", isReady, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })}, true},
		{"a pod too many", web(nil), []*corev1.Pod{a, b, webPod("c", "3", isReady)}, false},
	} {
		st := newState(testSession(t))
		if tt.load != nil {
			st.workload(tt.load)
		}
		for _, p := range tt.pods {
			st.pod(p)
		}
		if got := st.whole(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestVictims(t *testing.T) {
	t.Parallel()
	s := testSession(t)
	w := &World{Workloads: []Workload{
		{Kind: "Deployment", Namespace: "shop", Name: "web", Target: true, Status: drill.Workload{Name: "shop/Deployment/web"}},
		{Kind: "StatefulSet", Namespace: "shop", Name: "db"},
	}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.Workloads[0].Pods = append(w.Workloads[0].Pods, *webPod(name, name))
		w.Workloads[1].Pods = append(w.Workloads[1].Pods, *webPod(name, name))
	}
	orders := map[string]bool{}
	for _, tt := range []struct {
		target drill.Target
		want   int
	}{{drill.Target{}, 1}, {drill.Target{Count: 3}, 3}, {drill.Target{Count: 9}, 5}, {drill.Target{Percent: 1}, 1}, {drill.Target{Percent: 41}, 3}, {drill.Target{Percent: 100}, 5}} {
		for seed := range int64(8) {
			s.Plan.Target = tt.target
			s.Plan.Target.Seed = seed
			names := func() (out []string) {
				for _, p := range s.victims(w) {
					out = append(out, p.Name)
				}
				return out
			}
			got := names()
			if len(got) != tt.want || !slices.Equal(got, names()) {
				t.Errorf("%+v: %v, then %v", tt.target, got, names())
			}
			if tt.want == 1 {
				orders[got[0]] = true
			}
		}
	}
	if len(orders) < 2 {
		t.Errorf("all seeds choose %v", orders)
	}
	s.Plan.Experiment = drill.RollingRestart
	if got := s.victims(w); got != nil {
		t.Errorf("a rolling restart chooses %d pods", len(got))
	}
}
