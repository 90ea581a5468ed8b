package chart

import (
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"text/template"
	"text/template/parse"
)

// Whether a template acts on a value that rendering made up cannot be told by what it
// renders: a condition can answer alike by chance. So two renderings with other values
// also tell what their conditions were given, as a digest for each file. A function
// that hands on what it gets decides nothing by itself: what it returns is looked at
// where that decides.

// Calls that are put into templates to take down what conditions are given. Each
// returns what it gets.
const (
	traceValue   = "helmproofTraceValue"   // of a function that decides
	traceKeys    = "helmproofTraceKeys"    // the same, of mappings the keys alone
	traceTruth   = "helmproofTraceTruth"   // of if and with
	traceCarried = "helmproofTraceCarried" // the same, of functions that carry marks on
	traceFirst   = "helmproofTraceFirst"   // as the first one, of what is compared with 0 or 1
)

// maxTraced bounds the parts of one value that are taken down.
const maxTraced = 10_000

// handingOn are functions whose result shows any change of what they get, or that look
// only at whether it is empty.
var handingOn = setOf(
	"and", "or", "not", "empty", "default", "coalesce", "ternary", "required", "fail", "typeOf", "kindOf", "typeIs", "kindIs", "typeIsLike", "include", "tpl",
	"dict", "list", "tuple", "set", "append", "prepend", "concat", "merge", "mergeOverwrite", "mustMerge", "mustMergeOverwrite", "deepCopy", "mustDeepCopy",
	"print", "printf", "println", "cat", "quote", "squote", "toString", "join", "upper", "lower", "indent", "nindent", "trunc",
	"toYaml", "toYamlPretty", "mustToYaml", "toJson", "mustToJson", "toRawJson", "toPrettyJson",
	"b64enc", "b32enc", "sha1sum", "sha256sum", "sha512sum", "bcrypt", "htpasswd", "derivePassword", "encryptAES",
	"date", "htmlDate", "dateInZone", "date_in_zone", "htmlDateInZone", "dateModify", "date_modify", "mustDateModify", "unixEpoch",
	"genSignedCert", "genSignedCertWithKey", "genCAWithKey", "genSelfSignedCertWithKey",
	checkPrint, watchBound, watchHas, watchAPIs, watchKube, watchMode, watchWhole, watchDeep, watchZone, traceValue, traceKeys, traceTruth, traceFirst, traceCarried,
)

// carrying are functions of which a mark comes out again, or which look after that by
// themselves.
func carrying(name string) bool {
	if _, ok := ofTexts[name]; ok {
		return true
	}
	return converting[name]
}

var converting = setOf("int", "int64", "float64", "atoi", "fromYaml", "fromYamlArray", "fromJson", "fromJsonArray", "mustFromJson", "first", "last", "rest", "initial", "compact", "uniq", "trimall", "toStrings", "sortAlpha", "reverse")

// selecting are functions that take something out of mappings by its name.
var selecting = setOf("index", "get", "hasKey", "dig", "pluck", "pick", "omit", "unset", "keys", "values")

func setOf(names ...string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}

// traceFunctions are the functions that trace calls.
func (r *rendering) traceFunctions() template.FuncMap {
	through := func(kind string, write func(d *digest, v reflect.Value)) func(reflect.Value) reflect.Value {
		return func(v reflect.Value) reflect.Value {
			d := &digest{left: maxTraced, sum: r.trace[r.current]}
			if r.trace == nil && kind != "carried" {
				d.see = func(s string) { r.sawText(s, kind == "first") }
			}
			d.text(kind)
			write(d, v)
			if r.trace != nil {
				r.trace[r.current] = d.sum
			}
			return v
		}
	}
	deep := func(d *digest, v reflect.Value) { d.value(v, true) }
	return template.FuncMap{
		traceValue:   through("value", deep),
		traceFirst:   through("first", deep),
		traceCarried: through("carried", deep),
		traceKeys: through("keys", func(d *digest, v reflect.Value) {
			switch concrete(v).Kind() {
			case reflect.Map, reflect.Slice, reflect.Array: // what is taken out of it is looked at where it decides
				if d.see != nil {
					return
				}
			}
			d.value(v, false)
		}),
		traceTruth: through("carried", func(d *digest, v reflect.Value) {
			if truth, ok := template.IsTrue(v); ok { // a number can be zero elsewhere
				d.text(fmt.Sprint(truth))
			}
			if v = concrete(v); v.IsValid() && (v.CanInt() || v.CanUint() || v.CanFloat()) {
				d.value(v, true)
			}
		}),
	}
}

// concrete is what an interface holds.
func concrete(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v
}

// digest sums up values.
type digest struct {
	sum  uint64
	left int
	see  func(string) // if not nil: gets each text instead
}

func (d *digest) text(s string) {
	if d.see != nil {
		d.see(s)
		return
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%x %d %s", d.sum, len(s), s) // a hash takes everything
	d.sum = h.Sum64()
}

// value takes in a value; deep: of mappings what they hold, too.
func (d *digest) value(v reflect.Value, deep bool) {
	if d.left--; d.left < 0 {
		return
	}
	v = concrete(v)
	switch v.Kind() {
	case reflect.Invalid:
		d.text("nil")
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			d.text(v.Type().String())
			return
		}
		d.text(fmt.Sprint("map ", v.Len()))
		entries := map[string]reflect.Value{}
		for it := v.MapRange(); it.Next(); {
			entries[it.Key().String()] = it.Value()
		}
		for _, k := range slices.Sorted(maps.Keys(entries)) {
			d.text(k)
			if deep {
				d.value(entries[k], true)
			}
		}
	case reflect.Slice, reflect.Array:
		d.text(fmt.Sprint("list ", v.Len()))
		for i := range v.Len() {
			d.value(v.Index(i), deep)
		}
	case reflect.Func, reflect.Chan:
		d.text(v.Type().String())
	default:
		switch {
		case !v.CanInterface():
			d.text(v.Type().String())
		case v.Kind() == reflect.Pointer || v.Kind() == reflect.Struct:
			if s, ok := v.Interface().(fmt.Stringer); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
				d.text(s.String())
			} else if v.Kind() == reflect.Struct {
				d.text(fmt.Sprintf("%v", v.Interface()))
			} else {
				d.text(v.Type().String())
			}
		default:
			d.text(fmt.Sprint(v.Interface()))
		}
	}
}

// startTrace puts the calls into all templates, which stay the same otherwise.
func (t *templates) startTrace() {
	if t.tracing {
		return
	}
	tried := t.tried(t.funcs)
	maps.Copy(t.funcs, tried)
	t.set.Funcs(tried)
	t.tracing, t.traced = true, map[*parse.Tree]bool{}
	t.tpls = map[string]*template.Template{} // parsed without them
	t.putTrace(t.set)
}

// putTrace puts the calls into the templates of t's set that have none yet.
func (r *rendering) putTrace(t *template.Template) {
	for _, t := range t.Templates() {
		if t.Tree != nil && t.Root != nil && !r.traced[t.Tree] {
			r.traced[t.Tree] = true
			tracer{watcher{t.Tree}}.list(t.Root)
		}
	}
}

type tracer struct{ watcher }

func (t tracer) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			t.pipe(n.Pipe)
		case *parse.TemplateNode:
			t.pipe(n.Pipe)
		case *parse.IfNode:
			t.branch(&n.BranchNode, true)
		case *parse.WithNode:
			t.branch(&n.BranchNode, true)
		case *parse.RangeNode:
			t.branch(&n.BranchNode, false)
		}
	}
}

func (t tracer) branch(b *parse.BranchNode, truth bool) {
	t.pipe(b.Pipe)
	if truth && b.Pipe != nil {
		b.Pipe.Cmds = append(b.Pipe.Cmds, t.call(traceTruth, b.Pos))
	}
	t.list(b.List)
	t.list(b.ElseList)
}

func (t tracer) pipe(p *parse.PipeNode) {
	if p == nil {
		return
	}
	var cmds []*parse.CommandNode
	for i, c := range p.Cmds {
		by := t.command(c, i > 0)
		if i > 0 && by != "" {
			cmds = append(cmds, t.call(by, c.Pos))
		}
		cmds = append(cmds, c)
	}
	p.Cmds = cmds
}

// command has the arguments of a command traced, if it decides, and says by which call.
// Piped, it gets one more.
func (t tracer) command(c *parse.CommandNode, piped bool) string {
	by := ""
	if id, ok := c.Args[0].(*parse.IdentifierNode); ok {
		switch {
		case selecting[id.Ident]:
			by = traceKeys
		case handingOn[id.Ident]:
		case carrying(id.Ident):
			by = traceCarried
		case comparesWithOne(id.Ident, c, piped):
			by = traceFirst
		default:
			by = traceValue
		}
	} else if len(c.Args) > 1 || piped { // a method
		by = traceValue
		c.Args[0] = t.receiver(c.Args[0])
	}
	for i, a := range c.Args {
		t.within(a)
		if i > 0 && by != "" {
			switch a.(type) {
			case *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
			default:
				c.Args[i] = &parse.PipeNode{NodeType: parse.NodePipe, Pos: a.Position(), Cmds: []*parse.CommandNode{t.call(by, a.Position(), a)}}
			}
		}
	}
	return by
}

// comparesWithOne reports whether a command compares one argument with 0 or 1, which
// tells an upgrade from an install, and no revision from another.
func comparesWithOne(name string, c *parse.CommandNode, piped bool) bool {
	if !slices.Contains([]string{"eq", "ne", "lt", "le", "gt", "ge"}, name) || piped && len(c.Args) != 2 || !piped && len(c.Args) != 3 {
		return false
	}
	return slices.ContainsFunc(c.Args[1:], func(n parse.Node) bool {
		number, ok := n.(*parse.NumberNode)
		return ok && number.IsInt && (number.Int64 == 1 || number.Int64 == 0)
	})
}

// within looks into what stands in brackets.
func (t tracer) within(n parse.Node) {
	switch n := n.(type) {
	case *parse.PipeNode:
		t.pipe(n)
	case *parse.ChainNode:
		t.within(n.Node)
	}
}

// receiver has that traced which a method is called of.
func (t tracer) receiver(n parse.Node) parse.Node {
	names := fieldsOf(n)
	of := beforeLast(n)
	if len(names) == 0 || of == nil {
		return n
	}
	seen := &parse.PipeNode{NodeType: parse.NodePipe, Pos: n.Position(), Cmds: []*parse.CommandNode{t.call(traceValue, n.Position(), of)}}
	return &parse.ChainNode{NodeType: parse.NodeChain, Pos: n.Position(), Node: seen, Field: names[len(names)-1:]}
}
