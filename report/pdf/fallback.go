package pdf

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"sync"
)

// What the three faces lack is drawn with two more, which are unpacked only where a
// report needs them: fonts/README.md says where they are from.
var (
	//go:embed fonts/cjk.ttf.gz
	cjkFont []byte
	//go:embed fonts/emoji.ttf.gz
	emojiFont []byte
)

// Faces beyond those of a style, by index into canvas.runes.
const (
	cjk = iota + mono + 1
	emoji
	numFaces
)

var fallbacks = sync.OnceValues(func() ([]*face, error) {
	var out []*face
	for i, packed := range [][]byte{cjkFont, emojiFont} {
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, fmt.Errorf("unpack embedded font: %w", err)
		}
		ttf, err := io.ReadAll(z)
		if err != nil {
			return nil, fmt.Errorf("unpack embedded font: %w", err)
		}
		f, err := parseFace(ttf)
		if err != nil {
			return nil, fmt.Errorf("parse embedded font: %w", err)
		}
		f.index = cjk + i
		out = append(out, f)
	}
	return out, nil
})

// Pictographs lie beyond the Basic Multilingual Plane, of which alone fpdf knows: the
// font has them where private characters are, which are never drawn as themselves.
const (
	firstPictograph = 0x1f000
	lastPictograph  = 0x1faff
	pictographCodes = 0xe000
)

// of is the face that draws r, and by which code; nil if none does. A fallback that
// cannot be unpacked draws nothing: its characters are written as their numbers.
func (f *face) of(r rune) (*face, rune) {
	if f.gid(r) != 0 {
		return f, r
	}
	if f.next != nil && f.next.gid(r) != 0 {
		return f.next, r
	}
	if r < 0x1100 {
		return nil, 0
	}
	code := r
	if r >= firstPictograph && r <= lastPictograph {
		code = pictographCodes + r - firstPictograph
	} else if r > 0xffff || r >= pictographCodes && r < 0xf900 {
		return nil, 0
	}
	more, err := fallbacks()
	if err != nil {
		return nil, 0
	}
	for _, o := range more {
		if o.gid(code) != 0 {
			return o, code
		}
	}
	return nil, 0
}

// has reports whether r can be drawn.
func (f *face) has(r rune) bool {
	o, _ := f.of(r)
	return o != nil
}
