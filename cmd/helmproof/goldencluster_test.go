package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	helmcommon "helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	psa "k8s.io/pod-security-admission/api"
	psapolicy "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
	"github.com/companyos/helmproof/internal/manifest"
)

// goldenKinds are the kinds that the cluster serves; those with ! have no namespace.
const goldenKinds = `v1 ConfigMap Secret Service ServiceAccount Pod Event Namespace!
apps/v1 Deployment StatefulSet
batch/v1 Job
policy/v1 PodDisruptionBudget
autoscaling/v2 HorizontalPodAutoscaler
networking.k8s.io/v1 NetworkPolicy
autoscaling.k8s.io/v1 VerticalPodAutoscaler
external-secrets.io/v1 ExternalSecret SecretStore ClusterSecretStore!
admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy! ValidatingAdmissionPolicyBinding! ValidatingWebhookConfiguration!`

type dict = map[string]any

// goldenCluster is as much of an API server as collectors ask: objects by path and
// dry-runs, of which nothing is kept. Pods are judged by the API server's own library.
// benchtest does the rest.
type goldenCluster struct {
	*benchtest.Server
	t       *testing.T
	broken  bool // the list of API groups is an error
	served  map[string]*metav1.APIResourceList
	groups  []metav1.APIGroup
	objects map[string]dict
}

func newGoldenCluster(t *testing.T, broken bool, etcd []byte) *goldenCluster {
	t.Helper()
	c := &goldenCluster{t: t, broken: broken, served: map[string]*metav1.APIResourceList{}, objects: map[string]dict{}}
	c.serves(goldenKinds)
	var stop func()
	c.Server, stop = benchtest.New(benchtest.Node("cp", "control-plane"), benchtest.Node("a"), benchtest.Node("b"))
	t.Cleanup(stop)
	var sealed struct{ Controls []any }
	must(t, json.Unmarshal(etcd, &sealed))
	output, err := json.Marshal([]any{benchTarget("1", "master", "PASS", "FAIL"), sealed.Controls[0], benchTarget("3", "controlplane", "PASS"), benchTarget("4", "node", "PASS", "PASS", "WARN")})
	must(t, err)
	logs := map[string][]byte{
		"cp": benchtest.Log(output, 0, ""), "a": benchtest.Log(benchOutput(t, "PASS", "FAIL", "WARN", "INFO"), 0, ""), "b": benchtest.Log(benchOutput(t, "PASS", "PASS", "WARN", "INFO"), 0, ""),
		"d": benchtest.Log(nil, 1, "unable to find a config file"),
	}
	c.Log = func(node string, _ int) []byte { return logs[node] }
	c.Other = c.serve
	return c
}

// serves adds kinds to those that are served.
func (c *goldenCluster) serves(kinds string) {
	c.t.Helper()
	for line := range strings.Lines(kinds) {
		words := strings.Fields(line)
		gv, err := schema.ParseGroupVersion(words[0])
		must(c.t, err)
		base := "/apis/" + words[0]
		if gv.Group == "" {
			base = "/api/v1"
		}
		list := c.served[base]
		if list == nil {
			list = &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList"}, GroupVersion: words[0]}
			c.served[base] = list
			if v := (metav1.GroupVersionForDiscovery{GroupVersion: words[0], Version: gv.Version}); gv.Group != "" {
				c.groups = append(c.groups, metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
			}
		}
		for _, kind := range words[1:] {
			kind, global := strings.CutSuffix(kind, "!")
			plural, _ := meta.UnsafeGuessKindToResource(gv.WithKind(kind))
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: plural.Resource, Kind: kind, Namespaced: !global, Verbs: metav1.Verbs{"get", "list", "create", "patch"}})
		}
	}
}

// spoil adds nodes of which there is no result: of Windows, one whose Job fails, and
// one on which kube-bench says nothing.
func (c *goldenCluster) spoil() {
	windows := benchtest.Node("w")
	windows.Status.NodeInfo.OperatingSystem = "windows"
	for _, n := range []*corev1.Node{windows, benchtest.Node("c"), benchtest.Node("d")} {
		c.AddNode(n)
	}
	c.Job = func(node string, _ int) benchtest.State {
		if node == "c" {
			return benchtest.State{Job: batchv1.JobFailed, Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit"}
		}
		return benchtest.Done
	}
}

// put merges an object over the one that is there; deleted: true removes that.
func (c *goldenCluster) put(o dict, namespace string) {
	u := unstructured.Unstructured{Object: o}
	for base, list := range c.served {
		for _, r := range list.APIResources {
			if list.GroupVersion != u.GetAPIVersion() || r.Kind != u.GetKind() {
				continue
			}
			if r.Namespaced {
				if u.GetNamespace() == "" {
					u.SetNamespace(namespace)
				}
				base += "/namespaces/" + u.GetNamespace()
			}
			base += "/" + r.Name + "/" + u.GetName()
			if o["deleted"] == true {
				delete(c.objects, base)
			} else {
				c.objects[base] = merged(c.objects[base], o)
			}
			return
		}
	}
	c.t.Fatalf("%s %s is not served", u.GetAPIVersion(), u.GetKind())
}

// merged is over on top of under, as a merge patch is.
func merged(under, over dict) dict {
	a, b := unstructured.Unstructured{Object: under}, unstructured.Unstructured{Object: over}
	return util.CoalesceTables(b.DeepCopy().Object, a.DeepCopy().Object)
}

// objects puts all objects of the files.
func (g *golden) objects(pattern string) {
	names, err := filepath.Glob(pattern)
	must(g.t, err)
	if len(names) == 0 {
		g.t.Fatalf("no %s", pattern)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		must(g.t, err)
		set, err := manifest.Parse(raw)
		must(g.t, err)
		for i := range set.Objects {
			o := set.Objects[i].Object
			if o["kind"] == "ValidatingAdmissionPolicy" && o["status"] == nil {
				o["status"] = dict{"typeChecking": dict{}}
			}
			g.cluster.put(o, "")
		}
	}
}

// release installs the chart small as Helm does, and the first revision's objects
// with what controllers make of them.
func (g *golden) release(name, storage, revision, status string) {
	chrt, err := loader.LoadDir("charts/small")
	must(g.t, err)
	r := &releasev1.Release{Name: name, Namespace: "shop", Version: 1, Chart: chrt, Info: &releasev1.Info{Status: common.StatusDeployed}, ApplyMethod: "ssa"}
	if revision != "" {
		r.Version, err = strconv.Atoi(revision)
		must(g.t, err)
		r.Info.Status = common.Status(status)
	}
	values, err := util.ToRenderValues(chrt, nil, helmcommon.ReleaseOptions{Name: name, Namespace: r.Namespace, Revision: 1, IsInstall: true}, nil)
	must(g.t, err)
	rendered, err := engine.Render(chrt, values)
	must(g.t, err)
	for doc := range strings.SplitSeq(rendered["small/templates/all.yaml"], "---\n") {
		r.Manifest += "---\n# Source: small/templates/all.yaml\n" + doc
	}
	const test = "small/templates/test.yaml"
	r.Hooks = []*releasev1.Hook{{Name: name + "-test", Kind: "Pod", Path: test, Manifest: rendered[test], Events: []releasev1.HookEvent{releasev1.HookTest}}}

	client := fake.NewClientset().CoreV1()
	key := fmt.Sprintf("sh.helm.release.v1.%s.v%d", name, r.Version)
	var stored any
	object := dict{"apiVersion": "v1", "kind": "Secret"}
	if storage == "configmaps" {
		object["kind"] = "ConfigMap"
		must(g.t, driver.NewConfigMaps(client.ConfigMaps("shop")).Create(key, r))
		stored, err = client.ConfigMaps("shop").Get(g.t.Context(), key, metav1.GetOptions{})
	} else {
		must(g.t, driver.NewSecrets(client.Secrets("shop")).Create(key, r))
		stored, err = client.Secrets("shop").Get(g.t.Context(), key, metav1.GetOptions{})
	}
	must(g.t, err)
	raw, err := json.Marshal(stored)
	must(g.t, err)
	must(g.t, json.Unmarshal(raw, &object))
	g.cluster.put(object, "shop")
	if r.Version > 1 {
		return
	}
	set, err := manifest.Parse([]byte(r.Manifest))
	must(g.t, err)
	for i := range set.Objects {
		o := set.Objects[i].Object
		g.cluster.put(merged(o, dict{"metadata": dict{
			"uid": fmt.Sprintf("uid-%s-%s", name, o["kind"]), "resourceVersion": "7", "generation": int64(1), "annotations": dict{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": "shop"},
			"managedFields": []any{dict{"manager": "helm", "operation": "Apply", "apiVersion": o["apiVersion"], "fieldsType": "FieldsV1", "fieldsV1": dict{"f:spec": dict{}}}},
		}}), "shop")
	}
	g.values["release"] = name
	g.write()
	g.objects("cluster/running.yaml")
}

var namespaced = regexp.MustCompile(`/namespaces/[^/]+/`)

// serve answers what is no part of a run of kube-bench.
func (c *goldenCluster) serve(w http.ResponseWriter, r *http.Request) bool {
	p, dryRun := r.URL.Path, r.URL.Query().Get("dryRun") == "All"
	switch {
	case strings.Contains(p, "/namespaces/helmproof-"):
		return false
	case p == "/api":
		return answer(w, http.StatusOK, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case p == "/apis" && c.broken:
		return refuse(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, "the aggregation layer does not answer")
	case p == "/apis":
		return answer(w, http.StatusOK, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: c.groups})
	case c.served[p] != nil:
		return answer(w, http.StatusOK, c.served[p])
	case r.Method == http.MethodGet && c.objects[p] != nil:
		return answer(w, http.StatusOK, c.objects[p])
	case r.Method == http.MethodGet:
		return c.list(w, r)
	case r.Method == http.MethodPost && dryRun && path.Base(p) == "pods":
		return c.pod(w, r, path.Base(path.Dir(p)))
	case r.Method == http.MethodPatch && dryRun:
		return c.patch(w, r)
	}
	return false
}

func (c *goldenCluster) list(w http.ResponseWriter, r *http.Request) bool {
	everywhere := namespaced.ReplaceAllString(r.URL.Path, "/")
	served := c.served[path.Dir(everywhere)]
	if served == nil || path.Base(everywhere) == "namespaces" {
		return false
	}
	i := slices.IndexFunc(served.APIResources, func(a metav1.APIResource) bool { return a.Name == path.Base(everywhere) })
	if i < 0 {
		return false
	}
	byLabel, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	c.check(err)
	byField, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	c.check(err)
	items := []any{}
	for _, p := range slices.Sorted(maps.Keys(c.objects)) {
		u := unstructured.Unstructured{Object: c.objects[p]}
		about, _, _ := unstructured.NestedString(u.Object, "involvedObject", "name")
		if dir := path.Dir(p); (dir == r.URL.Path || namespaced.ReplaceAllString(dir, "/") == r.URL.Path) && byLabel.Matches(labels.Set(u.GetLabels())) &&
			byField.Matches(fields.Set{"involvedObject.name": about, "metadata.name": u.GetName()}) {
			items = append(items, u.Object)
		}
	}
	return answer(w, http.StatusOK, dict{"apiVersion": served.GroupVersion, "kind": served.APIResources[i].Kind + "List", "metadata": dict{"resourceVersion": "1"}, "items": items})
}

// patch answers a dry-run by what would come of it, or refuses by the object's name.
func (c *goldenCluster) patch(w http.ResponseWriter, r *http.Request) bool {
	var in dict
	raw, err := io.ReadAll(r.Body)
	c.check(err)
	c.check(yaml.Unmarshal(raw, &in))
	switch p := r.URL.Path; {
	case path.Base(p) == "refused":
		return refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, `configmaps "refused" is forbidden: ValidatingAdmissionPolicy 'team-label' with binding 'team-label' denied request: label team is missing`)
	case path.Base(p) == "warned":
		w.Header().Add("Warning", `299 - "warned by the test"`)
	case p == "/api/v1/namespaces/default":
		w.Header().Add("Warning", `299 - "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"restricted:latest\""`)
	}
	return answer(w, http.StatusOK, merged(c.objects[r.URL.Path], in))
}

// pod judges a pod as Pod Security and a check of signatures do.
func (c *goldenCluster) pod(w http.ResponseWriter, r *http.Request, namespace string) bool {
	pod := &corev1.Pod{}
	c.check(json.NewDecoder(r.Body).Decode(pod))
	if pod.Name == "" {
		pod.Name = pod.GenerateName + "x"
	}
	if strings.Contains(pod.Spec.Containers[0].Image, "/unsigned") {
		return refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, `admission webhook "policy.sigstore.dev" denied the request: validation failed: failed policy: team: spec.containers[0].image no signatures found`)
	}
	ns := unstructured.Unstructured{Object: c.objects["/api/v1/namespaces/"+namespace]}
	if ns.GetLabels()["pod-security.kubernetes.io/enforce"] == "restricted" {
		eval, err := psapolicy.NewEvaluator(psapolicy.DefaultChecks(), nil)
		c.check(err)
		found := psapolicy.AggregateCheckResults(eval.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
		if !found.Allowed {
			return refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf("pods %q is forbidden: violates PodSecurity \"restricted:latest\": %s", pod.Name, found.ForbiddenDetail()))
		}
	}
	pod.UID, pod.TypeMeta = "00000000-0000-4000-8000-0000000000aa", metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	return answer(w, http.StatusCreated, pod)
}

// check is must for what does not run in the test's own goroutine.
func (c *goldenCluster) check(err error) {
	if err != nil {
		c.t.Error(err)
	}
}

func answer(w http.ResponseWriter, code int, v any) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
	return true
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) bool {
	return answer(w, code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason, Message: message})
}
