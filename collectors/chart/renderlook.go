package chart

import (
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// look notes where parsed templates act on what two renderings cannot decide: the
// build of Helm, of which there are hundreds, and a certain revision.
func (r *rendering) look(t *template.Template) {
	for _, t := range t.Templates() {
		if t.Tree != nil && t.Root != nil && !r.looked[t.Tree] {
			if r.looked == nil {
				r.looked = map[*parse.Tree]bool{}
			}
			r.looked[t.Tree] = true
			looker{r, shortName(t.Tree.ParseName)}.node(t.Root, false, false)
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
		l.branch(&n.BranchNode, true)
	case *parse.PipeNode:
		if n != nil {
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
		// Constraints of versions hold for one of the two builds that are tried, or
		// for a range of releases; a comparison with 1 tells install from upgrade.
		excused = id.Ident == "semverCompare" || slices.ContainsFunc(c.Args[1:], func(n parse.Node) bool {
			number, ok := n.(*parse.NumberNode)
			return ok && number.IsInt && (number.Int64 == 1 || number.Int64 == 0)
		})
		decides = decides || !slices.Contains(printers, id.Ident)
	}
	for _, a := range c.Args {
		l.node(a, decides, excused)
	}
}

func (l looker) fields(names []string, decides, excused bool) {
	for i, name := range names {
		switch {
		case name == "HelmVersion" && !excused:
			l.r.depend(l.file + " reads .Capabilities.HelmVersion: what is rendered depends on the build of Helm")
		case name == "Revision" && decides && !excused && (i == 0 || names[i-1] == "Release"):
			l.r.depend(l.file + " acts on the number .Release.Revision: revisions other than 1 and 100003 were not rendered")
		}
	}
}
