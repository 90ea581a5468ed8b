package pdf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/go-fonts/dejavu/dejavusans"
	"github.com/go-fonts/dejavu/dejavusansbold"
	"github.com/go-fonts/dejavu/dejavusansmono"
)

// face is a TrueType font of which small subsets are made: fpdf reads a whole
// font in some 50 ms, and a subset of it in less than one.
type face struct {
	tables map[string][]byte
	index  int             // among the document's fonts
	next   *face           // that draws what this one lacks
	gids   [1 << 16]uint16 // by character of the Basic Multilingual Plane: fpdf knows no more
	widths [1 << 16]float32
	loca   []uint32
	units  int
	nhm    int // entries of hmtx that have a width
}

var faces = sync.OnceValues(func() (fs [3]*face, err error) {
	for i, ttf := range [][]byte{dejavusans.TTF, dejavusansbold.TTF, dejavusansmono.TTF} {
		if fs[i], err = parseFace(ttf); err != nil {
			return fs, fmt.Errorf("parse embedded font %d: %w", i, err)
		}
		fs[i].index = i
	}
	fs[bold].next, fs[mono].next = fs[sans], fs[sans]
	return fs, nil
})

var be = binary.BigEndian

// parseFace reads the tables that drawing and subsetting need. It trusts the
// font, which is compiled in.
func parseFace(ttf []byte) (*face, error) {
	f := &face{tables: map[string][]byte{}}
	for i := range int(be.Uint16(ttf[4:])) {
		rec := ttf[12+16*i:]
		off, n := be.Uint32(rec[8:]), be.Uint32(rec[12:])
		f.tables[string(rec[:4])] = ttf[off : off+n]
	}
	for _, name := range []string{"head", "hhea", "maxp", "hmtx", "loca", "glyf", "cmap", "post", "OS/2"} {
		if f.tables[name] == nil {
			return nil, fmt.Errorf("no table %q", name)
		}
	}
	f.units = int(be.Uint16(f.tables["head"][18:]))
	f.nhm = int(be.Uint16(f.tables["hhea"][34:]))
	n := int(be.Uint16(f.tables["maxp"][4:]))
	f.loca = make([]uint32, n+1)
	for i := range f.loca {
		if be.Uint16(f.tables["head"][50:]) == 0 {
			f.loca[i] = 2 * uint32(be.Uint16(f.tables["loca"][2*i:]))
		} else {
			f.loca[i] = be.Uint32(f.tables["loca"][4*i:])
		}
	}
	return f, f.parseCmap()
}

// parseCmap reads the Unicode mapping, format 4 (OpenType specification, cmap).
func (f *face) parseCmap() error {
	cmap := f.tables["cmap"]
	var sub []byte
	for i := range int(be.Uint16(cmap[2:])) {
		rec := cmap[4+8*i:]
		s := cmap[be.Uint32(rec[4:]):]
		if be.Uint16(rec) == 3 && be.Uint16(rec[2:]) == 1 && be.Uint16(s) == 4 {
			sub = s
		}
	}
	if sub == nil {
		return errors.New("no Unicode cmap of format 4")
	}
	n := int(be.Uint16(sub[6:])) // twice the number of segments
	ends, starts, deltas, ranges := sub[14:], sub[16+n:], sub[16+2*n:], sub[16+3*n:]
	for i := 0; i < n; i += 2 {
		start, end := int(be.Uint16(starts[i:])), int(be.Uint16(ends[i:]))
		for c := start; c <= end && c != 0xffff; c++ {
			var g uint16
			if r := int(be.Uint16(ranges[i:])); r == 0 {
				g = uint16(c) + be.Uint16(deltas[i:])
			} else if g = be.Uint16(ranges[i+r+2*(c-start):]); g != 0 {
				g += be.Uint16(deltas[i:])
			}
			if g != 0 {
				f.gids[c] = g
				f.widths[c] = float32(f.advance(g)) / float32(f.units)
			}
		}
	}
	return nil
}

// gid is the glyph of r, or 0.
func (f *face) gid(r rune) uint16 {
	if r < 0 || int(r) >= len(f.gids) {
		return 0
	}
	return f.gids[r]
}

// width is how far r advances at size 1.
func (f *face) width(r rune) float64 {
	if r >= 0 && int(r) < len(f.widths) && f.gids[r] != 0 {
		return float64(f.widths[r])
	}
	if o, code := f.of(r); o != nil {
		return float64(o.widths[code])
	}
	return 0
}

func (f *face) advance(g uint16) uint16 {
	return be.Uint16(f.tables["hmtx"][4*min(int(g), f.nhm-1):])
}

func (f *face) bearing(g uint16) uint16 {
	if int(g) < f.nhm {
		return be.Uint16(f.tables["hmtx"][4*int(g)+2:])
	}
	return be.Uint16(f.tables["hmtx"][4*f.nhm+2*(int(g)-f.nhm):])
}

func (f *face) glyph(g uint16) []byte { return f.tables["glyf"][f.loca[g]:f.loca[g+1]] }

// Flags of a component of a composite glyph (OpenType specification, glyf).
const (
	argsAreWords  = 1 << 0
	haveScale     = 1 << 3
	moreParts     = 1 << 5
	haveTwoScales = 1 << 6
	haveMatrix    = 1 << 7
)

// components calls do with the offset of each component's glyph index.
func components(g []byte, do func(at int)) {
	if len(g) < 10 || int16(be.Uint16(g)) >= 0 {
		return
	}
	for at := 10; ; {
		flags := be.Uint16(g[at:])
		do(at + 2)
		at += 6
		if flags&argsAreWords != 0 {
			at += 2
		}
		switch {
		case flags&haveScale != 0:
			at += 2
		case flags&haveTwoScales != 0:
			at += 4
		case flags&haveMatrix != 0:
			at += 8
		}
		if flags&moreParts == 0 {
			return
		}
	}
}

// subset returns a font with the given runes, and whatever glyphs those are made
// of. Every rune gets a glyph of its own even where the font shares one: fpdf
// walks runes in map order, and with shared glyphs its output would differ from
// run to run.
func (f *face) subset(runes map[rune]bool) []byte {
	chars := slices.DeleteFunc(slices.Sorted(maps.Keys(runes)), func(r rune) bool { return f.gid(r) == 0 })
	old := []uint16{0}
	for _, r := range chars {
		old = append(old, f.gid(r))
	}
	parts := map[uint16]uint16{}
	var glyf, hmtx []byte
	loca := make([]byte, 4)
	for i := 0; i < len(old); i++ { // grows: components are appended
		g := slices.Clone(f.glyph(old[i]))
		components(g, func(at int) {
			o := be.Uint16(g[at:])
			n, ok := parts[o]
			if !ok {
				n = uint16(len(old))
				parts[o] = n
				old = append(old, o)
			}
			be.PutUint16(g[at:], n)
		})
		glyf = append(glyf, g...)
		for len(glyf)%4 != 0 {
			glyf = append(glyf, 0)
		}
		loca = be.AppendUint32(loca, uint32(len(glyf)))
		hmtx = be.AppendUint16(hmtx, f.advance(old[i]))
		hmtx = be.AppendUint16(hmtx, f.bearing(old[i]))
	}
	n := uint16(len(old))
	put := func(table string, at int, v uint16) []byte {
		b := slices.Clone(f.tables[table])
		be.PutUint16(b[at:], v)
		return b
	}
	out := map[string][]byte{
		"glyf": glyf, "loca": loca, "hmtx": hmtx, "cmap": cmapOf(chars),
		"head": put("head", 50, 1), "hhea": put("hhea", 34, n), "maxp": put("maxp", 4, n),
		"OS/2": f.tables["OS/2"], "post": slices.Clone(f.tables["post"][:32]),
		"name": {0, 0, 0, 0, 0, 6}, // no names: a subset must not go by the font's
	}
	be.PutUint32(out["post"], 0x00030000) // no glyph names
	for _, t := range []string{"cvt ", "fpgm", "prep", "gasp"} {
		if f.tables[t] != nil {
			out[t] = f.tables[t]
		}
	}
	return assemble(out)
}

// cmapOf maps the i-th character to glyph i+1.
func cmapOf(chars []rune) []byte {
	type segment struct{ start, end, delta uint16 }
	var segs []segment
	for i, r := range chars {
		c := uint16(r)
		if k := len(segs) - 1; k >= 0 && segs[k].end+1 == c {
			segs[k].end = c
			continue
		}
		segs = append(segs, segment{c, c, uint16(i+1) - c})
	}
	segs = append(segs, segment{0xffff, 0xffff, 1})
	b := []byte{0, 0, 0, 1, 0, 3, 0, 1, 0, 0, 0, 12}
	n := len(segs)
	for _, v := range []int{4, 16 + 8*n, 0, 2 * n, 0, 0, 0} { // the search hints are not read
		b = be.AppendUint16(b, uint16(v))
	}
	for _, s := range segs {
		b = be.AppendUint16(b, s.end)
	}
	b = be.AppendUint16(b, 0)
	for _, s := range segs {
		b = be.AppendUint16(b, s.start)
	}
	for _, s := range segs {
		b = be.AppendUint16(b, s.delta)
	}
	return append(b, make([]byte, 2*n)...)
}

func assemble(tables map[string][]byte) []byte {
	names := slices.Sorted(maps.Keys(tables))
	b := be.AppendUint32(nil, 0x00010000)
	b = be.AppendUint16(b, uint16(len(names)))
	b = append(b, make([]byte, 6)...)
	at := 12 + 16*len(names)
	for _, name := range names {
		b = append(b, name...)
		b = be.AppendUint32(b, 0) // fpdf writes the checksums
		b = be.AppendUint32(b, uint32(at))
		b = be.AppendUint32(b, uint32(len(tables[name])))
		at += (len(tables[name]) + 3) &^ 3
	}
	for _, name := range names {
		b = append(b, tables[name]...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}
