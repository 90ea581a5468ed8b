package chart

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// checkBlocks refuses control structures that are nested so deeply that parsing
// them would exhaust the stack.
func checkBlocks(text string) error {
	depth := 0
	for {
		i := strings.Index(text, "{{")
		if i < 0 {
			return nil
		}
		text = strings.TrimLeft(strings.TrimPrefix(text[i+2:], "-"), " \t\r\n")
		word := text
		if n := strings.IndexFunc(text, func(c rune) bool { return c < 'a' || c > 'z' }); n >= 0 {
			word = text[:n]
		}
		switch word {
		case "if", "range", "with", "define", "block":
			if depth++; depth > maxBlocks {
				return fmt.Errorf("control structures nested more than %d deep", maxBlocks)
			}
		case "end":
			depth--
		}
	}
}

// guard makes all templates of t's set countable. {{template "x" .}} becomes
// {{include "x" .}}: text/template alone lets the stack grow too far. The body of
// each range gets an empty text, which calls Write at each turn. What is printed
// passes checkPrint, and what a template acts on is watched. Templates that were guarded before stay as they are.
func guard(t *template.Template) {
	for _, t := range t.Templates() {
		if t.Tree != nil && t.Root != nil {
			watch(t.Tree, t.Root)
			guardList(t.Tree, t.Root)
		}
	}
}

func guardList(tree *parse.Tree, list *parse.ListNode) {
	if list == nil {
		return
	}
	for i, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.TemplateNode:
			list.Nodes[i] = includeNode(tree, n)
		case *parse.ActionNode:
			guardPrint(tree, n.Pipe)
		case *parse.IfNode:
			guardList(tree, n.List)
			guardList(tree, n.ElseList)
		case *parse.RangeNode:
			guardList(tree, n.List)
			guardList(tree, n.ElseList)
			if n.List != nil && !startsGuarded(n.List) {
				n.List.Nodes = slices.Insert(n.List.Nodes, 0, parse.Node(&parse.TextNode{NodeType: parse.NodeText, Pos: n.Pos}))
			}
		case *parse.WithNode:
			guardList(tree, n.List)
			guardList(tree, n.ElseList)
		}
	}
}

// printsText are functions whose result is text or a number, never a mapping.
var printsText = map[string]bool{
	checkPrint: true, "include": true, "tpl": true, "toYaml": true, "nindent": true, "indent": true, "quote": true,
	"squote": true, "printf": true, "trunc": true, "b64enc": true, "lower": true, "trimSuffix": true, "replace": true, "int": true,
}

// guardPrint adds a call of checkPrint at the end of a pipeline that is printed.
func guardPrint(tree *parse.Tree, pipe *parse.PipeNode) {
	if len(pipe.Decl) > 0 || len(pipe.Cmds) == 0 {
		return
	}
	last := pipe.Cmds[len(pipe.Cmds)-1]
	if id, ok := last.Args[0].(*parse.IdentifierNode); ok && printsText[id.Ident] {
		return
	}
	pipe.Cmds = append(pipe.Cmds, &parse.CommandNode{
		NodeType: parse.NodeCommand, Pos: last.Pos,
		Args: []parse.Node{parse.NewIdentifier(checkPrint).SetPos(last.Pos).SetTree(tree)},
	})
}

func startsGuarded(list *parse.ListNode) bool {
	if len(list.Nodes) == 0 {
		return false
	}
	t, ok := list.Nodes[0].(*parse.TextNode)
	return ok && len(t.Text) == 0
}

func includeNode(tree *parse.Tree, n *parse.TemplateNode) parse.Node {
	args := []parse.Node{
		parse.NewIdentifier("include").SetPos(n.Pos).SetTree(tree),
		&parse.StringNode{NodeType: parse.NodeString, Pos: n.Pos, Quoted: fmt.Sprintf("%q", n.Name), Text: n.Name},
	}
	if n.Pipe != nil {
		args = append(args, n.Pipe)
	} else {
		args = append(args, &parse.NilNode{NodeType: parse.NodeNil, Pos: n.Pos})
	}
	return &parse.ActionNode{
		NodeType: parse.NodeAction, Pos: n.Pos, Line: n.Line,
		Pipe: &parse.PipeNode{
			NodeType: parse.NodePipe, Pos: n.Pos, Line: n.Line,
			Cmds: []*parse.CommandNode{{NodeType: parse.NodeCommand, Pos: n.Pos, Args: args}},
		},
	}
}
