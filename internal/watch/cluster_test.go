package watch

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	kubefake "k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
)

// fakeCluster is a cluster of fake clients.
type fakeCluster struct {
	kube    *kubefake.Clientset
	dynamic *dynamicfake.FakeDynamicClient
	meta    *metadatafake.FakeMetadataClient
	away    atomic.Bool
	load    Loader
}

var (
	vpaResource = schema.GroupVersionResource{Group: "autoscaling.k8s.io", Version: "v1", Resource: "verticalpodautoscalers"}
	esResource  = schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "externalsecrets"}
)

func newFakeCluster(t testing.TB) *fakeCluster {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &fakeCluster{
		kube: kubefake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "east"}}),
		dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
			vpaResource: "VerticalPodAutoscalerList", esResource: "ExternalSecretList",
		}),
		meta: metadatafake.NewSimpleMetadataClient(scheme),
	}
	c.serve(vpaResource)
	c.kube.PrependReactor("get", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		if c.away.Load() {
			return true, nil, errors.New("connection refused")
		}
		return false, nil, nil
	})
	return c
}

// serve lets the API server serve a custom resource.
func (c *fakeCluster) serve(r schema.GroupVersionResource) {
	c.kube.Resources = append(c.kube.Resources, &metav1.APIResourceList{GroupVersion: r.GroupVersion().String(), APIResources: []metav1.APIResource{{Name: r.Resource}}})
}

func (c *fakeCluster) connect(context.Context) (*Clients, error) {
	if c.away.Load() {
		return nil, errors.New("connection refused")
	}
	return &Clients{Kube: c.kube, Dynamic: c.dynamic, Metadata: c.meta, Discovery: c.kube.Discovery(), Version: "v1.37.2", Fingerprint: "east", Release: c.load}, nil
}

// watching is a watch of the cluster and of an empty repository, both read.
func (c *fakeCluster) watching(t testing.TB) *Watch {
	t.Helper()
	w := newStore(t).watch(func() time.Time { return noon })
	w.Connect = c.connect
	w = New(w.Options)
	if err := w.ReadOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// eventually waits until the watch exports the lines.
func eventually(t *testing.T, w *Watch, lines ...string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var b strings.Builder
		if err := w.Write(&b); err != nil {
			t.Fatal(err)
		}
		ok := true
		for _, want := range lines {
			not, absent := strings.CutPrefix(want, "!")
			ok = ok && strings.Contains("\n"+b.String(), "\n"+not) != absent
		}
		if ok {
			return
		}
		if time.Now().After(end) {
			has(t, w, lines...)
			return
		}
	}
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1"}
}

func privileged(yes bool) corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}}
}

// TestPodSecurity counts pods and templates that a level refuses.
func TestPodSecurity(t *testing.T) {
	t.Parallel()
	c := newFakeCluster(t)
	w := c.watching(t)
	has(t, w, "!helmproof_pod_security_violations", `helmproof_watch_up{source="api"} 1`)
	api := c.kube.CoreV1().Pods("shop")
	create := func(name string, spec corev1.PodSpec, phase corev1.PodPhase) {
		if _, err := api.Create(t.Context(), &corev1.Pod{ObjectMeta: named(name), Spec: spec, Status: corev1.PodStatus{Phase: phase}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("good", privileged(false), corev1.PodRunning)
	const metric = "helmproof_pod_security_violations"
	eventually(t, w, metric+`{level="baseline",mode="live",namespace="shop"} 0`, metric+`{level="restricted",mode="live",namespace="shop"} 1`)
	create("bad", privileged(true), corev1.PodRunning)
	create("over", privileged(true), corev1.PodSucceeded)
	eventually(t, w, metric+`{level="baseline",mode="live",namespace="shop"} 1`, metric+`{level="restricted",mode="live",namespace="shop"} 2`)
	if err := api.Delete(t.Context(), "bad", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, metric+`{level="baseline",mode="live",namespace="shop"} 0`)

	template := corev1.PodTemplateSpec{Spec: privileged(true)}
	yes := true
	owned := named("web-1")
	owned.OwnerReferences = []metav1.OwnerReference{{Kind: "Deployment", Name: "web", Controller: &yes}}
	for _, rs := range []metav1.ObjectMeta{owned, named("alone")} {
		if _, err := c.kube.AppsV1().ReplicaSets("shop").Create(t.Context(), &appsv1.ReplicaSet{ObjectMeta: rs, Spec: appsv1.ReplicaSetSpec{Template: template}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.kube.AppsV1().Deployments("shop").Create(t.Context(), &appsv1.Deployment{ObjectMeta: named("web"), Spec: appsv1.DeploymentSpec{Template: template}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, metric+`{level="baseline",mode="dryrun",namespace="shop"} 2`)
}

// TestBudgets holds what of a budget's status is a violation.
func TestBudgets(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status policyv1.PodDisruptionBudgetStatus
		want   any
	}{
		"nobody computed it": {policyv1.PodDisruptionBudgetStatus{}, nil},
		"all well":           {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 3, DesiredHealthy: 2, ExpectedPods: 3, DisruptionsAllowed: 1}, budget{false}},
		"too few":            {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1, DesiredHealthy: 2, ExpectedPods: 3}, budget{true}},
		"just enough":        {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 2, DesiredHealthy: 2, ExpectedPods: 3}, budget{false}},
		"never allows any":   {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 3, DesiredHealthy: 3, ExpectedPods: 3}, budget{true}},
		"no pods":            {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1}, budget{false}},
		"cannot be computed": {policyv1.PodDisruptionBudgetStatus{Conditions: []metav1.Condition{{Type: "DisruptionAllowed", Reason: "SyncFailed", Status: "False"}}}, budget{true}},
	} {
		if got := keepBudget(&policyv1.PodDisruptionBudget{Status: tt.status}); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	c := newFakeCluster(t)
	w := c.watching(t)
	p := &policyv1.PodDisruptionBudget{ObjectMeta: named("web"), Status: policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1, DesiredHealthy: 2, ExpectedPods: 2}}
	api := c.kube.PolicyV1().PodDisruptionBudgets("shop")
	if _, err := api.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, `pod_disruption_budget_violations{name="web",namespace="shop"} 1`)
	p.Status.CurrentHealthy, p.Status.DesiredHealthy, p.Status.DisruptionsAllowed = 2, 1, 1
	if _, err := api.Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, `pod_disruption_budget_violations{name="web",namespace="shop"} 0`)
	if err := api.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, `!pod_disruption_budget_violations`)
}

// TestAutoscalers follows what autoscalers want, and counts how often they turn.
func TestAutoscalers(t *testing.T) {
	t.Parallel()
	c := newFakeCluster(t)
	w := c.watching(t)
	api := c.kube.AutoscalingV2().HorizontalPodAutoscalers("shop")
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: named("web")}
	if _, err := api.Create(t.Context(), h, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	to := func(n int32, events ...string) {
		t.Helper()
		h.Status.DesiredReplicas = n
		if _, err := api.Update(t.Context(), h, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, w, events...)
	}
	const (
		wants = `autoscaler_recommendations{container="",kind="HorizontalPodAutoscaler",name="web",namespace="shop",resource="replicas"} `
		up    = `helmproof_hpa_scale_events_total{direction="up",name="web",namespace="shop"} `
		down  = `helmproof_hpa_scale_events_total{direction="down",name="web",namespace="shop"} `
		turns = `helmproof_hpa_direction_changes_total{name="web",namespace="shop"} `
	)
	to(2, wants+"2", up+"0", down+"0", turns+"0") // the first figure is no change
	to(5, wants+"5", up+"1", down+"0", turns+"0")
	to(7, up+"2", turns+"0")
	to(3, down+"1", turns+"1")
	to(4, up+"3", turns+"2")
	if err := api.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, "!autoscaler_recommendations", "!helmproof_hpa")

	vpa := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", "metadata": map[string]any{"name": "web", "namespace": "shop"},
		"status": map[string]any{"recommendation": map[string]any{"containerRecommendations": []any{
			map[string]any{"containerName": "app", "target": map[string]any{"cpu": "250m", "memory": "64Mi"}}, map[string]any{"containerName": "other", "target": map[string]any{"cpu": "many"}},
		}}},
	}}
	if _, err := c.dynamic.Resource(vpaResource).Namespace("shop").Create(t.Context(), vpa, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const of = `autoscaler_recommendations{container="app",kind="VerticalPodAutoscaler",name="web",namespace="shop",resource=`
	eventually(t, w, of+`"cpu"} 0.25`, of+`"memory"} 6.7108864e+07`, `!autoscaler_recommendations{container="other"`)
}

// TestExternalSecrets: a kind whose definition comes later is watched from then on.
func TestExternalSecrets(t *testing.T) {
	t.Parallel()
	c := newFakeCluster(t)
	w := c.watching(t)
	secret := func(status, refreshed string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": map[string]any{"name": "db", "namespace": "shop"},
			"spec":   map[string]any{"refreshInterval": "15m"},
			"status": map[string]any{"refreshTime": refreshed, "conditions": []any{map[string]any{"type": "Ready", "status": status}}},
		}}
	}
	api := c.dynamic.Resource(esResource).Namespace("shop")
	if _, err := api.Create(t.Context(), secret("True", "2026-11-29T12:00:00Z"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.ReadCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(t, w, "!helmproof_external_secret")
	c.serve(esResource)
	if err := w.ReadCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, `helmproof_external_secret_ready{name="db",namespace="shop"} 1`, `helmproof_external_secret_refresh_interval_seconds{name="db",namespace="shop"} 900`,
		`helmproof_external_secret_refresh_timestamp_seconds{name="db",namespace="shop"} 1.7959536e+09`)
	if _, err := api.Update(t.Context(), secret("False", "2026-11-29T12:00:00Z"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, w, `helmproof_external_secret_ready{name="db",namespace="shop"} 0`)
	for name, tt := range map[string]struct {
		spec map[string]any
		want time.Duration
	}{
		"none said": {map[string]any{}, time.Hour}, "never": {map[string]any{"refreshInterval": "0"}, 0}, "once": {map[string]any{"refreshPolicy": "CreatedOnce", "refreshInterval": "1h"}, 0},
	} {
		got, ok := keepExternalSecret(&unstructured.Unstructured{Object: map[string]any{"spec": tt.spec}}).(externalSecret)
		if !ok || got.interval != tt.want || got.ready || !got.refreshed.IsZero() {
			t.Errorf("%s: %+v, want an interval of %s", name, got, tt.want)
		}
	}
}

// TestClusterAway: the last values stay while the API server is away, also where it was
// away from the beginning, and the rest is exported.
func TestClusterAway(t *testing.T) {
	t.Parallel()
	c := newFakeCluster(t)
	c.away.Store(true)
	w := newStore(t).watch(func() time.Time { return noon })
	w.Connect = c.connect
	w = New(w.Options)
	if err := w.ReadOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("read of a cluster that is away: %v", err)
	}
	has(t, w, `helmproof_watch_up{source="api"} 0`, `helmproof_watch_up{source="repository"} 1`, `helmproof_evidence_unverifiable{reason="other"} 0`)
	for ready, want := range map[Ready]string{ReadyBoth: "the cluster was not read yet", ReadyAny: "", ReadyRepository: ""} {
		w.Ready = ready
		if got := w.unready(); got != want {
			t.Errorf("ready %s: %q, want %q", ready, got, want)
		}
	}
	c.away.Store(false)
	p := &corev1.Pod{ObjectMeta: named("bad"), Spec: privileged(true)}
	if _, err := c.kube.CoreV1().Pods("shop").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.ReadOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	const bad = `helmproof_pod_security_violations{level="baseline",mode="live",namespace="shop"} 1`
	eventually(t, w, bad, `helmproof_watch_up{source="api"} 1`)
	c.away.Store(true)
	if err := w.ReadCluster(t.Context()); err == nil {
		t.Fatal("read of a cluster that is away succeeded")
	}
	has(t, w, bad, `helmproof_watch_up{source="api"} 0`)
	c.away.Store(false)
	if err := w.ReadCluster(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(t, w, bad, `helmproof_watch_up{source="api"} 1`)
	// Another cluster at the same address is not the one that is watched.
	if err := c.kube.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "west"}}, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.ReadCluster(t.Context()); err == nil || !strings.Contains(err.Error(), "this is cluster west, and was east") {
		t.Errorf("read of another cluster: %v", err)
	}
}

// TestMissing compares the releases of a cluster with the evidence that there is.
func TestMissing(t *testing.T) {
	t.Parallel()
	c := newFakeCluster(t)
	digest := evidence.DigestOf([]byte("manifests"))
	c.load = func(_ context.Context, s chart.StoredRelease) (evidence.Release, error) {
		if s.Name == "broken" {
			return evidence.Release{}, &chart.LoadError{Err: errors.New("not a release of Helm 3")}
		}
		is := evidence.Release{Chart: "web", Version: "1.0.0", ReleaseName: s.Name, Namespace: s.Namespace, ManifestsDigest: digest}
		if s.Revision > 1 {
			is.ManifestsDigest = evidence.DigestOf([]byte("others"))
		}
		return is, nil
	}
	secret := func(name, revision, status string) {
		t.Helper()
		m := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "sh.helm.release.v1." + name + ".v" + revision,
			Labels: map[string]string{"owner": "helm", "name": name, "version": revision, "status": status}}}
		if _, err := c.meta.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace("shop").(metadatafake.MetadataClient).CreateFake(m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	secret("web", "1", "deployed")
	secret("bare", "1", "deployed")
	secret("broken", "1", "deployed")
	secret("old", "1", "uninstalled")
	w := c.watching(t)
	w.census = &Census{Unverifiable: map[string]int{}, All: []*Evidence{{
		Release: evidence.Release{Scope: evidence.ScopeRelease, Chart: "web", Version: "1.0.0", ReleaseName: "web", Namespace: "shop", Cluster: "east", ManifestsDigest: digest},
		Profile: "live", Outcome: evidence.VerdictPass, At: noon,
	}}}
	const of = `helmproof_evidence_missing{namespace="shop",release=`
	has(t, w, of+`"web"} 0`, of+`"bare"} 1`, of+`"broken"} 1`, "!"+of+`"old"}`)
	secret("web", "2", "deployed")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if list, _, _ := w.api.releases(); len(list) > 0 && list[len(list)-1].Revision == 2 || time.Now().After(end) {
			break
		}
	}
	if err := w.ReadReleases(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(t, w, of+`"web"} 1`) // of the new revision there is no evidence
}

// TestComparedByName: a release whose revision may not be read is compared by its names,
// which is said, until it may be read. Of a namespace one is asked for, and after a while.
func TestComparedByName(t *testing.T) {
	t.Parallel()
	c := newFakeCluster(t)
	refuses, asked := true, 0
	c.load = func(_ context.Context, s chart.StoredRelease) (evidence.Release, error) {
		if asked++; refuses && s.Name != "open" {
			return evidence.Release{}, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, s.Object, errors.New("no rights"))
		}
		return evidence.Release{Chart: "web", ReleaseName: s.Name, Namespace: s.Namespace, ManifestsDigest: "sha256:what-runs"}, nil
	}
	for _, name := range []string{"api", "open", "web"} {
		m := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "sh.helm.release.v1." + name + ".v1",
			Labels: map[string]string{"owner": "helm", "name": name, "version": "1", "status": "deployed"}}}
		if _, err := c.meta.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace("shop").(metadatafake.MetadataClient).CreateFake(m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w := c.watching(t)
	now := noon
	w.Now = func() time.Time { return now }
	w.census = &Census{Unverifiable: map[string]int{}, All: []*Evidence{{
		Release: evidence.Release{Scope: evidence.ScopeRelease, Chart: "web", ReleaseName: "web", Namespace: "shop", Cluster: "east", ManifestsDigest: "sha256:other"},
		Profile: "live", Outcome: evidence.VerdictPass, At: noon,
	}}}
	const of, byNames = `helmproof_evidence_missing{namespace="shop",release=`, `helmproof_release_compared_by_name{namespace="shop",release=`
	read := func(wantAsked int, lines ...string) {
		t.Helper()
		asked = 0
		if err := w.ReadReleases(t.Context()); err != nil {
			t.Fatal(err)
		}
		if asked != wantAsked {
			t.Errorf("asked for %d releases, want %d", asked, wantAsked)
		}
		has(t, w, lines...)
	}
	refused := []string{byNames + `"api"} 1`, byNames + `"web"} 1`, byNames + `"open"} 0`, of + `"web"} 0`, of + `"api"} 1`}
	has(t, w, refused...)
	read(0, refused...)
	now = now.Add(askAgain)
	read(1, refused...)
	read(0, refused...)
	refuses = false
	now = now.Add(askAgain)
	read(2, byNames+`"api"} 0`, byNames+`"web"} 0`, of+`"web"} 1`)
	now = now.Add(askAgain)
	read(0, byNames+`"web"} 0`)
}

// TestLeader: one of two watches leads, the other follows when the Lease is given back.
func TestLeader(t *testing.T) {
	t.Parallel()
	c := newFakeCluster(t)
	s := newStore(t)
	s.add("web", "shop", noon.Add(-time.Hour))
	start := func(name string) (*Watch, func()) {
		w := s.watch(func() time.Time { return noon })
		w.Standby = true
		w = New(w.Options)
		if err := w.ReadRepository(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Elect(ctx, Election{Kube: c.kube, Namespace: "helmproof", Identity: name}) }()
		return w, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	a, stopA := start("a")
	eventually(t, a, "helmproof_watch_leader 1", incomplete+" 1")
	b, stopB := start("b")
	has(t, b, "helmproof_watch_leader 0", "!helmproof_verdict", `helmproof_watch_up{source="repository"} 1`)
	stopA()
	lease, err := c.kube.CoordinationV1().Leases("helmproof").Get(t.Context(), leaseName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if h := lease.Spec.HolderIdentity; h == nil || *h == "a" {
		t.Errorf("the Lease is still held by %v", h)
	}
	eventually(t, b, "helmproof_watch_leader 1", incomplete+" 1")
	stopB()
}

// TestLeaderCutOff: a leader that cannot reach the API server exports its last values.
func TestLeaderCutOff(t *testing.T) {
	t.Parallel()
	c := newFakeCluster(t)
	var away atomic.Bool
	tried := make(chan struct{}, 100)
	c.kube.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		if away.Load() {
			tried <- struct{}{}
			return true, nil, errors.New("connection refused")
		}
		return false, nil, nil
	})
	w := newStore(t).watch(func() time.Time { return noon })
	w.Standby = true
	w = New(w.Options)
	go func() { _ = w.Elect(t.Context(), Election{Kube: c.kube, Namespace: "helmproof", Identity: "a"}) }()
	eventually(t, w, "helmproof_watch_leader 1")
	away.Store(true)
	for range 5 { // more than until it gives up
		<-tried
	}
	has(t, w, "helmproof_watch_leader 1")
}
