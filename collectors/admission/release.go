package admission

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
)

// fieldManager owns the fields in dry-runs; nothing is ever stored under it.
const fieldManager = "helmproof-dry-run"

var pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// Namespace is the release's namespace as the cluster has it.
type Namespace struct {
	Name   string            `json:"name"`
	Found  bool              `json:"found"`
	Labels map[string]string `json:"labels,omitempty"`
	Error  string            `json:"error,omitempty"`
	// Relabel is the answer to a dry-run that labels the namespace to enforce
	// restricted; it is asked where the namespace does not enforce it.
	Relabel *Answer `json:"relabel,omitempty"`
}

// DryRun is one request about one object of the release.
type DryRun struct {
	Index  int    `json:"index"`  // of the object in the sealed manifests
	Object string `json:"object"` // "apps/v1 Deployment web"
	What   string `json:"what"`   // "object", or "pod" for the pod of its template
	// Unserved says that the cluster does not serve the kind; nothing was asked.
	Unserved bool `json:"unserved,omitempty"`
	// ServiceAccount is the account that the pod names and that is not in the
	// cluster yet: the dry-run used default in its place.
	ServiceAccount string `json:"serviceAccount,omitempty"`
	Answer         Answer `json:"answer"`
}

func (c *collector) collectRelease(ctx context.Context, cluster *cluster.Cluster, rel *chart.Release, out evidence.ArtifactWriter) error {
	set, err := rel.Objects()
	if err != nil {
		return err
	}
	asker, err := newAsker(cluster)
	if err != nil {
		return err
	}
	ns := lookAtNamespace(ctx, cluster, asker, rel.Info.Namespace)
	if err := collectors.WriteJSON(out, namespaceFile, ns); err != nil {
		return err
	}
	mapper, err := mapperOf(cluster)
	if err != nil {
		return err
	}
	runs, err := dryRuns(ctx, cluster, mapper, set, rel.Info.Namespace)
	if err != nil {
		return err
	}
	if err := collectors.WriteJSON(out, dryRunFile, runs); err != nil {
		return err
	}
	if err := collectors.WriteJSON(out, livePodsFile, lookAtPods(ctx, cluster, rel.Info.Namespace)); err != nil {
		return err
	}
	return collectors.WriteJSON(out, probesFile, probe(ctx, asker, rel.Info.Namespace))
}

func lookAtNamespace(ctx context.Context, cluster *cluster.Cluster, a *asker, name string) Namespace {
	ns := Namespace{Name: name}
	got, err := cluster.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return ns
	case err != nil:
		ns.Error = err.Error()
		return ns
	}
	ns.Found, ns.Labels = true, got.Labels
	if got.Labels[labelEnforce] != levelRestricted {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, labelEnforce, levelRestricted)
		answer := a.ask(func(client dynamic.Interface) error {
			_, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).
				Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: fieldManager})
			return err
		})
		ns.Relabel = &answer
	}
	return ns
}

// mapperOf knows the kinds that the cluster serves. Groups whose API server does
// not answer are left out: their kinds are then unserved.
func mapperOf(cluster *cluster.Cluster) (meta.RESTMapper, error) {
	groups, err := restmapper.GetAPIGroupResources(cluster.Discovery)
	if err != nil && len(groups) == 0 {
		return nil, fmt.Errorf("ask which kinds the cluster serves: %w", err)
	}
	return restmapper.NewDiscoveryRESTMapper(groups), nil
}

// dryRuns asks about each object, and about the pod of each pod template.
func dryRuns(ctx context.Context, cluster *cluster.Cluster, mapper meta.RESTMapper, set *manifest.ObjectSet, namespace string) ([]DryRun, error) {
	accounts := map[[2]string]bool{} // of the release itself
	type request struct {
		index int
		pod   bool
	}
	var list []request
	for i := range set.Objects {
		o := &set.Objects[i]
		if o.GetKind() == "ServiceAccount" {
			accounts[[2]string{cmp.Or(o.GetNamespace(), namespace), o.GetName()}] = true
		}
		list = append(list, request{i, false})
		if o.IsWorkload() && o.GetKind() != "Pod" {
			list = append(list, request{i, true})
		}
	}
	runs := make([]DryRun, len(list))
	err := inParallel(ctx, cluster, len(list), func(a *asker, i int) {
		o := &set.Objects[list[i].index]
		run := DryRun{Index: list[i].index, Object: objectName(o), What: "object"}
		if list[i].pod {
			run.What = "pod"
			dryRunPod(ctx, cluster, a, o, cmp.Or(o.GetNamespace(), namespace), accounts, &run)
		} else {
			dryRunObject(ctx, a, mapper, o, namespace, &run)
		}
		runs[i] = run
	})
	return runs, err
}

func objectName(o *manifest.Object) string {
	return o.GetAPIVersion() + " " + o.GetKind() + " " + o.GetName()
}

// dryRunObject applies the object, which goes through admission for creation or
// for update, whichever it would be.
func dryRunObject(ctx context.Context, a *asker, mapper meta.RESTMapper, o *manifest.Object, namespace string, run *DryRun) {
	gvk := o.GroupVersionKind()
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		run.Unserved = true
		return
	}
	obj := o.DeepCopy()
	obj.SetManagedFields(nil)
	run.Answer = a.ask(func(client dynamic.Interface) error {
		var target dynamic.ResourceInterface = client.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			obj.SetNamespace(cmp.Or(o.GetNamespace(), namespace))
			target = client.Resource(mapping.Resource).Namespace(obj.GetNamespace())
		}
		if obj.GetName() == "" {
			_, err := target.Create(ctx, obj, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: fieldManager})
			return err
		}
		_, err := target.Apply(ctx, obj.GetName(), obj, metav1.ApplyOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: fieldManager, Force: true})
		return err
	})
}

// dryRunPod creates the pod of a pod template: Pod Security refuses pods only,
// and a workload that is accepted may never get one.
func dryRunPod(ctx context.Context, cluster *cluster.Cluster, a *asker, o *manifest.Object, namespace string, accounts map[[2]string]bool, run *DryRun) {
	tpl, _, err := o.PodTemplate()
	if err != nil {
		run.Answer.Error = err.Error()
		return
	}
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: strings.TrimRight(o.GetName()[:min(len(o.GetName()), 40)], "-.") + "-helmproof-", Namespace: namespace,
			Labels: tpl.Labels, Annotations: tpl.Annotations,
		},
		Spec: tpl.Spec,
	}
	if o.GetKind() == "StatefulSet" {
		claimVolumes(o, &pod.Spec)
	}
	if name := pod.Spec.ServiceAccountName; name != "" && accounts[[2]string{namespace, name}] {
		if _, err := cluster.Kube.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			run.ServiceAccount = name
			pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = "", ""
		}
	}
	run.Answer = createPod(ctx, a, pod)
}

// claimVolumes adds the volumes that the StatefulSet controller adds for the
// set's claims.
func claimVolumes(o *manifest.Object, spec *corev1.PodSpec) {
	claims, _, err := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates")
	if err != nil {
		return // the API server refuses the set itself
	}
	for _, c := range claims {
		m, ok := c.(map[string]any)
		if !ok {
			continue
		}
		name, _, err := unstructured.NestedString(m, "metadata", "name")
		if err != nil || name == "" || slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == name }) {
			continue
		}
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name + "-" + o.GetName() + "-0"},
		}})
	}
}

func createPod(ctx context.Context, a *asker, pod *corev1.Pod) Answer {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	delete(content, "status")
	return a.ask(func(client dynamic.Interface) error {
		_, err := client.Resource(pods).Namespace(pod.Namespace).
			Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: fieldManager})
		return err
	})
}

// LivePods is every pod of the namespace, those of like specification together.
// The API server's own check of live pods ends at 3,000 pods or one second, and
// says nothing in many cases; here each is judged by the same library.
type LivePods struct {
	Total  int        `json:"total"`
	Groups []PodGroup `json:"groups,omitempty"`
	Error  string     `json:"error,omitempty"`
}

// PodGroup is pods of like specification. Environment, commands and arguments,
// which Pod Security does not look at, are left out.
type PodGroup struct {
	Count       int               `json:"count"`
	Example     string            `json:"example"` // the first by name
	Owner       string            `json:"owner,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Spec        corev1.PodSpec    `json:"spec"`
}

func lookAtPods(ctx context.Context, cluster *cluster.Cluster, namespace string) LivePods {
	var live LivePods
	groups := map[string]*PodGroup{}
	opts := metav1.ListOptions{Limit: 250}
	for {
		page, err := cluster.Kube.CoreV1().Pods(namespace).List(ctx, opts)
		if err != nil {
			return LivePods{Error: err.Error()}
		}
		for i := range page.Items {
			p := &page.Items[i]
			if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
				continue
			}
			live.Total++
			g, key, err := groupOf(p)
			if err != nil {
				return LivePods{Error: err.Error()}
			}
			if was := groups[key]; was != nil {
				was.Count++
				was.Example = min(was.Example, g.Example)
			} else {
				groups[key] = g
			}
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			break
		}
	}
	for _, g := range groups {
		live.Groups = append(live.Groups, *g)
	}
	slices.SortFunc(live.Groups, func(a, b PodGroup) int { return cmp.Compare(a.Example, b.Example) })
	return live
}

func groupOf(p *corev1.Pod) (*PodGroup, string, error) {
	g := &PodGroup{Count: 1, Example: p.Name, Spec: *p.Spec.DeepCopy()}
	for k, v := range p.Annotations {
		if strings.HasPrefix(k, "container.apparmor.security.beta.kubernetes.io/") || strings.HasPrefix(k, "seccomp.security.alpha.kubernetes.io/") {
			if g.Annotations == nil {
				g.Annotations = map[string]string{}
			}
			g.Annotations[k] = v
		}
	}
	for _, o := range p.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			g.Owner = o.Kind + " " + o.Name
		}
	}
	s := &g.Spec
	s.NodeName, s.Hostname = "", ""
	strip := func(c *corev1.Container) {
		c.Env, c.EnvFrom, c.Args, c.Command = nil, nil, nil, nil
	}
	for i := range s.InitContainers {
		strip(&s.InitContainers[i])
	}
	for i := range s.Containers {
		strip(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		c := &s.EphemeralContainers[i]
		c.Env, c.EnvFrom, c.Args, c.Command = nil, nil, nil, nil
	}
	for i := range s.Volumes {
		// Each pod's token volume has a name of its own.
		if strings.HasPrefix(s.Volumes[i].Name, "kube-api-access-") {
			s.Volumes[i].Name = "kube-api-access"
		}
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			for k := range list[i].VolumeMounts {
				if m := &list[i].VolumeMounts[k]; strings.HasPrefix(m.Name, "kube-api-access-") {
					m.Name = "kube-api-access"
				}
			}
		}
	}
	raw, err := json.Marshal([]any{g.Owner, g.Annotations, s})
	if err != nil {
		return nil, "", fmt.Errorf("pod %s: %w", p.Name, err)
	}
	sum := sha256.Sum256(raw)
	return g, hex.EncodeToString(sum[:]), nil
}
