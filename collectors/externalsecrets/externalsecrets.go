// Package externalsecrets asks the cluster whether the release's ExternalSecrets
// are synced: ready, refreshed within their interval, from a store that is ready,
// into a Secret that is theirs and that has changed within the rotation interval. No
// value of any Secret is read, only metadata.
package externalsecrets

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name in the catalog.
const Name = "externalsecrets"

// The rules.
const (
	RuleSynced = "externalsecrets/synced"
	RuleStore  = "externalsecrets/store"
	RuleSecret = "externalsecrets/secret"
	// RuleRotated holds where what the Secret holds has changed within the rotation
	// interval, by the times that the API server keeps for each writer of a field.
	RuleRotated = "externalsecrets/rotated"
)

var rules = collectors.Rules{
	RuleSynced: evidence.SeverityHigh, RuleStore: evidence.SeverityHigh, RuleSecret: evidence.SeverityHigh, RuleRotated: evidence.SeverityHigh,
}

// DefaultRotation is the rotation interval where none is given: 90 days.
const DefaultRotation = 90 * 24 * time.Hour

// Options is what secrets are held to. The zero value is enough to derive findings
// again: it is sealed.
type Options struct {
	Rotation time.Duration // how old the last change of a Secret may be; 0: DefaultRotation
}

const (
	group = "external-secrets.io"
	file  = "external-secrets.json"
	// margin is how late a refresh may be: the operator works through a queue.
	margin = 5 * time.Minute
)

// Seen is what the cluster said, and when it was asked: Findings has no clock.
type Seen struct {
	At       time.Time         `json:"at"`
	Rotation evidence.Duration `json:"rotation,omitempty"` // the interval that they are held to
	Secrets  []Secret          `json:"secrets"`
}

// Secret is one ExternalSecret of the release, live.
type Secret struct {
	Index     int    `json:"index"` // of the object in the sealed manifests
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Found     bool   `json:"found"`
	// Error says why it could not be looked at: not allowed, not served, no answer.
	Error       string      `json:"error,omitempty"`
	Conditions  []Condition `json:"conditions,omitempty"`
	RefreshTime string      `json:"refreshTime,omitempty"` // RFC 3339, of its status
	Interval    string      `json:"interval,omitempty"`    // spec.refreshInterval, live
	Policy      string      `json:"policy,omitempty"`      // spec.refreshPolicy: Periodic unless set
	Synced      string      `json:"syncedResourceVersion,omitempty"`
	// Outdated says that the status is of an earlier generation of the object.
	Outdated bool    `json:"outdated,omitempty"`
	Stores   []Store `json:"stores,omitempty"` // every one that it names
	Target   *Target `json:"target,omitempty"`
}

// Condition is one of a status.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Store is the SecretStore or ClusterSecretStore that it names.
type Store struct {
	Kind       string      `json:"kind"`
	Name       string      `json:"name"`
	Found      bool        `json:"found"`
	Error      string      `json:"error,omitempty"`
	Conditions []Condition `json:"conditions,omitempty"`
}

// Target is the Secret that it makes: metadata alone.
type Target struct {
	Name  string `json:"name"`
	Found bool   `json:"found"`
	Owned bool   `json:"owned"` // by the ExternalSecret, by UID
	Error string `json:"error,omitempty"`
	// Policy is spec.target.creationPolicy: only Owner makes it own the Secret.
	Policy string `json:"policy,omitempty"`

	Created         time.Time `json:"created,omitzero"`
	ResourceVersion string    `json:"resourceVersion,omitempty"`
	Changes         []Change  `json:"changes,omitempty"` // of each writer the last one
	// Annotations are names alone: kubectl apply writes the whole Secret into one.
	Annotations []string `json:"annotations,omitempty"`
}

// Change is when a writer last changed a field of a Secret (metadata.managedFields).
type Change struct {
	Manager   string    `json:"manager"`
	Operation string    `json:"operation"` // Apply or Update
	At        time.Time `json:"at,omitzero"`
	Data      bool      `json:"data"`            // entries of data are among the fields that it wrote
	Error     string    `json:"error,omitempty"` // why that is not known
}

type collector struct{ o Options }

// New returns the collector.
func New(o Options) collectors.Collector {
	o.Rotation = cmp.Or(o.Rotation, DefaultRotation)
	return collector{o}
}

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

func isExternalSecret(o *manifest.Object) bool {
	return o.GroupVersionKind().Group == group && o.GetKind() == "ExternalSecret"
}

// Collect looks at each ExternalSecret of the release, its store and its Secret.
func (c collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if in.Cluster == nil {
		return collectors.ErrNoCluster
	}
	set, err := in.Release.Objects()
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(in.Cluster.Config)
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	l := looker{cluster: in.Cluster, metadata: meta}
	seen := Seen{At: in.Now().UTC(), Rotation: evidence.Duration(c.o.Rotation), Secrets: []Secret{}}
	for i := range set.Objects {
		if o := &set.Objects[i]; isExternalSecret(o) {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			seen.Secrets = append(seen.Secrets, l.look(ctx, i, o, cmp.Or(o.GetNamespace(), in.Release.Info.Namespace)))
		}
	}
	return collectors.WriteJSON(out, file, seen)
}

type looker struct {
	cluster  *cluster.Cluster
	metadata metadata.Interface
}

func (l looker) look(ctx context.Context, i int, o *manifest.Object, namespace string) Secret {
	s := Secret{Index: i, Namespace: namespace, Name: o.GetName()}
	live, version, err := l.get(ctx, o.GroupVersionKind().Version, "externalsecrets", namespace, s.Name)
	if err != nil {
		s.Error = absent(err)
		return s
	}
	s.Found = true
	s.Conditions = conditions(live)
	s.RefreshTime = text(live, "status", "refreshTime")
	s.Interval, s.Policy = text(live, "spec", "refreshInterval"), text(live, "spec", "refreshPolicy")
	s.Synced = text(live, "status", "syncedResourceVersion")
	// "<generation>-<digest>" of what was synced last.
	if synced, _, ok := strings.Cut(s.Synced, "-"); ok {
		s.Outdated = synced != strconv.FormatInt(live.GetGeneration(), 10)
	}
	for _, ref := range storeRefs(live) {
		s.Stores = append(s.Stores, l.store(ctx, version, ref[0], ref[1], namespace))
	}
	t := &Target{Name: cmp.Or(text(live, "spec", "target", "name"), s.Name), Policy: text(live, "spec", "target", "creationPolicy")}
	s.Target = t
	secret, err := l.metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(namespace).Get(ctx, t.Name, metav1.GetOptions{})
	if err != nil {
		t.Error = absent(err)
		return s
	}
	t.Found = true
	t.Created, t.ResourceVersion = secret.CreationTimestamp.UTC(), secret.ResourceVersion
	t.Changes, t.Annotations = changes(secret.ManagedFields), slices.Sorted(maps.Keys(secret.Annotations))
	t.Owned = slices.ContainsFunc(secret.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == live.GetUID() })
	return s
}

// changes says of each writer when it last changed a field. Which fields these are
// is not kept: they name entries, and values never stand there.
func changes(fields []metav1.ManagedFieldsEntry) []Change {
	var out []Change
	for _, f := range fields {
		c := Change{Manager: f.Manager, Operation: string(f.Operation)}
		if f.Time != nil {
			c.At = f.Time.UTC()
		}
		var wrote map[string]json.RawMessage
		if f.FieldsV1 == nil {
			c.Error = "its fields are not told"
		} else if json.Unmarshal(f.FieldsV1.GetRawBytes(), &wrote) != nil {
			c.Error = "its fields cannot be read"
		}
		_, c.Data = wrote["f:data"]
		out = append(out, c)
	}
	return out
}

// get asks for an object in the version of the manifest, and in the others that
// the operator has had where the cluster does not serve it.
func (l looker) get(ctx context.Context, version, resource, namespace, name string) (live *unstructured.Unstructured, served string, err error) {
	for _, v := range slices.Compact([]string{version, "v1", "v1beta1"}) {
		gvr := schema.GroupVersionResource{Group: group, Version: v, Resource: resource}
		live, err = l.cluster.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil || !notServed(err) {
			return live, v, err
		}
	}
	return nil, "", err
}

// storeRefs are the stores that an ExternalSecret names, kind and name, each once.
func storeRefs(o *unstructured.Unstructured) [][2]string {
	var out [][2]string
	add := func(m map[string]any) {
		name, _, err := unstructured.NestedString(m, "name")
		if err != nil || name == "" {
			return
		}
		kind, _, err := unstructured.NestedString(m, "kind")
		if err != nil || kind == "" {
			kind = "SecretStore"
		}
		if ref := [2]string{kind, name}; !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	if m, ok, err := unstructured.NestedMap(o.Object, "spec", "secretStoreRef"); ok && err == nil {
		add(m)
	}
	for _, field := range []string{"data", "dataFrom"} {
		list, _, err := unstructured.NestedSlice(o.Object, "spec", field)
		if err != nil {
			continue
		}
		for _, e := range list {
			if m, ok := e.(map[string]any); ok {
				if ref, ok, err := unstructured.NestedMap(m, "sourceRef", "storeRef"); ok && err == nil {
					add(ref)
				}
			}
		}
	}
	return out
}

func (l looker) store(ctx context.Context, version, kind, name, namespace string) Store {
	s := Store{Kind: kind, Name: name}
	var live *unstructured.Unstructured
	var err error
	switch kind {
	case "SecretStore":
		live, err = l.cluster.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: "secretstores"}).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	case "ClusterSecretStore":
		live, err = l.cluster.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: "clustersecretstores"}).Get(ctx, name, metav1.GetOptions{})
	default:
		s.Error = "a store of kind " + kind + " is not known"
		return s
	}
	if err != nil {
		s.Error = absent(err)
		return s
	}
	s.Found, s.Conditions = true, conditions(live)
	return s
}

// absent is why something could not be looked at, or "" where the cluster says
// that it is not there. A kind that is not served is answered the same way as a
// missing object, but for the words.
func absent(err error) string {
	switch {
	case notServed(err):
		return "the cluster does not serve the kind"
	case apierrors.IsNotFound(err):
		return ""
	}
	return err.Error()
}

func notServed(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) && strings.Contains(err.Error(), "the server could not find the requested resource")
}

// text is a field as it stands: what is no string is no reason to take the default.
func text(o *unstructured.Unstructured, path ...string) string {
	v, ok, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil || !ok || v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func conditions(o *unstructured.Unstructured) []Condition {
	list, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		return nil
	}
	var out []Condition
	for _, e := range list {
		raw, err := json.Marshal(e)
		if err != nil {
			continue
		}
		var c Condition
		if json.Unmarshal(raw, &c) == nil && c.Type != "" {
			out = append(out, c)
		}
	}
	return out
}
