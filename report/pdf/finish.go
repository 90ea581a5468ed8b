package pdf

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/companyos/helmproof/report"
)

// fpdf writes pages, fonts, outline, metadata and colour profile. What it knows
// nothing of – the structure tree and links that belong to it – is appended as an
// incremental update (ISO 32000-1, 7.5.6): new objects, and anew the catalog and
// the pages, which refer to them.

// srgb is the profile that the colours are meant in, by the International Color
// Consortium, which lets everyone embed it.
//
//go:embed srgb.icc
var srgb []byte

// Language is what reports are written in.
const language = "en"

// colorProfiles is how many the file has.
const colorProfiles = 1

// update is the appended part of a file.
type update struct {
	bytes.Buffer
	base    int // where it begins in the file
	offsets map[int]int
	next    int // the next free object number
}

func (u *update) object(n int, format string, args ...any) {
	u.offsets[n] = u.base + u.Len()
	fmt.Fprintf(u, "%d 0 obj\n", n)
	fmt.Fprintf(u, format, args...)
	u.WriteString("\nendobj\n")
}

// annotation is one link, drawn on a page.
type annotation struct {
	page, node int
	rect       [4]float64
	to         place
	label      string
}

// pageObject is the number that fpdf gives a page, counted from 0; its content follows.
func pageObject(page int) int { return 3 + 2*page }

var trailer = regexp.MustCompile(`(?s)trailer\n<<\n/Size (\d+)\n/Root (\d+) 0 R\n/Info (\d+) 0 R\n>>\nstartxref\n(\d+)\n%%EOF`)

// toUnicode is where the font of a line says what its codes mean.
var toUnicode = regexp.MustCompile(`/Encoding /Identity-H\n/DescendantFonts \[\d+ 0 R\]\n/ToUnicode (\d+) 0 R>>`)

// unicode says what the codes of all fonts mean (ISO 32000-1, 9.10.3): fpdf takes each
// for the character of its number. No code has two meanings.
func (c *canvas) unicode() string {
	used := map[rune]bool{}
	for _, codes := range c.runes {
		maps.Copy(used, codes)
	}
	codes := slices.Sorted(maps.Keys(used))
	var b strings.Builder
	b.WriteString("/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def\n" +
		"/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n")
	for part := range slices.Chunk(codes, 100) { // no more are allowed at once
		fmt.Fprintf(&b, "%d beginbfchar\n", len(part))
		for _, r := range part {
			fmt.Fprintf(&b, "<%04X> <", r)
			for _, u := range utf16.Encode([]rune(meaning(r))) {
				fmt.Fprintf(&b, "%04X", u)
			}
			b.WriteString(">\n")
		}
		b.WriteString("endbfchar\n")
	}
	b.WriteString("endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend")
	return b.String()
}

// finish writes the file that fpdf made, and the update. marks are the slots of each
// page by marked-content identifier.
func (c *canvas) finish(w io.Writer, file []byte, marks [][]int, links []annotation) error {
	m := trailer.FindSubmatch(file[max(0, len(file)-512):])
	if m == nil {
		return fmt.Errorf("finish pdf: no trailer as fpdf writes it")
	}
	var n [4]int // size, catalog, info, place of the cross-reference table
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(string(m[i+1])); err != nil {
			return fmt.Errorf("finish pdf: %w", err)
		}
	}
	size, root, prev := n[0], n[1], n[3]
	// fpdf names the object before the catalog, which is a colour profile where there is one.
	info := root - 1 - colorProfiles
	head := []byte(fmt.Sprintf("\n%d 0 obj\n<<\n", root))
	at := bytes.LastIndex(file, head)
	end := bytes.LastIndex(file, []byte("\n>>\nendobj\nxref\n"))
	if at < 0 || end < at {
		return fmt.Errorf("finish pdf: no catalog as fpdf writes it")
	}
	catalog := file[at+len(head) : end]

	u := &update{base: len(file), offsets: map[int]int{}, next: size}
	tree := u.next
	first := tree + 1 // of the elements
	parents := first + len(c.nodes)
	annots := parents + 1
	u.next = annots + len(links)

	u.object(root, "<<\n%s\n/Version /1.7\n/MarkInfo <</Marked true>>\n/ViewerPreferences <</DisplayDocTitle true>>\n/StructTreeRoot %d 0 R\n>>", catalog, tree)
	byPage := make([][]int, len(c.pages))
	for i, l := range links {
		byPage[l.page] = append(byPage[l.page], annots+i)
	}
	for i := range c.pages {
		refs := ""
		if len(byPage[i]) > 0 {
			refs = "/Annots " + references(byPage[i]) + "\n"
		}
		u.object(pageObject(i), "<</Type /Page\n/Parent 1 0 R\n/MediaBox [0 0 %.2f %.2f]\n/Resources 2 0 R\n%s/StructParents %d\n/Tabs /S\n/Contents %d 0 R>>",
			c.width, c.height, refs, i, pageObject(i)+1)
	}
	for _, m := range toUnicode.FindAllSubmatch(file, -1) {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil || n >= size {
			return fmt.Errorf("finish pdf: a font's ToUnicode is object %s of %d", m[1], size)
		}
		cmap := c.unicode()
		u.object(n, "<</Length %d>>\nstream\n%s\nendstream", len(cmap), cmap)
	}
	u.object(tree, "<</Type /StructTreeRoot /K %d 0 R /ParentTree %d 0 R /ParentTreeNextKey %d>>", first, parents, len(c.pages)+len(links))
	for i := range c.nodes {
		c.element(u, i, tree, first, annots)
	}
	var nums strings.Builder
	for i, slots := range marks {
		refs := make([]int, len(slots))
		for k, s := range slots {
			refs[k] = first + c.slots[s].node
		}
		fmt.Fprintf(&nums, "%d %s\n", i, references(refs))
	}
	for i, l := range links {
		fmt.Fprintf(&nums, "%d %d 0 R\n", len(c.pages)+i, first+l.node)
	}
	u.object(parents, "<</Nums [\n%s]>>", nums.String())
	for i, l := range links {
		u.object(annots+i, "<</Type /Annot /Subtype /Link /Rect [%.2f %.2f %.2f %.2f] /Border [0 0 0] /F 4 /StructParent %d /Contents %s /Dest [%d 0 R /XYZ 0 %.2f null]>>",
			l.rect[0], l.rect[1], l.rect[2], l.rect[3], len(c.pages)+i, textString(l.label), pageObject(l.to.page), c.height-max(0, l.to.y-8))
	}
	id := sha256.Sum256(file)
	u.crossReferences(root, info, prev, id[:16])
	if _, err := w.Write(file); err != nil {
		return fmt.Errorf("write pdf: %w", err)
	}
	if _, err := w.Write(u.Bytes()); err != nil {
		return fmt.Errorf("write pdf: %w", err)
	}
	return nil
}

// element writes one element of the structure tree; the root's is tree, the first
// element's first, the first annotation's annots.
func (c *canvas) element(u *update, i, tree, first, annots int) {
	n := &c.nodes[i]
	parent := tree
	if i > 0 {
		parent = first + n.parent
	}
	var kids strings.Builder
	page := -1
	for _, k := range n.kids {
		switch k.kind {
		case kidNode:
			fmt.Fprintf(&kids, "%d 0 R ", first+k.at)
		case kidLink:
			fmt.Fprintf(&kids, "<</Type /OBJR /Obj %d 0 R>> ", annots+k.at)
		case kidSlot:
			s := &c.slots[k.at]
			if page < 0 {
				page = s.page
			}
			for _, id := range s.marks {
				if s.page == page {
					fmt.Fprintf(&kids, "%d ", id)
				} else {
					fmt.Fprintf(&kids, "<</Type /MCR /Pg %d 0 R /MCID %d>> ", pageObject(s.page), id)
				}
			}
		}
	}
	var more strings.Builder
	if page >= 0 {
		fmt.Fprintf(&more, " /Pg %d 0 R", pageObject(page))
	}
	if n.alt != "" {
		more.WriteString(" /Alt " + textString(n.alt))
	}
	switch {
	case n.scope != "" && n.span > 1:
		fmt.Fprintf(&more, " /A <</O /Table /Scope /%s /ColSpan %d>>", n.scope, n.span)
	case n.scope != "":
		fmt.Fprintf(&more, " /A <</O /Table /Scope /%s>>", n.scope)
	case n.role == "Figure":
		fmt.Fprintf(&more, " /A <</O /Layout /Placement /Block /BBox [%.2f %.2f %.2f %.2f]>>", n.box[0], n.box[1], n.box[2], n.box[3])
	}
	u.object(first+i, "<</Type /StructElem /S /%s /P %d 0 R /K [%s]%s>>", n.role, parent, strings.TrimSpace(kids.String()), more.String())
}

// crossReferences ends the update.
func (u *update) crossReferences(root, info, prev int, id []byte) {
	at := u.base + u.Len()
	u.WriteString("xref\n")
	numbers := make([]int, 0, len(u.offsets))
	for n := range u.offsets {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for i := 0; i < len(numbers); {
		k := i + 1
		for k < len(numbers) && numbers[k] == numbers[k-1]+1 {
			k++
		}
		fmt.Fprintf(u, "%d %d\n", numbers[i], k-i)
		for _, n := range numbers[i:k] {
			fmt.Fprintf(u, "%010d 00000 n \n", u.offsets[n])
		}
		i = k
	}
	fmt.Fprintf(u, "trailer\n<</Size %d /Root %d 0 R /Info %d 0 R /Prev %d /ID [<%x> <%x>]>>\nstartxref\n%d\n%%%%EOF\n", u.next, root, info, prev, id, id, at)
}

func references(objects []int) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, n := range objects {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d 0 R", n)
	}
	b.WriteByte(']')
	return b.String()
}

// textString is s as PDF has text outside of pages (ISO 32000-1, 7.9.2.2).
func textString(s string) string {
	var b strings.Builder
	b.WriteString("<FEFF")
	for _, u := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, "%04X", u)
	}
	b.WriteByte('>')
	return b.String()
}

// metadata says in XMP what the document is, and which standards it is written to:
// PDF/A-2 (ISO 19005-2), level A, and PDF/UA-1 (ISO 14289-1).
func metadata(d *report.Document, title, subject string, created time.Time) []byte {
	esc := func(s string) string {
		var b strings.Builder
		_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
		return b.String()
	}
	at := created.UTC().Format(time.RFC3339)
	return []byte(`<?xpacket begin="` + "\ufeff" + `" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/"
 xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">` + esc(title) + `</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">` + esc(subject) + `</rdf:li></rdf:Alt></dc:description>
<dc:creator><rdf:Seq><rdf:li>helmproof</rdf:li></rdf:Seq></dc:creator>
<dc:language><rdf:Bag><rdf:li>` + language + `</rdf:li></rdf:Bag></dc:language>
<xmp:CreatorTool>helmproof</xmp:CreatorTool><xmp:CreateDate>` + at + `</xmp:CreateDate><xmp:ModifyDate>` + at + `</xmp:ModifyDate>
<pdf:Keywords>` + esc(keywords(d)) + `</pdf:Keywords>
<pdfaid:part>2</pdfaid:part><pdfaid:conformance>A</pdfaid:conformance><pdfuaid:part>1</pdfuaid:part>
</rdf:Description>
<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/" xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI><pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix><pdfaSchema:schema>PDF/UA identification</pdfaSchema:schema>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
<pdfaProperty:category>internal</pdfaProperty:category><pdfaProperty:description>The part of ISO 14289 that the document is written to</pdfaProperty:description>
<pdfaProperty:name>part</pdfaProperty:name><pdfaProperty:valueType>Integer</pdfaProperty:valueType>
</rdf:li></rdf:Seq></pdfaSchema:property></rdf:li></rdf:Bag></pdfaExtension:schemas>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>`)
}

func keywords(d *report.Document) string {
	return strings.TrimSpace("helmproof evidence " + d.Verdict.Mark.Word + " " + string(d.BundleID()))
}
