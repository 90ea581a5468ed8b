package manifest

import (
	"bytes"
	"strconv"
	"strings"
)

// FieldLines finds a field in the text of one YAML document without parsing all of it:
// the lines (counted from 0) on which its key, or the item of a list, starts and ends, and
// how many of the steps of path lead there. What is written in flow style, or cannot be
// told from the indentation, ends the search at what holds it.
func FieldLines(lines [][]byte, path []string) (from, to, steps int) {
	b := block{lines: lines, to: len(lines)}
	b.from = b.next(0)
	if b.from == b.to {
		return 0, 0, 0
	}
	b.indent = indentOf(lines[b.from])
	from, to = b.from, lastLine(lines, b.from, b.to)
	for i, step := range path {
		n, err := strconv.Atoi(step)
		var child block
		var at, end int
		var ok bool
		if err == nil && b.isList() {
			child, at, end, ok = b.item(n)
		} else {
			child, at, end, ok = b.key(step)
		}
		if !ok {
			return from, to, i
		}
		b, from, to = child, at, lastLine(lines, at, end)
	}
	return from, to, len(path)
}

// block is a mapping or a list in block style: lines from to (exclusive) to, its keys or
// dashes in column indent. The first line may start inside of a list's item.
type block struct {
	lines    [][]byte
	from, to int
	indent   int
}

// next is the first line from i on that holds more than a comment.
func (b *block) next(i int) int {
	for ; i < b.to; i++ {
		if t := bytes.TrimSpace(b.lines[i]); len(t) > 0 && t[0] != '#' {
			return i
		}
	}
	return b.to
}

// lastLine is the last of the lines from to (exclusive) to that holds more than a comment.
func lastLine(lines [][]byte, from, to int) int {
	for i := to - 1; i > from; i-- {
		if t := bytes.TrimSpace(lines[i]); len(t) > 0 && t[0] != '#' {
			return i
		}
	}
	return from
}

// text is a line without what stands before the block's column.
func (b *block) text(i int) []byte {
	l := bytes.TrimRight(b.lines[i], "\r\n ")
	if len(l) <= b.indent {
		return nil
	}
	return l[b.indent:]
}

func (b *block) isList() bool {
	return b.from < b.to && isDash(b.text(b.from))
}

func isDash(t []byte) bool { return len(t) > 0 && t[0] == '-' && (len(t) == 1 || t[1] == ' ') }

// starts reports whether an entry of the block starts in a line.
func (b *block) starts(i int) bool {
	return i == b.from || indentOf(b.lines[i]) == b.indent
}

// entries calls visit with the lines of each entry until it returns false.
func (b *block) entries(visit func(from, to int) bool) {
	list := b.isList()
	for i := b.from; i < b.to; {
		end := b.next(i + 1)
		for end < b.to && (!b.starts(end) || !list && isDash(b.text(end))) {
			end = b.next(end + 1)
		}
		if !visit(i, end) {
			return
		}
		i = end
	}
}

func (b *block) item(n int) (child block, at, end int, ok bool) {
	b.entries(func(from, to int) bool {
		if !isDash(b.text(from)) {
			return false
		}
		if n--; n >= 0 {
			return true
		}
		rest := bytes.TrimLeft(b.text(from)[1:], " ")
		at, end, ok = from, to, true
		child = block{lines: b.lines, from: from, to: to, indent: len(bytes.TrimRight(b.lines[from], "\r\n ")) - len(rest)}
		if len(rest) == 0 || rest[0] == '#' { // the item starts on a line of its own
			if child.from = child.next(from + 1); child.from < to {
				child.indent = indentOf(b.lines[child.from])
			}
		}
		return false
	})
	return child, at, end, ok
}

func (b *block) key(name string) (child block, at, end int, ok bool) {
	if b.from >= b.to || b.isList() {
		return child, 0, 0, false
	}
	b.entries(func(from, to int) bool {
		value, found := valueOf(b.text(from), name)
		if !found {
			return true
		}
		at, end, ok = from, to, true
		child = block{lines: b.lines, from: to, to: to} // below a scalar there is nothing
		if len(value) > 0 && value[0] != '#' {
			return false
		}
		c := block{lines: b.lines, to: to}
		if c.from = c.next(from + 1); c.from < to {
			c.indent = indentOf(b.lines[c.from])
			child = c
		}
		return false
	})
	return child, at, end, ok
}

// valueOf returns what follows "name:" in a line that starts so.
func valueOf(line []byte, name string) ([]byte, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(name))
	if !ok {
		for _, q := range []string{`"`, `'`} {
			if rest, ok = bytes.CutPrefix(line, []byte(q+name+q)); ok {
				break
			}
		}
	}
	rest = bytes.TrimLeft(rest, " ")
	if !ok || len(rest) == 0 || rest[0] != ':' || len(rest) > 1 && rest[1] != ' ' {
		return nil, false
	}
	return bytes.TrimLeft(rest[1:], " "), true
}

func indentOf(line []byte) int { return len(line) - len(bytes.TrimLeft(line, " ")) }

// Indent is how many spaces a line starts with.
func Indent(line []byte) int { return indentOf(line) }

// FieldPath writes a path as people do: spec.containers[0].image, and in brackets what
// holds more than a name.
func FieldPath(path []string) string {
	var b strings.Builder
	for _, step := range path {
		switch _, err := strconv.Atoi(step); {
		case err == nil:
			b.WriteString("[" + step + "]")
		case strings.ContainsAny(step, `./[]" `):
			b.WriteString("[" + strconv.Quote(step) + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}
