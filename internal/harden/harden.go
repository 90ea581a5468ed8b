// Package harden adds to rendered manifests what hardens them and cannot stop a
// container that ran, and lists what it left. What takes rights from a process is
// asked for, or rests on what was read of its image. It only ever adds: what a
// chart sets on purpose, an explicit false among it, stays, and every byte that
// it does not have to touch stays as well.
package harden

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Annotations on the objects themselves.
const (
	// Annotation lists what was added to the object.
	Annotation = "helmproof.companyos.github.io/hardened"
	// OptOut on an object, with the value "skip", leaves it alone.
	OptOut = "helmproof.companyos.github.io/harden"
)

// ProbesTCP is the one value of Options.Probes.
const ProbesTCP = "tcp"

// maxObjects bounds a release, far above what Helm can store of one. What each
// workload is compared with grows with it.
const maxObjects = 10_000

// maxAnnotation bounds the annotation's value, in bytes.
const maxAnnotation = 4096

// Rule names one kind of change.
type Rule string

// The rules, in the order of the documentation.
const (
	RuleEscalation   Rule = "allowPrivilegeEscalation"
	RuleCapabilities Rule = "capabilities"
	RuleSeccomp      Rule = "seccompProfile"
	RuleNonRoot      Rule = "runAsNonRoot"
	RuleReadOnly     Rule = "readOnlyRootFilesystem"
	RuleToken        Rule = "automountServiceAccountToken"
	RuleSpread       Rule = "topologySpreadConstraints"
	RuleBudget       Rule = "podDisruptionBudget"
	RuleProbes       Rule = "probes"
)

// controls that each rule is about; a change helps with them, alone or not.
var controls = map[Rule][]evidence.ControlID{
	RuleEscalation:   {"SEC-1", "SEC-4"},
	RuleCapabilities: {"SEC-1", "SEC-4"},
	RuleSeccomp:      {"SEC-1", "SEC-3"},
	RuleNonRoot:      {"SEC-1", "SEC-2"},
	RuleReadOnly:     {"SEC-5"},
	RuleToken:        {"SEC-6"},
	RuleSpread:       {"AVL-3"},
	RuleBudget:       {"AVL-1"},
	RuleProbes:       {"HLT-1", "HLT-2", "HLT-3"},
}

// Change is one thing that was added.
type Change struct {
	Rule     Rule                 `json:"rule"`
	Controls []evidence.ControlID `json:"controls"`
	Target   evidence.Target      `json:"target"`
	Field    string               `json:"field"` // from the object: "spec.template.spec.securityContext"; empty for a new object
	Value    any                  `json:"value"`
}

// Kept is one thing that was left as it is although it is missing or weak.
type Kept struct {
	Rule   Rule            `json:"rule,omitempty"` // empty: the whole object or document
	Target evidence.Target `json:"target"`         // its line is that of the document in the input
	Reason string          `json:"reason"`
	Flag   string          `json:"flag,omitempty"` // the option that adds it all the same
}

// Result is a hardened stream. Both lists are in the order of the stream.
type Result struct {
	Manifests []byte
	Objects   int // in the input
	Changes   []Change
	Kept      []Kept
}

// Harden reads a stream of YAML documents, as Helm renders it, and returns it
// hardened. Documents that it does not change keep their bytes; objects keep
// their order, and a PodDisruptionBudget comes right after its workload. Run
// again on its own result it changes nothing. The error is non-nil when raw is
// larger than manifest.MaxSize, holds more than 10,000 objects or is not YAML: then there is no result.
func Harden(raw []byte, o Options) (*Result, error) {
	r, docs, err := read(raw, o)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	at := 0
	for _, d := range docs {
		text := raw[d.start:d.end]
		edited, budgets, err := r.document(d, text)
		if err != nil {
			return nil, err
		}
		out.Write(raw[at:d.start])
		out.Write(edited)
		at = d.end
		if len(budgets) > 0 {
			end := "\n"
			if bytes.HasSuffix(edited, []byte("\r\n")) {
				end = "\r\n"
			}
			if !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
				out.WriteString(end)
			}
			for _, b := range budgets {
				out.WriteString("---" + end + strings.ReplaceAll(b, "\n", end))
			}
		}
	}
	out.Write(raw[at:])
	return &Result{Manifests: out.Bytes(), Objects: len(r.objects), Changes: r.changes, Kept: r.kept}, nil
}

// read splits a stream and learns what its objects say.
func read(raw []byte, o Options) (*release, []*document, error) {
	if len(raw) > manifest.MaxSize {
		return nil, nil, fmt.Errorf("harden: %d bytes of manifests, at most %d are read", len(raw), manifest.MaxSize)
	}
	r := newRelease(o)
	docs := split(raw)
	for _, d := range docs {
		left, err := d.read(raw[d.start:d.end])
		if err != nil {
			return nil, nil, fmt.Errorf("harden: %w", err)
		}
		if left != "" {
			r.blind = true
			r.kept = append(r.kept, Kept{Target: evidence.Target{File: d.file, Line: d.line}, Reason: left})
		}
		if r.objects = append(r.objects, d.objects...); len(r.objects) > maxObjects {
			return nil, nil, fmt.Errorf("harden: more than %d objects: split the release", maxObjects)
		}
	}
	for _, x := range r.objects {
		r.open(x)
	}
	return r, docs, nil
}

// open decodes what an object says and, of a workload, the pod template.
func (r *release) open(x *object) {
	if err := r.learn(x); err != nil {
		r.blind = true
		r.keep(x, "", "", "left as it is: cannot be read: "+err.Error(), "")
		return
	}
	path, ok := x.PodTemplatePath()
	if !ok {
		return
	}
	tpl, _, err := x.PodTemplate()
	if err != nil {
		r.blind = true
		r.keep(x, "", "", "left as it is: "+err.Error(), "")
		return
	}
	x.tpl, x.pod = tpl, []any{}
	for _, p := range path {
		x.pod = append(x.pod, p)
	}
}

// document decides about the objects of a document and edits its text. What
// cannot be edited in place stays as it is, and is listed.
func (r *release) document(d *document, text []byte) (edited []byte, budgets []string, err error) {
	changes, kept := len(r.changes), len(r.kept)
	d.patch = new(patch)
	for _, x := range d.objects {
		if x.pod == nil {
			continue
		}
		if reason := r.leaves(x); reason != "" {
			r.keep(x, "", "", reason, "")
			continue
		}
		r.harden(x)
	}
	if len(d.patch.fields) > 0 {
		for _, x := range d.objects {
			x.annotate()
		}
		if edited, err = edit(text, d.tree, d.patch); err != nil {
			r.changes, r.kept = r.changes[:changes], r.kept[:kept]
			for _, x := range d.objects {
				x.budgets = false
				if x.pod != nil {
					r.keep(x, "", "", "left as it is: "+err.Error(), "")
				}
			}
			return text, nil, nil
		}
		text = edited
	}
	for _, x := range d.objects {
		if !x.budgets {
			continue
		}
		b, err := r.budget(x)
		if err != nil {
			return nil, nil, err
		}
		if b != "" {
			budgets = append(budgets, b)
		}
	}
	return text, budgets, nil
}

// leaves says why a workload is left alone altogether.
func (r *release) leaves(x *object) string {
	switch {
	case x.GetName() == "" && x.GetGenerateName() == "":
		return "left as it is: it has no name"
	case x.GetAnnotations()[OptOut] == "skip":
		return "left as it is: its annotation " + OptOut + " says skip"
	case slices.ContainsFunc(r.opts.Skip, func(k string) bool { return strings.EqualFold(k, x.GetKind()) }):
		return "left as it is: its kind is skipped"
	}
	return ""
}

// add records a change of a field of the pod. path is from the pod template.
func (r *release) add(x *object, rule Rule, container string, value any, path ...any) {
	full := append(slices.Clone(x.pod), path...)
	x.doc.patch.put(append(slices.Clone(x.path), full...), value)
	field := fieldName(full)
	r.changes = append(r.changes, Change{Rule: rule, Controls: controls[rule], Target: x.Target(container), Field: field, Value: value})
	what := string(rule)
	if rule == RuleProbes {
		what = path[len(path)-1].(string)
	}
	if container != "" {
		what = container + "." + what
	}
	x.added = append(x.added, what)
}

func fieldName(path []any) string {
	var b strings.Builder
	for _, p := range path {
		switch p := p.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", p)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(p)
		}
	}
	return b.String()
}

func (r *release) keep(x *object, rule Rule, container, reason, flag string) {
	r.kept = append(r.kept, Kept{Rule: rule, Target: x.Target(container), Reason: reason, Flag: flag})
}

// annotate lists what was added on the object, beside what an earlier run added.
func (x *object) annotate() {
	if len(x.added) == 0 {
		return
	}
	was, there := x.GetAnnotations()[Annotation]
	list := append(strings.FieldsFunc(was, func(c rune) bool { return c == ',' || c == ' ' }), x.added...)
	slices.SortFunc(list, cmp.Compare[string])
	value := strings.Join(slices.Compact(list), ", ")
	if len(value) > maxAnnotation {
		value = fmt.Sprintf("%d changes", len(list))
	}
	p := x.doc.patch.put(append(slices.Clone(x.path), "metadata", "annotations", Annotation), value)
	p.replaces = there
}

// harden decides everything about one workload.
func (r *release) harden(x *object) {
	r.securityContexts(x)
	r.token(x)
	r.probes(x)
	if x.replicated() && len(x.Hooks()) == 0 {
		if r.floor(x) > 1 {
			r.spread(x)
			r.wantBudget(x)
		}
	}
}

// budget is the text of a PodDisruptionBudget for the workload.
func (r *release) budget(x *object) (string, error) {
	m, _, err := x.selector()
	if err != nil {
		return "", nil //nolint:nilerr // wantBudget has listed it
	}
	name := x.GetName() + "-pdb"
	if r.taken[name] {
		name = x.GetName() + "-" + strings.ToLower(x.GetKind()) + "-pdb"
	}
	if r.taken[name] || len(name) > 253 {
		r.keep(x, RuleBudget, "", "no name is free for a PodDisruptionBudget", "")
		return "", nil
	}
	r.taken[name] = true
	meta := map[string]any{"name": name, "annotations": map[string]any{Annotation: string(RuleBudget)}}
	if ns := x.GetNamespace(); ns != "" {
		meta["namespace"] = ns
	}
	spec := map[string]any{"maxUnavailable": 1, "selector": m, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
	text, err := block(map[string]any{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec})
	if err != nil {
		return "", err
	}
	r.changes = append(r.changes, Change{Rule: RuleBudget, Controls: controls[RuleBudget],
		Target: evidence.Target{APIVersion: "policy/v1", Kind: "PodDisruptionBudget", Name: name, Namespace: x.GetNamespace(), File: x.File, Line: x.Line},
		Value:  spec})
	return text, nil
}
