// Package sqlite reads one table of an SQLite database, as far as the package
// database of RPM needs it: every row of a table of two columns, a number that is
// the row's id and a blob. A whole SQLite is a twentieth of what the program
// would be compiled from.
//
// The format is described at https://www.sqlite.org/fileformat2.html.
package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

const (
	magic      = "SQLite format 3\x00"
	headerSize = 100

	interiorPage = 5 // of a table's tree
	leafPage     = 13

	utf8 = 1

	// maxDepth is more than the deepest tree that fits in a database.
	maxDepth = 40

	maxRow = 1 << 30 // bytes of one row, which is SQLite's own limit
)

// database reads each page once: what a page holds twice is no tree.
type database struct {
	r     io.ReaderAt
	page  int // size of a page
	use   int // of it, without what extensions reserve
	pages uint32
	seen  map[uint32]struct{}
}

// Blobs returns the second column of every row of a table, in the order of the
// rows. Anything that is not as expected is an error: no row is left out.
func Blobs(r io.ReaderAt, size int64, table string) ([][]byte, error) {
	db, err := open(r, size)
	if err != nil {
		return nil, err
	}
	root, err := db.root(table)
	if err != nil {
		return nil, err
	}
	var blobs [][]byte
	var total int64
	err = db.walk(root, 0, func(row []byte) error {
		columns, err := parse(row)
		if err != nil {
			return err
		}
		if len(columns) != 2 || columns[0].kind != 0 {
			return fmt.Errorf("table %s: want two columns, a row id and a blob", table)
		}
		if columns[1].kind < 12 {
			return fmt.Errorf("table %s: want a blob, have a number or NULL", table)
		}
		if total += int64(len(columns[1].data)); total > size {
			return fmt.Errorf("table %s: rows are in the same place", table)
		}
		blobs = append(blobs, columns[1].data)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return blobs, nil
}

func open(r io.ReaderAt, size int64) (*database, error) {
	var h [headerSize]byte
	if _, err := r.ReadAt(h[:], 0); err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	if string(h[:len(magic)]) != magic {
		return nil, errors.New("not an SQLite database")
	}
	page := int(binary.BigEndian.Uint16(h[16:]))
	if page == 1 {
		page = 1 << 16
	}
	use := page - int(h[20])
	switch encoding := binary.BigEndian.Uint32(h[56:]); {
	case page < 512 || page&(page-1) != 0 || use < 480:
		return nil, fmt.Errorf("pages of %d bytes, of which %d are used", page, use)
	case h[19] > 2:
		return nil, fmt.Errorf("version %d of the format", h[19])
	case encoding > utf8: // 0: nothing was written yet
		return nil, fmt.Errorf("text encoding %d", encoding)
	}
	n := size / int64(page)
	if n < 1 || n > math.MaxUint32-1 {
		return nil, fmt.Errorf("%d bytes, in pages of %d", size, page)
	}
	return &database{r: r, page: page, use: use, pages: uint32(n), seen: map[uint32]struct{}{}}, nil
}

// read returns the used part of a page.
func (db *database) read(n uint32) ([]byte, error) {
	if n == 0 || n > db.pages {
		return nil, fmt.Errorf("page %d of %d", n, db.pages)
	}
	if _, ok := db.seen[n]; ok {
		return nil, fmt.Errorf("page %d is in use twice", n)
	}
	db.seen[n] = struct{}{}
	b := make([]byte, db.use)
	if _, err := db.r.ReadAt(b, int64(n-1)*int64(db.page)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", n, err)
	}
	return b, nil
}

// root looks the table up in the schema, whose own root is page 1.
func (db *database) root(table string) (uint32, error) {
	var root int64
	err := db.walk(1, 0, func(row []byte) error {
		c, err := parse(row)
		if err != nil {
			return err
		}
		if len(c) != 5 {
			return fmt.Errorf("the schema has %d columns", len(c))
		}
		if string(c[0].data) == "table" && strings.EqualFold(string(c[1].data), table) {
			root = c[3].number()
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case root <= 1 || root > int64(db.pages):
		return 0, fmt.Errorf("no such table: %s", table)
	}
	return uint32(root), nil
}

// walk calls f with every row of the tree under a page, in order.
func (db *database) walk(n uint32, depth int, f func(row []byte) error) error {
	if depth > maxDepth {
		return errors.New("the tree has no end")
	}
	p, err := db.read(n)
	if err != nil {
		return err
	}
	start := 0
	if n == 1 {
		start = headerSize
	}
	kind, cells, pointers := p[start], int(binary.BigEndian.Uint16(p[start+3:])), start+8
	if kind == interiorPage {
		pointers += 4 // of the rightmost child
	} else if kind != leafPage {
		return fmt.Errorf("page %d: type %d is none of a table", n, kind)
	}
	if pointers+2*cells > len(p) {
		return fmt.Errorf("page %d: %d cells", n, cells)
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(p[pointers+2*i:]))
		if at+4 > len(p) {
			return fmt.Errorf("page %d: cell %d is outside", n, i)
		}
		if kind == interiorPage {
			if err := db.walk(binary.BigEndian.Uint32(p[at:]), depth+1, f); err != nil {
				return err
			}
			continue
		}
		row, err := db.row(p[at:])
		if err == nil {
			err = f(row)
		}
		if err != nil {
			return fmt.Errorf("page %d, cell %d: %w", n, i, err)
		}
	}
	if kind == interiorPage {
		return db.walk(binary.BigEndian.Uint32(p[start+8:]), depth+1, f)
	}
	return nil
}

var errShort = errors.New("it ends too early")

// row returns the payload of a leaf's cell: what is in the page, and in the chain
// of pages that hold the rest.
func (db *database) row(cell []byte) ([]byte, error) {
	length, cell, ok := varint(cell)
	if !ok || length > maxRow || length > uint64(db.pages)*uint64(db.page) {
		return nil, errShort
	}
	if _, cell, ok = varint(cell); !ok { // the row's id
		return nil, errShort
	}
	local, size := int(length), int(length)
	if most := db.use - 35; size > most {
		least := (db.use-12)*32/255 - 23
		if local = least + (size-least)%(db.use-4); local > most {
			local = least
		}
	}
	if local == size {
		if len(cell) < local {
			return nil, errShort
		}
		return cell[:local], nil
	}
	if len(cell) < local+4 {
		return nil, errShort
	}
	row := append(make([]byte, 0, size), cell[:local]...)
	next := binary.BigEndian.Uint32(cell[local:])
	for len(row) < size {
		p, err := db.read(next)
		if err != nil {
			return nil, err
		}
		next = binary.BigEndian.Uint32(p)
		row = append(row, p[4:4+min(len(p)-4, size-len(row))]...)
	}
	return row, nil
}

// column is a value with its serial type.
type column struct {
	kind uint64
	data []byte
}

// number is the value of an integer.
func (c column) number() int64 {
	switch c.kind {
	case 9:
		return 1
	case 1, 2, 3, 4, 5, 6:
		n := int64(int8(c.data[0]))
		for _, b := range c.data[1:] {
			n = n<<8 | int64(b)
		}
		return n
	}
	return 0
}

// parse splits a row into its columns.
func parse(row []byte) ([]column, error) {
	n, kinds, ok := varint(row)
	if !ok || n > uint64(len(row)) || n < uint64(len(row)-len(kinds)) {
		return nil, errShort
	}
	kinds, data := row[len(row)-len(kinds):n], row[n:]
	var columns []column
	for len(kinds) > 0 {
		var c column
		if c.kind, kinds, ok = varint(kinds); !ok {
			return nil, errShort
		}
		size := uint64(0)
		switch c.kind {
		case 0, 8, 9:
		case 1, 2, 3, 4:
			size = c.kind
		case 5:
			size = 6
		case 6, 7:
			size = 8
		case 10, 11:
			return nil, fmt.Errorf("a value of type %d", c.kind)
		default:
			size = (c.kind - 12) / 2
		}
		if size > uint64(len(data)) {
			return nil, errShort
		}
		c.data, data = data[:size], data[size:]
		columns = append(columns, c)
	}
	return columns, nil
}

// varint reads a number of one to nine bytes: seven bits in each, all of the ninth.
func varint(b []byte) (n uint64, rest []byte, ok bool) {
	for i, c := range b {
		if i == 8 {
			return n<<8 | uint64(c), b[i+1:], true
		}
		n = n<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}
