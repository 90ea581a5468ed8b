// Package live compares what runs with what the release says: each object of the
// manifest that Helm stored, field by field, with the live one.
//
// The API server itself says what applying the manifest again would change, by a
// server-side apply dry-run. Where it may not be asked, or gives no answer, the
// manifest is compared with the live object as it was read. Nothing is changed.
package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name in the catalog.
const Name = "live"

// The rules.
const (
	RuleRelease = "live/release" // the release's own state
	RuleObject  = "live/object"  // each object of its manifest
)

var rules = collectors.Rules{RuleRelease: evidence.SeverityHigh, RuleObject: evidence.SeverityHigh}

// Names of the collector's artifacts, under artifacts/live/.
const (
	releaseFile = "release.json" // collectors.Stored
	objectsFile = "objects.json" // []Object
)

// fieldManager owns the fields in dry-runs; nothing is ever stored under it.
const fieldManager = "helmproof-drift"

// parallel is how many objects are looked at at once.
const parallel = 8

type collector struct{}

// New returns the collector.
func New() collectors.Collector { return collector{} }

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

// States of an object.
const (
	StateSame     = "same"     // each field that the manifest sets is as it says
	StateDiffers  = "differs"  // some are not
	StateMissing  = "missing"  // it is not in the cluster
	StateHook     = "hook"     // Helm made it for one operation, and does not keep it
	StateUnnamed  = "unnamed"  // generateName: nothing says which live object it became
	StateUnserved = "unserved" // the cluster does not serve its kind
	StateUnknown  = "unknown"  // it could not be looked at
)

// How an object was compared.
const (
	HowDryRun = "dry-run"
	HowRead   = "read"
)

// Object is one object of the release's manifest, compared with the live one.
type Object struct {
	Index     int    `json:"index"`  // in the sealed manifests
	Object    string `json:"object"` // "apps/v1 Deployment web"
	Namespace string `json:"namespace,omitempty"`
	State     string `json:"state"`
	How       string `json:"how,omitempty"`
	// NoDryRun says why there was no answer to the dry-run.
	NoDryRun    string       `json:"noDryRun,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
	// More is how many further differences there are.
	More int `json:"more,omitempty"`
	// Autoscaler is the HorizontalPodAutoscaler of the release that set spec.replicas.
	Autoscaler string `json:"autoscaler,omitempty"`
	// Owner is the release that the live object says it belongs to ("namespace/name"),
	// where that is another one; "none" where it says nothing.
	Owner string `json:"owner,omitempty"`
	Error string `json:"error,omitempty"` // of StateUnknown
}

// Difference is one field of the manifest that is not so in the cluster, or one
// that somebody added with kubectl.
type Difference struct {
	Pointer string `json:"pointer"` // JSON pointer into the live object
	// Release and Live are what the manifest sets and what is there: scalars, cut at
	// maxShown bytes, or what kind of value it is. Nothing stands for absent.
	Release string `json:"release,omitempty"`
	Live    string `json:"live,omitempty"`
	// Withheld says that the values may be secret; that they differ is all that is kept.
	Withheld bool `json:"withheld,omitempty"`
	// Managers own the field now, as the API server recorded it.
	Managers []string `json:"managers,omitempty"`
}

// Collect looks at every object of the release.
func (collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	switch {
	case in.Cluster == nil:
		return collectors.ErrNoCluster
	case in.Release == nil || in.Release.Stored == nil:
		return errors.New("no live release to compare with: name one with --release")
	}
	if err := collectors.WriteJSON(out, releaseFile, in.Release.Stored); err != nil {
		return err
	}
	l, err := newLooker(in.Cluster, in.Release)
	if err != nil {
		return err
	}
	objects := make([]Object, len(l.set.Objects))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(parallel, len(objects)) {
		wg.Go(func() {
			for i := range next {
				objects[i] = l.look(ctx, i)
			}
		})
	}
	for i := range objects {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return collectors.WriteJSON(out, objectsFile, objects)
}

// looker looks at the objects of one release.
type looker struct {
	client    dynamic.Interface
	mapper    meta.RESTMapper
	discovery error // of the groups that did not answer
	set       *manifest.ObjectSet
	release   evidence.Release
	scalers   []scaler
}

func newLooker(cluster *cluster.Cluster, rel *chart.Release) (*looker, error) {
	set, err := rel.Objects()
	if err != nil {
		return nil, err
	}
	l := &looker{set: set, release: rel.Info}
	cfg := rest.CopyConfig(cluster.Config)
	cfg.WarningHandler = rest.NoWarnings{}
	if l.client, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	groups, resources, err := cluster.Discovery.ServerGroupsAndResources()
	if err != nil {
		if !discovery.IsGroupDiscoveryFailedError(err) {
			return nil, fmt.Errorf("ask which kinds the cluster serves: %w", err)
		}
		l.discovery = err
	}
	byVersion := map[string][]metav1.APIResource{}
	for _, r := range resources {
		byVersion[r.GroupVersion] = r.APIResources
	}
	var list []*restmapper.APIGroupResources
	for _, g := range groups {
		r := &restmapper.APIGroupResources{Group: *g, VersionedResources: map[string][]metav1.APIResource{}}
		for _, v := range g.Versions {
			r.VersionedResources[v.Version] = byVersion[v.GroupVersion]
		}
		list = append(list, r)
	}
	l.mapper = restmapper.NewDiscoveryRESTMapper(list)
	l.scalers = scalers(set, rel.Info.Namespace)
	return l, nil
}

// look compares one object.
func (l *looker) look(ctx context.Context, i int) Object {
	o := &l.set.Objects[i]
	out := Object{Index: i, Object: o.GetAPIVersion() + " " + o.GetKind() + " " + cmp.Or(o.GetName(), o.GetGenerateName())}
	switch {
	case len(o.Hooks()) > 0:
		out.State = StateHook
		return out
	case o.GetName() == "":
		out.State = StateUnnamed
		return out
	}
	gvk := o.GroupVersionKind()
	mapping, err := l.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		out.State = StateUnserved
		if l.discovery != nil {
			out.State, out.Error = StateUnknown, l.discovery.Error()
		}
		return out
	}
	var target dynamic.ResourceInterface = l.client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		out.Namespace = cmp.Or(o.GetNamespace(), l.release.Namespace)
		target = l.client.Resource(mapping.Resource).Namespace(out.Namespace)
	}
	before, err := target.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		if out.State = StateUnknown; apierrors.IsNotFound(err) {
			out.State = StateMissing
			return out
		}
		out.Error = err.Error()
		return out
	}
	manifest := prepared(o, out.Namespace)
	want := manifest
	applied, err := target.Apply(ctx, o.GetName(), manifest, metav1.ApplyOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: fieldManager, Force: true})
	if err != nil {
		out.How, out.NoDryRun = HowRead, cut(err.Error(), maxReason)
	} else {
		out.How, want = HowDryRun, applied
	}
	c := comparison{secret: o.GetKind() == "Secret", strict: out.How == HowRead}
	c.object(manifest.Object, want.Object, before.Object)
	if !chart.IsCRDFile(o.File) {
		out.Owner = l.owner(before)
	}
	owners := newManagers(before.GetManagedFields())
	c.added(owners, manifest.Object, before.Object)
	l.judge(&out, &c, o, before, owners)
	return out
}

// judge sorts the differences, and takes out what an autoscaler of the release did.
func (l *looker) judge(out *Object, c *comparison, o *manifest.Object, before *unstructured.Unstructured, owners managers) {
	seen := map[string]bool{}
	out.State = StateSame
	for _, d := range c.found {
		if seen[d.Pointer] {
			continue // gone by the dry-run as well as added
		}
		seen[d.Pointer] = true
		d.Managers = owners.of(d.path)
		if d.Pointer == "/spec/replicas" {
			if name := l.scaledBy(o, out.Namespace, before, owners); name != "" {
				out.Autoscaler = name
				continue
			}
		}
		out.State = StateDiffers
		if len(out.Differences) == maxDifferences {
			out.More++
			continue
		}
		out.Differences = append(out.Differences, d.Difference)
	}
	slices.SortStableFunc(out.Differences, func(a, b Difference) int { return cmp.Compare(a.Pointer, b.Pointer) })
}

// owner is the release that Helm noted on the live object, if it is not this one.
func (l *looker) owner(o *unstructured.Unstructured) string {
	a := o.GetAnnotations()
	name, namespace := a["meta.helm.sh/release-name"], a["meta.helm.sh/release-namespace"]
	switch {
	case name == "":
		return "none"
	case name != l.release.ReleaseName || namespace != l.release.Namespace:
		return namespace + "/" + name
	}
	return ""
}

// prepared is the object as it is applied: in its namespace, without status and
// null, and a Secret's stringData as the API server would turn it into data.
func prepared(o *manifest.Object, namespace string) *unstructured.Unstructured {
	out := o.DeepCopy()
	withoutNull(out.Object)
	delete(out.Object, "status")
	out.SetManagedFields(nil)
	if namespace != "" {
		out.SetNamespace(namespace)
	}
	if o.GetKind() == "Secret" && o.GroupVersionKind().Group == "" {
		encodeStringData(out.Object)
	}
	return out
}
