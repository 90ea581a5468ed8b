package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	helmkube "helm.sh/helm/v4/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/test/kube"
)

const (
	newChartVersion = "99.0.0"
	appTimeout      = 5 * time.Minute
)

// appRun is the life of an application in its namespace.
type appRun struct {
	app
	c            *testCluster
	ns           string
	cfg          *action.Configuration
	warnings     *warnings
	values, next map[string]any
	objects      dynamic.Interface

	mu   sync.Mutex
	jobs []string // each that was made
}

// newAppRun makes the namespace and what watches it.
func newAppRun(t *testing.T, c *testCluster, a app, image map[string]any) *appRun {
	t.Helper()
	r := &appRun{app: a, c: c, ns: "app-" + a.name}
	labelled(t, c.Cluster, r.ns, "enforce=restricted warn=restricted audit=restricted")
	r.cfg, r.warnings = listeningHelm(t, c, r.ns)
	raw, err := os.ReadFile("../../charts/service/examples/app-" + a.name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	parse := func(text string) map[string]any {
		v := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return v
	}
	r.values = parse(string(raw))
	r.values["resources"] = map[string]any{}
	replace(r.values, image)
	r.values = util.MergeTables(parse(a.replaced), r.values)
	raw, err = yaml.Marshal(r.values)
	if err != nil {
		t.Fatal(err)
	}
	r.next = util.MergeTables(parse(a.changed), parse(string(raw)))
	if r.objects, err = dynamic.NewForConfig(c.config); err != nil {
		t.Fatal(err)
	}

	factory := informers.NewSharedInformerFactoryWithOptions(c.kube, 0, informers.WithNamespace(r.ns))
	_, err = factory.Batch().V1().Jobs().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		r.mu.Lock()
		defer r.mu.Unlock()
		job := o.(*batchv1.Job)
		if owner := metav1.GetControllerOf(job); owner == nil || job.Annotations["cronjob.kubernetes.io/instantiate"] == "manual" { // not by its schedule
			r.jobs = append(r.jobs, job.Name)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	var store sync.WaitGroup
	store.Go(func() { r.secretStore(ctx, t) })
	t.Cleanup(func() {
		stop()
		factory.Shutdown()
		store.Wait()
		if t.Failed() {
			r.tell(t)
		}
	})
	return r
}

// replace puts the image and small requests wherever values name others. A sidecar
// relies on the entry point of its image.
func replace(values map[string]any, image map[string]any) {
	for key, v := range values {
		switch v := v.(type) {
		case map[string]any:
			switch {
			case key == "image":
				values[key] = maps.Clone(image)
			case key == "resources":
				values[key] = map[string]any{
					"requests": map[string]any{"cpu": "1m", "memory": "8Mi", "ephemeral-storage": "4Mi"},
					"limits":   map[string]any{"cpu": "1", "memory": "128Mi", "ephemeral-storage": "4Gi"},
				}
			default:
				replace(v, image)
			}
		case []any:
			for _, item := range v {
				if m, ok := item.(map[string]any); ok {
					replace(m, image)
					if key == "sidecars" {
						m["command"] = []any{"/serve", fmt.Sprint(m["port"])}
					}
				}
			}
		}
	}
}

func (r *appRun) chart(t *testing.T, version string) *chartv2.Chart {
	t.Helper()
	ch, err := loader.Load("../../charts/service")
	if err != nil {
		t.Fatal(err)
	}
	if version != "" {
		ch.Metadata.Version = version
	}
	return ch
}

func (r *appRun) install(t *testing.T) {
	t.Helper()
	in := action.NewInstall(r.cfg)
	in.ReleaseName, in.Namespace, in.WaitStrategy, in.WaitForJobs, in.Timeout = "app", r.ns, helmkube.StatusWatcherStrategy, true, appTimeout
	if _, err := in.RunWithContext(t.Context(), r.chart(t, ""), r.values); err != nil {
		t.Fatalf("install: %v", err)
	}
}

func (r *appRun) upgrade(t *testing.T) {
	t.Helper()
	up := action.NewUpgrade(r.cfg)
	up.Namespace, up.WaitStrategy, up.WaitForJobs, up.Timeout = r.ns, helmkube.StatusWatcherStrategy, true, appTimeout
	if _, err := up.RunWithContext(t.Context(), "app", r.chart(t, newChartVersion), r.next); err != nil {
		t.Fatalf("upgrade: %v", err)
	}
}

func (r *appRun) rollback(t *testing.T) {
	t.Helper()
	back := action.NewRollback(r.cfg)
	back.Version, back.WaitStrategy, back.WaitForJobs, back.Timeout = 1, helmkube.StatusWatcherStrategy, true, appTimeout
	if err := back.Run("app"); err != nil {
		t.Fatalf("rollback: %v", err)
	}
}

// slowly waits until ok holds, which asks the API server for much: ten
// applications ask at once.
func slowly(t *testing.T, what string, ok func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, appTimeout, true, func(context.Context) (bool, error) { return ok(), nil })
	if err != nil {
		t.Fatalf("waited for %s: %v", what, err)
	}
}

// appState is what the upgrade and the rollback are held to.
type appState struct {
	workloads map[string]appWorkload // by kind and name
	claims    map[string]string      // uid by name
	pods      []corev1.Pod           // those that serve
}

type appWorkload struct{ uid, template, revision string }

// settled waits until all that the release runs is of its newest template and
// ready, its Jobs are complete, and no pod is left of what was before.
func (r *appRun) settled(t *testing.T) appState {
	t.Helper()
	var s appState
	var why error
	defer func() {
		if why != nil {
			t.Log(why)
		}
	}()
	slowly(t, "all to be ready", func() bool {
		s, why = r.state(t.Context())
		return why == nil
	})
	return s
}

func (r *appRun) state(ctx context.Context) (s appState, err error) {
	k := r.c.kube
	deployments, err1 := k.AppsV1().Deployments(r.ns).List(ctx, metav1.ListOptions{})
	stateful, err2 := k.AppsV1().StatefulSets(r.ns).List(ctx, metav1.ListOptions{})
	daemons, err3 := k.AppsV1().DaemonSets(r.ns).List(ctx, metav1.ListOptions{})
	scalers, err4 := k.AutoscalingV2().HorizontalPodAutoscalers(r.ns).List(ctx, metav1.ListOptions{})
	jobs, err5 := k.BatchV1().Jobs(r.ns).List(ctx, metav1.ListOptions{})
	pods, err6 := k.CoreV1().Pods(r.ns).List(ctx, metav1.ListOptions{})
	claims, err7 := k.CoreV1().PersistentVolumeClaims(r.ns).List(ctx, metav1.ListOptions{})
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return s, err
	}
	revisions, serving, err := podRevisions(pods.Items)
	if err != nil {
		return s, err
	}
	s = appState{workloads: map[string]appWorkload{}, claims: map[string]string{}, pods: serving}
	add := func(kind string, o metav1.Object, template corev1.PodTemplateSpec, generation int64, want, are, ready, updated int32) {
		name := kind + "/" + o.GetName()
		if o.GetGeneration() != generation || want == 0 || are != want || ready != want || updated != want {
			err = errors.Join(err, fmt.Errorf("%s: of %d pods there are %d, %d ready, %d updated; generation %d, seen %d", name, want, are, ready, updated, o.GetGeneration(), generation))
		}
		if floor := floorOf(scalers.Items, kind, o.GetName()); want < floor {
			err = errors.Join(err, fmt.Errorf("%s: %d pods, and the autoscaler wants %d", name, want, floor))
		}
		raw, jsonErr := json.Marshal(template)
		err = errors.Join(err, jsonErr)
		s.workloads[name] = appWorkload{string(o.GetUID()), string(raw), revisions[name]}
	}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		add("Deployment", d, d.Spec.Template, d.Status.ObservedGeneration, *d.Spec.Replicas, d.Status.Replicas, d.Status.AvailableReplicas, d.Status.UpdatedReplicas)
	}
	for i := range stateful.Items {
		d := &stateful.Items[i]
		add("StatefulSet", d, d.Spec.Template, d.Status.ObservedGeneration, *d.Spec.Replicas, d.Status.Replicas, d.Status.AvailableReplicas, d.Status.UpdatedReplicas)
	}
	for i := range daemons.Items {
		d := &daemons.Items[i]
		add("DaemonSet", d, d.Spec.Template, d.Status.ObservedGeneration, d.Status.DesiredNumberScheduled, d.Status.CurrentNumberScheduled, d.Status.NumberAvailable, d.Status.UpdatedNumberScheduled)
	}
	for i := range jobs.Items {
		if j := &jobs.Items[i]; j.Status.Succeeded != 1 || j.Status.Failed > 0 {
			err = errors.Join(err, fmt.Errorf("Job %s: %d succeeded, %d failed", j.Name, j.Status.Succeeded, j.Status.Failed))
		}
	}
	for _, claim := range claims.Items {
		if claim.Status.Phase != corev1.ClaimBound {
			err = errors.Join(err, fmt.Errorf("claim %s is %s", claim.Name, claim.Status.Phase))
		}
		s.claims[claim.Name] = string(claim.UID)
	}
	return s, err
}

// podRevisions are the revisions of the pods that serve, by workload: one each, and
// all of them ready.
func podRevisions(pods []corev1.Pod) (revisions map[string]string, serving []corev1.Pod, err error) {
	revisions = map[string]string{}
	for _, p := range pods {
		owner := metav1.GetControllerOf(&p)
		if owner == nil || owner.Kind == "Job" {
			continue
		}
		name, revision := owner.Kind+"/"+owner.Name, p.Labels[appsv1.ControllerRevisionHashLabelKey]
		if owner.Kind == "ReplicaSet" {
			revision = p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
			name = "Deployment/" + strings.TrimSuffix(owner.Name, "-"+revision)
		}
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if p.DeletionTimestamp != nil || !ready {
			err = errors.Join(err, fmt.Errorf("pod %s is %s, ready: %v, going: %v", p.Name, p.Status.Phase, ready, p.DeletionTimestamp != nil))
		}
		if was, there := revisions[name]; there && was != revision {
			err = errors.Join(err, fmt.Errorf("%s has pods of two revisions", name))
		}
		revisions[name] = revision
		serving = append(serving, p)
	}
	return revisions, serving, err
}

func floorOf(scalers []autoscalingv2.HorizontalPodAutoscaler, kind, name string) int32 {
	for _, s := range scalers {
		if ref := s.Spec.ScaleTargetRef; ref.Kind == kind && ref.Name == name && s.Spec.MinReplicas != nil {
			return *s.Spec.MinReplicas
		}
	}
	return 0
}

// shows holds what a running pod has of the values, all of which are of one revision;
// the members of the database have been started that often.
func (r *appRun) shows(t *testing.T, s appState, starts int, want, not string) {
	t.Helper()
	looked := 0
	for _, p := range s.pods {
		if p.Labels["app.kubernetes.io/component"] != r.component || looked > 0 && r.name != "database" {
			continue
		}
		looked++
		out := r.c.Kubectl(t, append([]string{"exec", "-n", r.ns, p.Name, "-c", p.Spec.Containers[0].Name, "--"}, r.show...)...)
		if !strings.Contains(out, want) || not != "" && strings.Contains(out, not) {
			t.Errorf("pod %s: %v prints %q, want %q in it and not %q", p.Name, r.show, out, want, not)
		}
		if n := strings.Count(out, "started\n"); r.name == "database" && n != starts {
			t.Errorf("pod %s: its claim has seen %d starts, want %d:\n%s", p.Name, n, starts, out)
		}
	}
	if looked == 0 {
		t.Errorf("no pod of component %q", r.component)
	}
}

// made holds how many Jobs there were of each name, at a step of the life.
func (r *appRun) made(t *testing.T, step int) {
	t.Helper()
	want := map[string]int{}
	for name, n := range r.app.jobs {
		want[name] = n[step]
	}
	got := map[string]int{}
	count := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		clear(got)
		for _, job := range r.jobs {
			name := job
			for prefix := range want {
				if strings.HasPrefix(job, prefix) {
					name = prefix
				}
			}
			got[name]++
		}
		for name, n := range want {
			if got[name] < n {
				return false
			}
		}
		return true
	}
	kube.Eventually(t, 10*time.Second, fmt.Sprintf("Jobs %v", want), count)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Jobs were made %v, want %v", got, want)
	}
}

// runOnce runs a CronJob's Job now, and waits until it is complete.
func (r *appRun) runOnce(t *testing.T, cron string) {
	t.Helper()
	r.c.Kubectl(t, "create", "job", "cron-now", "-n", r.ns, "--from=cronjob/"+cron)
	r.settled(t)
}

// uninstall holds that nothing stays but the claims, and for a day the Job of a hook.
func (r *appRun) uninstall(t *testing.T, claims map[string]string) {
	t.Helper()
	un := action.NewUninstall(r.cfg)
	un.WaitStrategy, un.Timeout = helmkube.StatusWatcherStrategy, appTimeout
	if _, err := un.Run("app"); err != nil {
		t.Fatalf("uninstall: %v", err)
	}
	var left []string
	defer func() {
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}()
	slowly(t, "all but the claims to go", func() bool {
		var err error
		if left, err = r.left(t.Context(), claims); err != nil {
			left = []string{err.Error()}
		}
		return len(left) == 0
	})
}

// left are the objects of the namespace that nobody should find after the release.
func (r *appRun) left(ctx context.Context, claims map[string]string) (names []string, err error) {
	lists, err := r.c.kube.Discovery().ServerPreferredNamespacedResources()
	if err != nil {
		return nil, err
	}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, lists) {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, res := range list.APIResources {
			if res.Name == "endpoints" { // deprecated, and gone with their Services
				continue
			}
			objects, err := r.objects.Resource(gv.WithResource(res.Name)).Namespace(r.ns).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, err
			}
			for i := range objects.Items {
				if o := &objects.Items[i]; !r.mayStay(o, claims) {
					names = append(names, o.GetKind()+"/"+o.GetName())
				}
			}
		}
	}
	return names, nil
}

// mayStay is whether the object is the namespace's, a claim that was there before, or
// of a hook's Job that will be removed by itself.
func (r *appRun) mayStay(o *unstructured.Unstructured, claims map[string]string) bool {
	switch o.GetKind() {
	case "Event":
		return true
	case "ServiceAccount":
		return o.GetName() == "default"
	case "ConfigMap":
		return o.GetName() == "kube-root-ca.crt"
	case "PersistentVolumeClaim":
		return claims[o.GetName()] == string(o.GetUID())
	case "Job":
		ttl, there, err := unstructured.NestedInt64(o.Object, "spec", "ttlSecondsAfterFinished")
		return err == nil && there && ttl <= 86400 && o.GetAnnotations()["helm.sh/hook"] != ""
	case "Pod":
		owner := metav1.GetControllerOf(o)
		return owner != nil && owner.Kind == "Job" && o.GetDeletionTimestamp() == nil && r.app.jobs[owner.Name] != [3]int{}
	}
	return false
}

// tell says how the namespace is, for who has to find out why the test failed.
func (r *appRun) tell(t *testing.T) {
	for _, args := range [][]string{{"get", "pods,jobs", "-o", "wide"}, {"get", "events", "--sort-by=.lastTimestamp", "--field-selector=type=Warning"}} {
		out, err := r.c.TryKubectl(context.Background(), "", append(args, "-n", r.ns)...)
		lines := strings.SplitAfter(out, "\n")
		t.Logf("%v %v\n%s", args, err, strings.Join(lines[max(0, len(lines)-20):], ""))
	}
}
