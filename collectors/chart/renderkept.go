package chart

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"helm.sh/helm/v4/pkg/chart/common"
)

// Most templates ask little of what the other renderings answer otherwise: what the
// cluster serves, its version, whether it is an upgrade, what lookup finds. A template
// that gets the same answers renders the same text, so that of the first rendering is
// kept, with the answers. That holds as long as templates have nothing else in common
// that changes: where one writes into values that others see, all are rendered.

// kept is what is kept of the first rendering.
type kept struct {
	files   map[string]*keptFile // by the full name; those of notes are empty texts
	caps    *common.Capabilities
	release map[string]any
}

// keptFile is the text of a template, and what it asked for, with the answers.
type keptFile struct {
	text    string
	all     bool                // for what nobody followed, or for generated values, which are numbered in their order
	release bool                // whether it is an upgrade, or which revision
	kube    bool                // the cluster's version, for more than bounds
	apis    map[string]bool     // whether they are served
	bounds  map[string]bool     // whether the cluster's version is within them
	lookups map[string]struct{} // which found nothing
}

// keep has the next rendering kept, in these scopes.
func (t *templates) keep(sources []sourceFile) *kept {
	k := &kept{files: map[string]*keptFile{}}
	k.caps, k.release = answering(sources)
	return k
}

// answering is what the templates are told of the cluster and the release.
func answering(sources []sourceFile) (*common.Capabilities, map[string]any) {
	for _, s := range sources {
		if caps, ok := s.scope["Capabilities"].(*common.Capabilities); ok {
			return caps, mapping(s.scope["Release"])
		}
	}
	return nil, nil
}

// begin notes for s what is asked from now on, if this rendering is kept. end says that
// s rendered to the text.
func (r *rendering) begin(s *sourceFile) (end func(text string)) {
	if r.keeping == nil {
		return func(string) {}
	}
	f := &keptFile{apis: map[string]bool{}, bounds: map[string]bool{}, lookups: map[string]struct{}{}}
	r.keeping.files[s.full], r.asking = f, f
	asked, drawn := r.asksRelease, r.rec.n
	r.asksRelease = false
	return func(text string) {
		f.text, f.release, f.all = text, r.asksRelease, f.all || r.rec.n > drawn
		r.asksRelease = r.asksRelease || asked
		r.asking = nil
	}
}

// ask notes what the template that is being rendered asks for, if it is to be kept.
func (r *rendering) ask(note func(f *keptFile)) {
	if r.asking != nil {
		note(r.asking)
	}
}

// same reports whether s would render again what is kept of it: what it asked for is
// asked once more, as it would do itself.
func (r *rendering) same(s *sourceFile, caps *common.Capabilities, release map[string]any) (string, bool) {
	f := r.kept.files[s.full]
	if f == nil || f.all || caps == nil || f.release && (release == nil || !reflect.DeepEqual(release, r.kept.release)) || f.kube && caps.KubeVersion != r.kept.caps.KubeVersion {
		return "", false
	}
	for call := range f.lookups {
		if r.finds(call) {
			return "", false
		}
	}
	for _, version := range slices.Sorted(maps.Keys(f.apis)) {
		if has, err := r.hasAPI(caps.APIVersions, version); err != nil || has != f.apis[version] {
			return "", false
		}
	}
	within, _ := r.funcs[watchBound].(func(string, reflect.Value) (bool, error))
	for _, bound := range slices.Sorted(maps.Keys(f.bounds)) {
		if is, err := within(bound, reflect.ValueOf(caps.KubeVersion.Version)); err != nil || is != f.bounds[bound] {
			return "", false
		}
	}
	return f.text, true
}

// changing are the functions that change a mapping that they get, watched for those
// that templates have in common.
func (r *rendering) changing(f template.FuncMap) template.FuncMap {
	set, unset := f["set"].(func(map[string]any, string, any) map[string]any), f["unset"].(func(map[string]any, string) map[string]any)
	out := template.FuncMap{
		"set": func(m map[string]any, name string, v any) map[string]any {
			r.changes(m)
			return set(m, name, v)
		},
		"unset": func(m map[string]any, name string) map[string]any {
			r.changes(m)
			return unset(m, name)
		},
	}
	// What is merged becomes part of the first one, and what is merged next changes that.
	merges := func(first map[string]any, others []map[string]any) {
		for _, m := range append([]map[string]any{first}, others[:max(len(others)-1, 0)]...) {
			r.changesWithin(m, 0)
		}
	}
	for _, name := range []string{"merge", "mergeOverwrite"} {
		merge := f[name].(func(map[string]any, ...map[string]any) any)
		out[name] = func(first map[string]any, others ...map[string]any) any {
			merges(first, others)
			return merge(first, others...)
		}
	}
	for _, name := range []string{"mustMerge", "mustMergeOverwrite"} {
		merge := f[name].(func(map[string]any, ...map[string]any) (any, error))
		out[name] = func(first map[string]any, others ...map[string]any) (any, error) {
			merges(first, others)
			return merge(first, others...)
		}
	}
	return out
}

// changes notes that a mapping is changed, if templates have it in common.
func (r *rendering) changes(m map[string]any) {
	if r.changed || m == nil {
		return
	}
	if r.common == nil { // nothing was changed yet
		r.common = map[uintptr]bool{}
		for _, s := range r.scopes {
			r.commonIn(map[string]any(s.scope))
		}
	}
	r.changed = r.common[reflect.ValueOf(m).Pointer()]
}

// commonIn notes the mappings that are reached from v.
func (r *rendering) commonIn(v any) {
	if list, ok := v.([]any); ok {
		for _, e := range list {
			r.commonIn(e)
		}
	}
	if m := mapping(v); m != nil {
		if at := reflect.ValueOf(m).Pointer(); !r.common[at] {
			r.common[at] = true
			for _, e := range m {
				r.commonIn(e)
			}
		}
	}
}

// changesWithin is changes of a mapping and all below it.
func (r *rendering) changesWithin(v any, depth int) {
	if r.changed || depth > maxNesting {
		r.changed = true
		return
	}
	if list, ok := v.([]any); ok {
		for _, e := range list {
			r.changesWithin(e, depth+1)
		}
	}
	if m := mapping(v); m != nil {
		r.changes(m)
		for _, e := range m {
			r.changesWithin(e, depth+1)
		}
	}
}

// opaque reports whether a template takes .Capabilities or .Release whole, or something
// of them that no call watches.
func opaque(n parse.Node) bool {
	found := false
	var walk func(n parse.Node)
	names := func(names []string) {
		for i, name := range names {
			whole := i+1 == len(names) && names[0] != "Values" && (name == "Capabilities" || name == "Release")
			found = found || whole || name == "HelmVersion" || name == "YAML" || name == "PathValue" || name == "Table" || name == "AsMap" || name == "Encode"
		}
	}
	branch := func(b *parse.BranchNode) {
		walk(b.Pipe)
		walk(b.List)
		walk(b.ElseList)
	}
	walk = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ListNode:
			if n != nil {
				for _, e := range n.Nodes {
					walk(e)
				}
			}
		case *parse.ActionNode:
			walk(n.Pipe)
		case *parse.TemplateNode:
			walk(n.Pipe)
		case *parse.IfNode:
			branch(&n.BranchNode)
		case *parse.WithNode:
			branch(&n.BranchNode)
		case *parse.RangeNode:
			branch(&n.BranchNode)
		case *parse.PipeNode:
			if n != nil {
				for _, c := range n.Cmds {
					for _, a := range c.Args {
						walk(a)
					}
				}
			}
		case *parse.FieldNode:
			names(n.Ident)
		case *parse.VariableNode:
			names(n.Ident)
		case *parse.ChainNode:
			walk(n.Node)
			names(n.Field)
		case *parse.StringNode:
			found = found || strings.Contains(n.Text, "Capabilities") || n.Text == "HelmVersion" || n.Text == "Release"
		}
	}
	walk(n)
	return found
}

// runs notes that a parsed template runs.
func (r *rendering) runs(t *template.Template) {
	if r.asking != nil && t != nil && t.Tree != nil && r.looked[t.Tree] {
		r.asking.all = true
	}
}
