package chart

import (
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// look notes where parsed templates act on what two renderings cannot decide: the
// build of Helm, of which there are hundreds, and a certain revision.
func (r *rendering) look(t *template.Template) {
	for _, t := range t.Templates() {
		if _, looked := r.looked[t.Tree]; t.Tree != nil && t.Root != nil && !looked {
			if r.looked == nil {
				r.looked = map[*parse.Tree]bool{}
			}
			r.looked[t.Tree] = opaque(t.Root)
			looker{r, shortName(t.ParseName)}.node(t.Root, false, false)
			if r.looksUp && r.reads != nil && readsLookup(t.Root) {
				r.reads[shortName(t.ParseName)] = struct{}{}
			}
		}
	}
}

func shortName(full string) string {
	if _, name, ok := strings.Cut(full, "/"); ok {
		return name
	}
	return full
}

type looker struct {
	r    *rendering
	file string
}

// node looks at what is below n. decides: it is part of a condition; excused: of a
// comparison that two renderings decide.
func (l looker) node(n parse.Node, decides, excused bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, e := range n.Nodes {
				l.node(e, decides, excused)
			}
		}
	case *parse.ActionNode:
		l.node(n.Pipe, decides, excused)
	case *parse.TemplateNode:
		l.node(n.Pipe, decides, excused)
	case *parse.IfNode:
		l.branch(&n.BranchNode, true)
	case *parse.WithNode:
		l.branch(&n.BranchNode, true)
	case *parse.RangeNode:
		l.whole(n.Pipe)
		l.branch(&n.BranchNode, true)
	case *parse.PipeNode:
		if n != nil {
			decides = decides || len(n.Decl) > 0 // nobody follows variables
			if len(n.Decl) > 0 || len(n.Cmds) > 1 {
				l.whole(n)
			}
			for _, c := range n.Cmds {
				l.command(c, decides, excused)
			}
		}
	case *parse.FieldNode:
		l.fields(n.Ident, decides, excused)
	case *parse.VariableNode:
		l.fields(n.Ident, decides, excused)
	case *parse.ChainNode:
		l.node(n.Node, decides, excused)
		l.fields(n.Field, decides, excused)
	}
}

func (l looker) branch(b *parse.BranchNode, decides bool) {
	l.node(b.Pipe, decides, false)
	l.node(b.List, false, false)
	l.node(b.ElseList, false, false)
}

// printers are functions that decide nothing.
var printers = []string{"quote", "squote", "print", "printf", "println", "toString", "int", "int64", "cat", "list", "dict", "include", "tpl", "toYaml", "toJson"}

func (l looker) command(c *parse.CommandNode, decides, excused bool) {
	if id, ok := c.Args[0].(*parse.IdentifierNode); ok {
		switch id.Ident {
		case "semverCompare": // what tells Helm 4 from what was before is the same for all of Helm 4
			excused = len(c.Args) > 1 && isBound(c.Args[1])
		case "eq", "ne", "lt", "le", "gt", "ge": // a comparison with 1 tells install from upgrade
			excused = len(c.Args) == 3 && slices.ContainsFunc(c.Args[1:], func(n parse.Node) bool {
				number, ok := n.(*parse.NumberNode)
				return ok && number.IsInt && (number.Int64 == 1 || number.Int64 == 0)
			})
		case "int", "int64": // of the same number
		default:
			excused = false
		}
		l.byName(id.Ident, c.Args[1:])
		decides = decides || !slices.Contains(printers, id.Ident)
	}
	for _, a := range c.Args {
		l.node(a, decides, excused)
	}
}

// isBound reports whether a constraint bounds versions by one that all releases of
// Helm 4 are above.
func isBound(n parse.Node) bool {
	text, ok := n.(*parse.StringNode)
	return ok && earlyBound.MatchString(text.Text)
}

var earlyBound = regexp.MustCompile(`^\s*(>=|>|<=|<|\^|~)\s*v?[0-3](\.[0-9]+){0,2}(-0)?\s*$|^\s*(>=|<)\s*v?4(\.0){0,2}(-0)?\s*$`)

const byNumber = " acts on the number .Release.Revision: not all revisions were rendered"

// byName looks for the revision behind the names that functions take.
func (l looker) byName(function string, args []parse.Node) {
	switch function {
	case "include", "tpl", "dict", "list", "default", "typeOf", "kindOf":
		return // what gets it is looked at
	case "index", "get", "hasKey", "dig", "pluck":
		named := true
		for _, a := range args {
			text, ok := a.(*parse.StringNode)
			named = named && (ok || isRelease(a))
			if ok && text.Text == "Revision" {
				l.r.depend(l.file + byNumber)
			}
		}
		if named {
			return
		}
	}
	for _, a := range args {
		l.whole(a)
	}
}

// whole notes that all of .Release goes where nobody looks.
func (l looker) whole(n parse.Node) {
	if pipe, ok := n.(*parse.PipeNode); ok && pipe != nil && len(pipe.Cmds) > 0 && len(pipe.Cmds[0].Args) == 1 {
		n = pipe.Cmds[0].Args[0]
	}
	if isRelease(n) {
		l.r.depend(l.file + byNumber)
	}
}

func isRelease(n parse.Node) bool {
	var names []string
	switch n := n.(type) {
	case *parse.FieldNode:
		names = n.Ident
	case *parse.VariableNode:
		names = n.Ident
	}
	return len(names) > 0 && names[len(names)-1] == "Release" && names[0] != "Values"
}

func (l looker) fields(names []string, decides, excused bool) {
	for i, name := range names {
		l.r.asksNumber = l.r.asksNumber || name == "Revision" && !slices.Contains(names[:i], "Values")
		switch {
		case name == "HelmVersion" && !excused:
			l.r.asksRelease = true // an upgrade is by another Helm
			l.r.depend(l.file + " reads .Capabilities.HelmVersion: what is rendered depends on the build of Helm")
		case (name == "YAML" || name == "PathValue") && !slices.Contains(names[:i], "Values"): // methods of the scope, which show all of it
			l.r.asksRelease = true
			l.r.depend(l.file + byNumber)
		case name == "Revision" && decides && !excused && !slices.Contains(names[:i], "Values"):
			l.r.depend(l.file + byNumber)
		}
	}
}

// readsLookup reports whether a template uses what lookup found for more than
// whether it is there, which two renderings decide: no rendering shows what a
// template does with content of a cluster that nobody knows.
func readsLookup(root parse.Node) bool {
	found := map[string]bool{} // variables that hold what lookup found
	reads := false
	// walk looks at what is below n. cond: only its truth counts.
	var walk func(n parse.Node, cond bool)
	walk = func(n parse.Node, cond bool) {
		branch := func(b *parse.BranchNode, cond bool) {
			walk(b.Pipe, cond)
			walk(b.List, false)
			walk(b.ElseList, false)
		}
		switch n := n.(type) {
		case *parse.ListNode:
			if n != nil {
				for _, e := range n.Nodes {
					walk(e, false)
				}
			}
		case *parse.ActionNode:
			walk(n.Pipe, false)
		case *parse.TemplateNode:
			walk(n.Pipe, false)
		case *parse.IfNode:
			branch(&n.BranchNode, true)
		case *parse.WithNode:
			branch(&n.BranchNode, false)
		case *parse.RangeNode:
			branch(&n.BranchNode, false)
		case *parse.PipeNode:
			if n == nil {
				return
			}
			if len(n.Decl) > 0 && len(n.Cmds) == 1 && isLookup(n.Cmds[0]) && len(n.Decl[0].Ident) == 1 {
				found[n.Decl[0].Ident[0]] = true
				for _, a := range n.Cmds[0].Args[1:] {
					walk(a, false)
				}
				return
			}
			truth := cond
			for _, c := range n.Cmds[min(1, len(n.Cmds)):] {
				truth = truth && onlyTruth(c)
			}
			for _, c := range n.Cmds {
				walk(c, truth)
			}
		case *parse.CommandNode:
			if isLookup(n) {
				reads = reads || !cond
				for _, a := range n.Args[1:] {
					walk(a, false)
				}
				return
			}
			if _, ok := n.Args[0].(*parse.IdentifierNode); ok {
				cond = cond && onlyTruth(n)
			}
			for _, a := range n.Args {
				walk(a, cond)
			}
		case *parse.ChainNode:
			walk(n.Node, false)
		case *parse.IdentifierNode:
			reads = reads || n.Ident == "lookup" && !cond
		case *parse.VariableNode:
			reads = reads || found[n.Ident[0]] && (!cond || len(n.Ident) > 1)
		}
	}
	// Twice: a loop can use a variable before it is assigned.
	walk(root, false)
	walk(root, false)
	return reads
}

// isLookup reports whether a command calls lookup.
func isLookup(c *parse.CommandNode) bool {
	id, ok := c.Args[0].(*parse.IdentifierNode)
	return ok && id.Ident == "lookup"
}

// onlyTruth reports whether a command asks of its arguments only whether they are empty.
func onlyTruth(c *parse.CommandNode) bool {
	id, ok := c.Args[0].(*parse.IdentifierNode)
	return ok && slices.Contains([]string{"not", "and", "or", "empty"}, id.Ident)
}
