package rollback

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/internal/helmop"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
)

// The faults that an upgrade can have.
const (
	BadImage         = "bad-image"         // an image that no registry has
	FailingReadiness = "failing-readiness" // a readiness probe of a port that nobody listens on
	CrashLoop        = "crash-loop"        // a command that no image has, so that the container ends as it starts
)

// mark is the annotation of what a drill changed: the workload and its pods.
const mark = "helmproof.dev/drill"

const (
	// noDigest is a digest that no content has.
	noDigest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	// noPort is tcpmux, which nobody has served for decades.
	noPort    = 1
	noCommand = "/helmproof-drill-no-such-command"
)

// Change is what the upgrade changes: one container of one workload.
type Change struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Container string `json:"container"`
	// What is wrong with it, for people: "image cluster.test/web@sha256:0000…".
	What string `json:"what"`
}

// Workload is "Deployment/web".
func (c Change) Workload() string { return c.Kind + "/" + c.Name }

// object is one object of a stream of documents, in place.
type object struct {
	unstructured.Unstructured
	doc int
}

// spoil returns what a revision applies with one fault in it, hooks included: the
// same documents to the byte, but for that of the workload. namespace is the
// release's own.
func spoil(c *helmop.Content, namespace string, t drill.Target, fault string) ([]byte, Change, error) {
	var texts [][]byte
	var docs []any
	for d := range manifest.Documents([]byte(c.Manifest)) {
		v, err := manifest.Decode(d.Text)
		if err != nil {
			return nil, Change{}, fmt.Errorf("the stored manifest cannot be read: %w", err)
		}
		texts, docs = append(texts, d.Text), append(docs, v)
	}
	var all []object
	for i, d := range docs {
		all = objects(d, i, 0, all)
	}
	w, err := choose(all, namespace, t.Workload)
	if err != nil {
		return nil, Change{}, err
	}
	change, err := w.spoil(fault)
	if err != nil {
		return nil, Change{}, err
	}
	change.Namespace = cmp.Or(w.GetNamespace(), namespace)
	if texts[w.doc], err = yaml.Marshal(docs[w.doc]); err != nil {
		return nil, Change{}, err
	}
	for _, h := range c.Hooks {
		texts = append(texts, []byte(h))
	}
	var out bytes.Buffer
	for _, t := range texts {
		out.WriteString("---\n")
		out.Write(bytes.TrimRight(t, "\n"))
		out.WriteByte('\n')
	}
	return out.Bytes(), change, nil
}

// objects appends the objects of a document, those of lists one by one.
func objects(v any, doc, depth int, out []object) []object {
	m, ok := v.(map[string]any)
	if !ok || depth > 8 {
		return out
	}
	items, isList := m["items"].([]any)
	if !isList {
		return append(out, object{unstructured.Unstructured{Object: m}, doc})
	}
	for _, i := range items {
		out = objects(i, doc, depth+1, out)
	}
	return out
}

// choose picks the workload that is upgraded: the named one, else the release's
// main one. That is the first Deployment, or StatefulSet if it has none, that a
// Service of the release sends requests to; the first of all if it has no such.
func choose(all []object, namespace, name string) (*object, error) {
	var loads, services []*object
	for i := range all {
		o := &all[i]
		switch {
		case o.GetKind() == "Service" && o.GetAPIVersion() == "v1":
			services = append(services, o)
		case strings.HasPrefix(o.GetAPIVersion(), "apps/") && (o.GetKind() == "Deployment" || o.GetKind() == "StatefulSet"):
			loads = append(loads, o)
		}
	}
	if name != "" {
		i := slices.IndexFunc(loads, func(o *object) bool { return o.GetKind()+"/"+o.GetName() == name })
		if i < 0 {
			return nil, fmt.Errorf("%s is no workload of the release", name)
		}
		return loads[i], nil
	}
	if len(loads) == 0 {
		return nil, errors.New("the release has no Deployment and no StatefulSet, whose upgrade could fail")
	}
	served := func(o *object) bool {
		l, _, err := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels")
		return err == nil && slices.ContainsFunc(services, func(s *object) bool {
			sel, _, err := unstructured.NestedStringMap(s.Object, "spec", "selector")
			return err == nil && len(sel) > 0 && cmp.Or(s.GetNamespace(), namespace) == cmp.Or(o.GetNamespace(), namespace) &&
				labels.SelectorFromSet(sel).Matches(labels.Set(l))
		})
	}
	slices.SortStableFunc(loads, func(a, b *object) int {
		return cmp.Or(rank(!served(a), !served(b)), cmp.Compare(a.GetKind(), b.GetKind()))
	})
	return loads[0], nil
}

func rank(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

var imageTag = regexp.MustCompile(`(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-fA-F]+)?$`)

// spoil puts the fault into the workload, and marks it and its pods.
func (o *object) spoil(fault string) (Change, error) {
	c := Change{Kind: o.GetKind(), Name: o.GetName()}
	fail := func(what string) (Change, error) { return Change{}, fmt.Errorf("%s: %s", c.Workload(), what) }
	if n, ok, err := unstructured.NestedInt64(o.Object, "spec", "replicas"); err == nil && ok && n == 0 {
		return fail("it has no replicas, so that no upgrade of it can fail")
	}
	containers, ok, err := unstructured.NestedFieldNoCopy(o.Object, "spec", "template", "spec", "containers")
	list, isList := containers.([]any)
	if err != nil || !ok || !isList || len(list) == 0 {
		return fail("it has no containers")
	}
	annotations, _, err := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "annotations")
	if err != nil {
		return fail("the annotations of its pods are no texts")
	}
	main, _ := list[0].(map[string]any)
	for _, l := range list {
		if m, ok := l.(map[string]any); ok && m["name"] == annotations["kubectl.kubernetes.io/default-container"] {
			main = m
		}
	}
	if c.Container, _ = main["name"].(string); c.Container == "" {
		return fail("its container has no name")
	}
	switch fault {
	case BadImage:
		image, _ := main["image"].(string)
		if image == "" {
			return fail("its container names no image")
		}
		image = imageTag.ReplaceAllLiteralString(image, "") + noDigest
		main["image"], c.What = image, "image "+image
	case FailingReadiness:
		main["readinessProbe"] = map[string]any{"tcpSocket": map[string]any{"port": int64(noPort)}, "periodSeconds": int64(1), "failureThreshold": int64(1)}
		c.What = fmt.Sprintf("a readiness probe of TCP port %d, which nobody serves", noPort)
	case CrashLoop:
		main["command"] = []any{noCommand}
		delete(main, "args")
		c.What = "command " + noCommand
	default:
		return fail(fmt.Sprintf("no fault %q: want %s, %s or %s", fault, BadImage, FailingReadiness, CrashLoop))
	}
	for _, path := range [][]string{{"metadata", "annotations"}, {"spec", "template", "metadata", "annotations"}} {
		if err := unstructured.SetNestedField(o.Object, "rollback/"+fault, append(slices.Clone(path), mark)...); err != nil {
			// annotations: null is how some templates write none.
			if err := unstructured.SetNestedStringMap(o.Object, map[string]string{mark: "rollback/" + fault}, path...); err != nil {
				return fail(err.Error())
			}
		}
	}
	return c, nil
}
