// Package externalsecrets asks the cluster whether the release's ExternalSecrets
// are synced: ready, refreshed within their interval, from a store that is ready,
// into a Secret that is theirs. No value of any Secret is read, only metadata.
package externalsecrets

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
)

// Name is the collector's name in the catalog.
const Name = "externalsecrets"

// The rules, all of SCR-4.
const (
	RuleSynced = "externalsecrets/synced"
	RuleStore  = "externalsecrets/store"
	RuleSecret = "externalsecrets/secret"
)

const (
	group    = "external-secrets.io"
	file     = "external-secrets.json"
	artifact = "artifacts/" + Name + "/" + file
	// margin is how late a refresh may be: the operator works through a queue.
	margin = 5 * time.Minute
)

// Seen is what the cluster said, and when it was asked: Findings has no clock.
type Seen struct {
	At      time.Time `json:"at"`
	Secrets []Secret  `json:"secrets"`
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
	Store       *Store      `json:"store,omitempty"`
	Target      *Target     `json:"target,omitempty"`
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
}

type collector struct{}

// New returns the collector.
func New() collectors.Collector { return collector{} }

func (collector) Name() string { return Name }

func isExternalSecret(o *collectors.Object) bool {
	return o.GroupVersionKind().Group == group && o.GetKind() == "ExternalSecret"
}

// Collect looks at each ExternalSecret of the release, its store and its Secret.
func (collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if in.Cluster == nil {
		return errors.New("no cluster to ask: name one with --context or --kubeconfig")
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
	seen := Seen{At: time.Now().UTC(), Secrets: []Secret{}}
	for i := range set.Objects {
		if o := &set.Objects[i]; isExternalSecret(o) {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			seen.Secrets = append(seen.Secrets, l.look(ctx, i, o, cmp.Or(o.GetNamespace(), in.Release.Info.Namespace)))
		}
	}
	raw, err := json.Marshal(seen)
	if err != nil {
		return err
	}
	return out.Write(file, raw)
}

type looker struct {
	cluster  *collectors.Cluster
	metadata metadata.Interface
}

func (l looker) look(ctx context.Context, i int, o *collectors.Object, namespace string) Secret {
	s := Secret{Index: i, Namespace: namespace, Name: o.GetName()}
	gvr := schema.GroupVersionResource{Group: group, Version: o.GroupVersionKind().Version, Resource: "externalsecrets"}
	live, err := l.cluster.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, s.Name, metav1.GetOptions{})
	if err != nil {
		s.Error = absent(err)
		return s
	}
	s.Found = true
	s.Conditions = conditions(live)
	s.RefreshTime = text(live, "status", "refreshTime")
	s.Interval, s.Policy = text(live, "spec", "refreshInterval"), text(live, "spec", "refreshPolicy")
	if name := text(live, "spec", "secretStoreRef", "name"); name != "" {
		s.Store = l.store(ctx, gvr.Version, cmp.Or(text(live, "spec", "secretStoreRef", "kind"), "SecretStore"), name, namespace)
	}
	t := &Target{Name: cmp.Or(text(live, "spec", "target", "name"), s.Name), Policy: text(live, "spec", "target", "creationPolicy")}
	s.Target = t
	secret, err := l.metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(namespace).Get(ctx, t.Name, metav1.GetOptions{})
	if err != nil {
		t.Error = absent(err)
		return s
	}
	t.Found = true
	t.Owned = slices.ContainsFunc(secret.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == live.GetUID() })
	return s
}

func (l looker) store(ctx context.Context, version, kind, name, namespace string) *Store {
	s := &Store{Kind: kind, Name: name}
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
	if apierrors.IsNotFound(err) && !strings.Contains(err.Error(), "the server could not find the requested resource") {
		return ""
	}
	if meta.IsNoMatchError(err) {
		return "the cluster does not serve the kind"
	}
	return err.Error()
}

func text(o *unstructured.Unstructured, path ...string) string {
	s, _, err := unstructured.NestedString(o.Object, path...)
	if err != nil {
		return ""
	}
	return s
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
