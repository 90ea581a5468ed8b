package chart

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"text/template"
	"text/template/parse"

	"helm.sh/helm/v4/pkg/chart/common"
)

// Calls that are put into templates to see what they act on. Each returns what it gets.
const (
	watchHas   = "helmproofHas"   // .Capabilities.APIVersions.Has
	watchAPIs  = "helmproofAPIs"  // .Capabilities.APIVersions, for more than that
	watchKube  = "helmproofKube"  // .Capabilities.KubeVersion, for more than major and minor
	watchBound = "helmproofBound" // .Capabilities.KubeVersion, compared with a written range
	watchMode  = "helmproofMode"  // .Release.IsUpgrade, .IsInstall and .Revision
	watchZone  = "helmproofZone"  // methods of times that go by the zone of the machine
	watchWhole = "helmproofWhole" // what a template goes through by other means than names
	watchDeep  = "helmproofDeep"  // the same, several steps at once
)

// maxAsked bounds the API versions that a chart asks for.
const maxAsked = 10_000

const byAPIs = " goes through .Capabilities.APIVersions: not all sets of APIs were rendered"

// watchFunctions are the functions that watch calls.
func (r *rendering) watchFunctions() template.FuncMap {
	through := func(see func(v reflect.Value)) func(reflect.Value) reflect.Value {
		return func(v reflect.Value) reflect.Value { see(v); return v }
	}
	return template.FuncMap{
		watchHas: r.hasAPI,
		watchAPIs: through(func(v reflect.Value) {
			if v.IsValid() && v.Type() == reflect.TypeFor[common.VersionSet]() { // a value of that name is none
				r.asksCluster = true
				r.depend(r.current + byAPIs)
				r.ask(func(f *keptFile) { f.all = true })
			}
		}),
		watchKube: through(func(reflect.Value) {
			r.asksCluster, r.asksVersion, r.asksPatch = true, true, true
			r.ask(func(f *keptFile) { f.kube = true })
		}),
		watchMode: through(func(v reflect.Value) {
			r.asksRelease = true
			r.asksNumber = r.asksNumber || concrete(v).Kind() == reflect.Int // no number of a chart's values is one
		}),
		watchWhole: through(r.sawWhole),
		watchDeep:  func(steps int, v reflect.Value) reflect.Value { r.sawDeep(v, steps); return v },
		watchZone: through(func(reflect.Value) {
			if len(r.rec.generated)+len(r.rec.zones) > 0 { // there is no other way to a time
				r.depend(r.current + " asks a date for the time zone: what is rendered depends on the machine")
			}
		}),
	}
}

// hasAPI is VersionSet.Has.
func (r *rendering) hasAPI(set any, version string) (has bool, err error) {
	defer func() { r.ask(func(f *keptFile) { f.apis[version] = has }) }()
	s, ok := set.(common.VersionSet)
	if !ok {
		return false, errors.New("Has: not the set of API versions") //nolint:staticcheck // the name of the method that templates call
	}
	if !s.Has(version) && r.own != nil && r.own(version) {
		return true, nil
	}
	r.asksAPI = r.asksAPI || servedByProvider(version) && !s.Has(version)
	r.asksCluster = r.asksCluster || r.asksAPI
	switch _, asked := r.asked[version]; {
	case asked:
	case len(r.asked) < maxAsked:
		if r.asked == nil {
			r.asked = map[string]struct{}{}
		}
		r.asked[version] = struct{}{}
	default:
		r.depend(r.current + byAPIs)
	}
	return s.Has(version) || r.serving(version), nil
}

// sawWhole notes that a template takes .Release, or what holds it, without its name:
// nobody can say what it does with the revision.
func (r *rendering) sawWhole(v reflect.Value) {
	if !v.IsValid() || !v.CanInterface() {
		return
	}
	m := mapping(v.Interface())
	r.asksRelease = r.asksRelease || hasMode(m) || hasMode(mapping(m["Release"]))
	if holdsRevision(m) {
		r.takesRelease()
	}
}

// sawDeep notes that a template takes something out of v, that many steps below it, and
// may meet .Release on its way.
func (r *rendering) sawDeep(v reflect.Value, steps int) {
	v = concrete(v)
	r.sawWhole(v)
	if steps < 2 {
		return
	}
	switch v.Kind() {
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			r.sawDeep(it.Value(), steps-1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			r.sawDeep(v.Index(i), steps-1)
		}
	}
}

// takesRelease notes that a template takes all of .Release, or a part of it by a name
// that it made up.
func (r *rendering) takesRelease() {
	r.asksRelease = true
	r.depend(r.current + byNumber)
}

// holdsRevision reports whether v is .Release, a copy of it, or a scope that has one.
func holdsRevision(v any) bool {
	m := mapping(v)
	return hasRevision(m) || hasRevision(mapping(m["Release"]))
}

func mapping(v any) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		return v
	case common.Values:
		return v
	}
	return nil
}

// hasRevision goes by the revision: no number of a chart's values is an int.
func hasRevision(m map[string]any) bool {
	_, ok := m["Revision"].(int)
	return ok
}

// watchSelectors look at the mappings that functions take values out of by names that
// are not written in the template.
func (r *rendering) watchSelectors(f template.FuncMap) template.FuncMap {
	get, pluck, dig, pick := f["get"].(func(map[string]any, string) any), f["pluck"].(func(string, ...map[string]any) []any),
		f["dig"].(func(...any) (any, error)), f["pick"].(func(map[string]any, ...string) map[string]any)
	see := func(name string, m any) {
		v := mapping(m)
		if hasRevision(v) && name == "Revision" || name == "Release" && hasRevision(mapping(v["Release"])) {
			r.takesRelease()
		}
		r.asksRelease = r.asksRelease || isMode(name)
	}
	return template.FuncMap{
		"get": func(m map[string]any, name string) any { see(name, m); return get(m, name) },
		"pluck": func(name string, list ...map[string]any) []any {
			for _, m := range list {
				see(name, m)
			}
			return pluck(name, list...)
		},
		"dig": func(list ...any) (any, error) {
			if len(list) > 1 {
				m := mapping(list[len(list)-1])
				for _, step := range list[:len(list)-2] {
					name, _ := step.(string)
					if hasRevision(m) && name == "Revision" {
						r.takesRelease()
					}
					r.asksRelease = r.asksRelease || hasMode(m) && isMode(name)
					m = mapping(m[name])
				}
			}
			return dig(list...)
		},
		"pick": func(m map[string]any, names ...string) map[string]any {
			for _, name := range names {
				see(name, m)
			}
			return pick(m, names...)
		},
		"values": func(m map[string]any) []any {
			r.sawWhole(reflect.ValueOf(m))
			return r.values(m)
		},
	}
}

// hasMode reports whether a mapping is .Release, or what is left of a copy.
func hasMode(m map[string]any) bool {
	_, upgrade := m["IsUpgrade"].(bool)
	_, install := m["IsInstall"].(bool)
	return upgrade || install || hasRevision(m)
}

func isMode(name string) bool {
	return name == "IsUpgrade" || name == "IsInstall" || name == "Revision"
}

// watch puts the calls into a template.
func watch(tree *parse.Tree, list *parse.ListNode) {
	w := watcher{tree}
	w.list(list)
}

type watcher struct{ tree *parse.Tree }

func (w watcher) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			w.pipe(n.Pipe)
		case *parse.TemplateNode:
			w.pipe(n.Pipe)
		case *parse.IfNode:
			w.branch(&n.BranchNode)
		case *parse.WithNode:
			w.branch(&n.BranchNode)
		case *parse.RangeNode:
			w.branch(&n.BranchNode)
			if last := n.Pipe.Cmds[len(n.Pipe.Cmds)-1]; !w.isCall(last) {
				n.Pipe.Cmds = append(n.Pipe.Cmds, w.call(watchWhole, last.Pos))
			}
		}
	}
}

func (w watcher) branch(b *parse.BranchNode) {
	w.pipe(b.Pipe)
	w.list(b.List)
	w.list(b.ElseList)
}

func (w watcher) pipe(p *parse.PipeNode) {
	if p == nil {
		return
	}
	for i, c := range p.Cmds {
		w.command(c, i > 0)
	}
}

// command watches one command; piped: it gets one more argument.
func (w watcher) command(c *parse.CommandNode, piped bool) {
	if w.isCall(c) {
		for _, a := range c.Args[1:] {
			if p, ok := a.(*parse.PipeNode); ok {
				w.pipe(p)
			}
		}
		return
	}
	if set := w.beforeHas(c.Args[0]); set != nil && (piped || len(c.Args) > 1) {
		c.Args = append([]parse.Node{w.name(watchHas, c.Pos), w.inner(set)}, c.Args[1:]...)
		for i, a := range c.Args[2:] {
			c.Args[i+2] = w.argument(a)
		}
		return
	}
	if len(c.Args) == 1 && !piped {
		if by := watchOf(c.Args[0]); by != "" {
			c.Args = []parse.Node{w.name(by, c.Pos), c.Args[0]}
			return
		}
	}
	if id, ok := c.Args[0].(*parse.IdentifierNode); ok && id.Ident == "semverCompare" && !piped && len(c.Args) == 3 && watchOf(c.Args[2]) == watchKube {
		if _, written := c.Args[1].(*parse.StringNode); written {
			c.Args[0] = w.name(watchBound, c.Pos)
			return
		}
	}
	for i, a := range c.Args {
		if i == 0 {
			if of := beforeLast(a); of != nil && (piped || len(c.Args) > 1) && watchOf(of) != "" { // a method of it
				c.Args[0] = &parse.ChainNode{NodeType: parse.NodeChain, Pos: c.Pos, Node: w.wrapped(watchOf(of), of), Field: fieldsOf(a)[len(fieldsOf(a))-1:]}
				continue
			}
			c.Args[0] = w.inner(a)
			continue
		}
		c.Args[i] = w.argument(a)
	}
	if id, ok := c.Args[0].(*parse.IdentifierNode); ok && id.Ident == "index" && len(c.Args) > 1 && !onlyNames(c.Args[2:], piped) {
		steps := len(c.Args) - 2
		if piped {
			steps++
		}
		number := &parse.NumberNode{NodeType: parse.NodeNumber, Pos: c.Pos, IsInt: true, Int64: int64(steps), Text: strconv.Itoa(steps)}
		c.Args[1] = &parse.PipeNode{NodeType: parse.NodePipe, Pos: c.Pos, Cmds: []*parse.CommandNode{w.call(watchDeep, c.Pos, number, c.Args[1])}}
	} else if ok && id.Ident == "index" && len(c.Args) > 1 && slices.ContainsFunc(c.Args[2:], func(n parse.Node) bool {
		text, ok := n.(*parse.StringNode)
		return ok && isMode(text.Text)
	}) {
		c.Args[1] = w.wrapped(watchMode, c.Args[1])
	}
}

// onlyNames reports whether all arguments are written in the template, and lead to no
// revision.
func onlyNames(args []parse.Node, piped bool) bool {
	return !piped && !slices.ContainsFunc(args, func(n parse.Node) bool {
		text, ok := n.(*parse.StringNode)
		number := n.Type() == parse.NodeNumber
		return !number && (!ok || text.Text == "Revision")
	})
}

// inner looks into what stands for itself.
func (w watcher) inner(n parse.Node) parse.Node {
	switch n := n.(type) {
	case *parse.PipeNode:
		w.pipe(n)
	case *parse.ChainNode:
		n.Node = w.inner(n.Node)
	}
	return n
}

func (w watcher) argument(n parse.Node) parse.Node {
	if by := watchOf(n); by != "" {
		return w.wrapped(by, n)
	}
	return w.inner(n)
}

// watchOf says by which call a field is watched.
func watchOf(n parse.Node) string {
	names := fieldsOf(n)
	for i, name := range names {
		switch {
		case name == "APIVersions":
			return watchAPIs
		case isMode(name):
			return watchMode
		case (name == "Local" || name == "IsDST") && (i == 0 || names[i-1] != "Values"): // what is called so among values is no method
			return watchZone
		case name == "KubeVersion" && (i+1 == len(names) || names[i+1] != "Major" && names[i+1] != "Minor"):
			return watchKube
		}
	}
	return ""
}

func fieldsOf(n parse.Node) []string {
	switch n := n.(type) {
	case *parse.FieldNode:
		return n.Ident
	case *parse.VariableNode:
		return n.Ident[1:]
	case *parse.ChainNode:
		return append(slices.Clone(fieldsOf(n.Node)), n.Field...)
	}
	return nil
}

// beforeHas is what the method Has is called of; nil where none is.
func (w watcher) beforeHas(n parse.Node) parse.Node {
	if names := fieldsOf(n); len(names) == 0 || names[len(names)-1] != "Has" {
		return nil
	}
	return beforeLast(n)
}

// beforeLast is what the last name of a chain is taken of.
func beforeLast(n parse.Node) parse.Node {
	switch n := n.(type) {
	case *parse.FieldNode:
		if len(n.Ident) == 1 {
			return &parse.DotNode{NodeType: parse.NodeDot, Pos: n.Pos}
		}
		return &parse.FieldNode{NodeType: parse.NodeField, Pos: n.Pos, Ident: n.Ident[:len(n.Ident)-1]}
	case *parse.VariableNode:
		return &parse.VariableNode{NodeType: parse.NodeVariable, Pos: n.Pos, Ident: n.Ident[:len(n.Ident)-1]}
	case *parse.ChainNode:
		if len(n.Field) == 1 {
			return n.Node
		}
		return &parse.ChainNode{NodeType: parse.NodeChain, Pos: n.Pos, Node: n.Node, Field: n.Field[:len(n.Field)-1]}
	}
	return nil
}

func (w watcher) name(call string, pos parse.Pos) parse.Node {
	return parse.NewIdentifier(call).SetPos(pos).SetTree(w.tree)
}

func (w watcher) call(call string, pos parse.Pos, args ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: append([]parse.Node{w.name(call, pos)}, args...)}
}

// wrapped is an argument with a call around it.
func (w watcher) wrapped(call string, n parse.Node) parse.Node {
	if p, ok := n.(*parse.PipeNode); ok && len(p.Cmds) == 1 && w.isCall(p.Cmds[0]) {
		return n
	}
	return &parse.PipeNode{NodeType: parse.NodePipe, Pos: n.Position(), Cmds: []*parse.CommandNode{w.call(call, n.Position(), n)}}
}

// isCall reports whether a command is one that was put there.
func (w watcher) isCall(c *parse.CommandNode) bool {
	id, ok := c.Args[0].(*parse.IdentifierNode)
	return ok && slices.Contains([]string{watchHas, watchAPIs, watchKube, watchBound, watchMode, watchWhole, watchDeep, watchZone}, id.Ident)
}
