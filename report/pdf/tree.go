package pdf

import "github.com/companyos/helmproof/report"

// tree is the structure of the document (ISO 32000-1, 14.7): elements in reading
// order, each with what is drawn for it. A screen reader goes by it, and so does
// whoever takes the text out. What is in no element is an artifact.
type tree struct {
	nodes []node
	slots []slot
	cur   int  // the element that is open
	quiet bool // what is drawn now is an artifact: running heads
}

// node is one element; nodes[0] is the document.
type node struct {
	role   string
	parent int
	kids   []kid
	alt    string // instead of a figure: what it shows
	scope  string // of a table's head cell: Row or Column
	span   int    // how many columns a table's cell spans, where not one
	box    [4]float64
}

// kid is a part of an element: another element, or a slot, or a link's annotation.
type kid struct {
	kind kidKind
	at   int
}

type kidKind uint8

const (
	kidNode kidKind = iota
	kidSlot
	kidLink
)

// slot is what is drawn for an element on one page, between other elements.
type slot struct {
	node, page int
	marks      []int // marked-content identifiers on the page
}

func newTree() tree {
	return tree{nodes: []node{{role: "Document"}}, slots: make([]slot, 1)}
}

// open begins an element inside the one that is open; it returns its number.
func (t *tree) open(role string) int {
	if t.quiet {
		return 0
	}
	n := len(t.nodes)
	t.nodes = append(t.nodes, node{role: role, parent: t.cur})
	t.nodes[t.cur].kids = append(t.nodes[t.cur].kids, kid{kidNode, n})
	t.cur = n
	return n
}

// close ends the element that is open.
func (t *tree) close() {
	if !t.quiet {
		t.cur = t.nodes[t.cur].parent
	}
}

// header begins a head cell of a table.
func (t *tree) header(scope string, span int) {
	if n := t.open("TH"); n > 0 {
		t.nodes[n].scope, t.nodes[n].span = scope, span
	}
}

func (t *tree) inFigure() bool { return !t.quiet && t.nodes[t.cur].role == "Figure" }

// slot is where the open element goes on, on a page.
func (t *tree) slot(page int) int {
	if t.quiet || t.cur == 0 {
		return 0
	}
	n := &t.nodes[t.cur]
	if i := len(n.kids) - 1; i >= 0 && n.kids[i].kind == kidSlot && t.slots[n.kids[i].at].page == page {
		return n.kids[i].at
	}
	t.slots = append(t.slots, slot{node: t.cur, page: page})
	n.kids = append(n.kids, kid{kidSlot, len(t.slots) - 1})
	return len(t.slots) - 1
}

// figure draws something that words stand for. It ends on the page that it is drawn on.
func (c *canvas) figure(alt string, draw func()) {
	n := c.open("Figure")
	page, top := len(c.pages)-1, c.y
	draw()
	if last := len(c.pages) - 1; last != page {
		page, top = last, marginTop
	}
	f := &c.nodes[n]
	f.alt = report.Visible(alt)
	f.box = [4]float64{c.left(), c.height - c.y, c.right(), c.height - top}
	c.close()
}
