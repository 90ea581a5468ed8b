// Package canonical writes JSON in the one form of RFC 8785, in time that grows
// with its length: bundles are written so, and digests of values are taken of it.
package canonical

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
)

// JSON is v in the form of RFC 8785. Its errors are those of encoding/json.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return Transform(b.Bytes())
}

// Transform rewrites JSON in the form of RFC 8785, in one pass: raw is what
// encoding/json wrote, valid and without repeated keys.
func Transform(raw []byte) ([]byte, error) {
	c := canonicalizer{in: raw, out: make([]byte, 0, len(raw))}
	if err := c.value(0); err != nil {
		return nil, fmt.Errorf("canonical JSON: %w", err)
	}
	return c.out, nil
}

type canonicalizer struct {
	in, out []byte
	at      int
}

// member is one member of an object: its key, and where it stands in out.
type member struct {
	key      []uint16
	from, to int
}

var errJSON = errors.New("not what encoding/json writes")

func (c *canonicalizer) next() byte {
	for c.at < len(c.in) {
		switch b := c.in[c.at]; b {
		case ' ', '\n', '\t', '\r':
			c.at++
		default:
			return b
		}
	}
	return 0
}

// maxNesting bounds the recursion; encoding/json reads no deeper than this.
const maxNesting = 10000

func (c *canonicalizer) value(depth int) error {
	if depth > maxNesting {
		return errors.New("nested too deeply")
	}
	switch b := c.next(); b {
	case '{':
		return c.object(depth)
	case '[':
		return c.array(depth)
	case '"':
		return c.text()
	default:
		from := c.at
		for c.at < len(c.in) && strings.IndexByte(",]} \n\t\r", c.in[c.at]) < 0 {
			c.at++
		}
		return c.scalar(string(c.in[from:c.at]))
	}
}

func (c *canonicalizer) scalar(token string) error {
	switch token {
	case "true", "false", "null":
		c.out = append(c.out, token...)
		return nil
	}
	// Most numbers are small whole ones, which are canonical as they are.
	if n, err := strconv.ParseInt(token, 10, 64); err == nil && n > -1<<53 && n < 1<<53 && token != "-0" {
		c.out = append(c.out, token...)
		return nil
	}
	f, err := strconv.ParseFloat(token, 64)
	if err != nil {
		return errJSON
	}
	number, err := jsoncanonicalizer.NumberToJSON(f)
	if err != nil {
		return err
	}
	c.out = append(c.out, number...)
	return nil
}

// more consumes the sign after an element and reports whether another follows.
func (c *canonicalizer) more(sep, end byte) (bool, error) {
	b := c.next()
	c.at++
	switch b {
	case sep:
		return true, nil
	case end:
		return false, nil
	}
	return false, errJSON
}

func (c *canonicalizer) array(depth int) error {
	c.at++
	c.out = append(c.out, '[')
	if c.next() == ']' {
		c.at++
		c.out = append(c.out, ']')
		return nil
	}
	for {
		if err := c.value(depth + 1); err != nil {
			return err
		}
		more, err := c.more(',', ']')
		if err != nil {
			return err
		}
		if !more {
			c.out = append(c.out, ']')
			return nil
		}
		c.out = append(c.out, ',')
	}
}

// object writes the members as they come and puts them in order afterwards.
func (c *canonicalizer) object(depth int) error {
	c.at++
	start := len(c.out)
	var members []member
	sorted := true
	if c.next() == '}' {
		c.at++
		c.out = append(c.out, '{', '}')
		return nil
	}
	for {
		from := len(c.out)
		c.out = append(c.out, ',')
		if c.next() != '"' {
			return errJSON
		}
		keyAt := c.at
		if err := c.text(); err != nil {
			return err
		}
		key, err := utf16Of(c.in[keyAt:c.at])
		if err != nil {
			return err
		}
		if c.next() != ':' {
			return errJSON
		}
		c.at++
		c.out = append(c.out, ':')
		if err := c.value(depth + 1); err != nil {
			return err
		}
		if n := len(members); n > 0 {
			switch slices.Compare(members[n-1].key, key) {
			case 0:
				return errors.New("a key is repeated")
			case 1:
				sorted = false
			}
		}
		members = append(members, member{key, from, len(c.out)})
		more, err := c.more(',', '}')
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if !sorted {
		slices.SortFunc(members, func(a, b member) int { return slices.Compare(a.key, b.key) })
		unsorted := bytes.Clone(c.out[start:])
		c.out = c.out[:start]
		for i, m := range members {
			if i > 0 && slices.Equal(members[i-1].key, m.key) {
				return errors.New("a key is repeated")
			}
			c.out = append(c.out, unsorted[m.from-start:m.to-start]...)
		}
	}
	c.out[start] = '{'
	c.out = append(c.out, '}')
	return nil
}

// utf16Of is a quoted key in UTF-16 code units, by which RFC 8785 sorts.
func utf16Of(quoted []byte) ([]uint16, error) {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') >= 0 {
		var s string
		if err := json.Unmarshal(quoted, &s); err != nil {
			return nil, err
		}
		return utf16.Encode([]rune(s)), nil
	}
	key := make([]uint16, 0, len(inner))
	for i := 0; i < len(inner); {
		if b := inner[i]; b < utf8.RuneSelf {
			key = append(key, uint16(b))
			i++
			continue
		}
		r, n := utf8.DecodeRune(inner[i:])
		key = utf16.AppendRune(key, r)
		i += n
	}
	return key, nil
}

// text copies a string; only what RFC 8785 wants escaped stays so.
func (c *canonicalizer) text() error {
	from := c.at
	c.at++
	escaped := false
	for ; ; c.at++ {
		if c.at >= len(c.in) {
			return errJSON
		}
		if c.in[c.at] == '\\' {
			escaped = true
			c.at++
		} else if c.in[c.at] == '"' {
			break
		}
	}
	c.at++
	quoted := c.in[from:c.at]
	if !escaped {
		c.out = append(c.out, quoted...)
		return nil
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return err
	}
	c.out = append(c.out, '"')
	for i := range len(s) {
		switch b := s[i]; b {
		case '"', '\\':
			c.out = append(c.out, '\\', b)
		case '\b':
			c.out = append(c.out, `\b`...)
		case '\f':
			c.out = append(c.out, `\f`...)
		case '\n':
			c.out = append(c.out, `\n`...)
		case '\r':
			c.out = append(c.out, `\r`...)
		case '\t':
			c.out = append(c.out, `\t`...)
		default:
			if b < 0x20 {
				c.out = fmt.Appendf(c.out, `\u%04x`, b)
			} else {
				c.out = append(c.out, b)
			}
		}
	}
	c.out = append(c.out, '"')
	return nil
}
