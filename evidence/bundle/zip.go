package bundle

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Limits bound what Open unpacks from evidence.zip, whatever it claims.
type Limits struct {
	MaxZip      int64 // bytes of evidence.zip itself
	MaxFiles    int
	MaxFileSize int64 // unpacked bytes of one file
	MaxTotal    int64 // unpacked bytes of all
}

// DefaultLimits are far above what a release of a thousand objects needs.
func DefaultLimits() Limits {
	return Limits{MaxZip: 512 << 20, MaxFiles: 20_000, MaxFileSize: 256 << 20, MaxTotal: 1 << 30}
}

// zipTime is the one time that all entries have: zip's own zero, 1980-01-01.
var zipTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant of the package
	}
	return w
}}

// writeZip writes files as a deterministic zip: sorted names, zero times, no
// extra fields, no data descriptors, deflate where it helps.
func writeZip(files map[string][]byte) ([]byte, error) {
	names := make([]string, 0, len(files))
	for name := range files {
		if err := checkName(name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	var packed bytes.Buffer
	for _, name := range names {
		data := files[name]
		packed.Reset()
		d := deflaters.Get().(*flate.Writer)
		d.Reset(&packed)
		if _, err := d.Write(data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if err := d.Close(); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		deflaters.Put(d)
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(data), UncompressedSize64: uint64(len(data))}
		body := packed.Bytes()
		if len(body) >= len(data) {
			h.Method, body = zip.Store, data
		}
		h.CompressedSize64 = uint64(len(body))
		h.SetMode(0o444)
		h.ModifiedDate, h.ModifiedTime = 33, 0 // 1980-01-01 00:00:00
		f, err := w.CreateRaw(h)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := f.Write(body); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack evidence.zip: %w", err)
	}
	return out.Bytes(), nil
}

// checkName refuses names that another tool could unpack elsewhere, or that two
// systems could take for the same file.
func checkName(name string) error {
	bad := name == "" || len(name) > 512 || !utf8.ValidString(name) || path.IsAbs(name) || path.Clean(name) != name ||
		name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\:*?\"<>|")
	for _, r := range name {
		bad = bad || r < 0x20 || r == 0x7f
	}
	if bad {
		return fmt.Errorf("unsafe file name %q", name)
	}
	return nil
}

// readZip unpacks evidence.zip strictly: what writeZip could not have written is
// refused, before and while unpacking.
func readZip(raw []byte, lim Limits) (map[string][]byte, error) {
	if int64(len(raw)) > lim.MaxZip {
		return nil, fmt.Errorf("evidence.zip has %d bytes, more than the limit of %d", len(raw), lim.MaxZip)
	}
	r, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, fmt.Errorf("evidence.zip: %w", err)
	}
	if r.Comment != "" {
		return nil, errors.New("evidence.zip has a comment")
	}
	if len(r.File) > lim.MaxFiles {
		return nil, fmt.Errorf("evidence.zip holds %d files, more than the limit of %d", len(r.File), lim.MaxFiles)
	}
	files := make(map[string][]byte, len(r.File))
	folded := make(map[string]string, len(r.File))
	var total, end int64
	for _, f := range r.File {
		if err := checkEntry(f); err != nil {
			return nil, err
		}
		key := strings.ToLower(f.Name)
		if other, ok := folded[key]; ok {
			return nil, fmt.Errorf("duplicate file name: %q and %q", other, f.Name)
		}
		folded[key] = f.Name
		if f.UncompressedSize64 > uint64(lim.MaxFileSize) {
			return nil, fmt.Errorf("%s unpacks to %d bytes, more than the limit of %d", f.Name, f.UncompressedSize64, lim.MaxFileSize)
		}
		if total += int64(f.UncompressedSize64); total > lim.MaxTotal {
			return nil, fmt.Errorf("evidence.zip unpacks to more than the limit of %d bytes", lim.MaxTotal)
		}
		// Entries follow each other without gaps, in order, from the first byte on.
		if end, err = entryEnd(raw, f, end); err != nil {
			return nil, err
		}
		if files[f.Name], err = unpack(f); err != nil {
			return nil, err
		}
	}
	if int64(len(raw))-end != directorySize(r.File) {
		return nil, errors.New("evidence.zip holds bytes that belong to no file")
	}
	return files, nil
}

func checkEntry(f *zip.File) error {
	if err := checkName(f.Name); err != nil {
		return err
	}
	switch {
	case f.Mode()&^0o777 != 0:
		return fmt.Errorf("%s is not a regular file", f.Name)
	case f.Flags&^0x800 != 0: // only "the name is UTF-8"; not encrypted, no data descriptor
		return fmt.Errorf("%s has zip flags %#x, which evidence.zip never has", f.Name, f.Flags)
	case f.Method != zip.Deflate && f.Method != zip.Store:
		return fmt.Errorf("%s is packed with method %d", f.Name, f.Method)
	case len(f.Extra) > 0 || f.Comment != "":
		return fmt.Errorf("%s carries extra data in the zip", f.Name)
	}
	return nil
}

const localHeaderSize, centralHeaderSize, endSize = 30, 46, 22

// entryEnd checks that the entry's local header begins at begin and agrees with
// the directory, and returns where its data ends.
func entryEnd(raw []byte, f *zip.File, begin int64) (int64, error) {
	offset, err := f.DataOffset()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.Name, err)
	}
	want := begin + localHeaderSize + int64(len(f.Name))
	if offset != want || f.CompressedSize64 > uint64(len(raw)) || offset+int64(f.CompressedSize64) > int64(len(raw)) {
		return 0, fmt.Errorf("%s: entries overlap or have gaps", f.Name)
	}
	h := raw[begin:offset]
	if string(h[localHeaderSize:]) != f.Name || binary.LittleEndian.Uint16(h[8:]) != f.Method ||
		binary.LittleEndian.Uint32(h[14:]) != f.CRC32 || uint64(binary.LittleEndian.Uint32(h[18:])) != f.CompressedSize64 ||
		uint64(binary.LittleEndian.Uint32(h[22:])) != f.UncompressedSize64 {
		return 0, fmt.Errorf("%s: its header and the zip's directory disagree", f.Name)
	}
	return offset + int64(f.CompressedSize64), nil
}

func directorySize(files []*zip.File) int64 {
	n := int64(endSize)
	for _, f := range files {
		n += centralHeaderSize + int64(len(f.Name))
	}
	return n
}

func unpack(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", f.Name, err)
	}
	defer r.Close()
	var b bytes.Buffer
	b.Grow(int(min(f.UncompressedSize64, 1<<20)))
	// One byte more than claimed shows an entry that claims too little; the
	// reader checks size and CRC at the end.
	n, err := io.Copy(&b, io.LimitReader(r, int64(f.UncompressedSize64)+1))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", f.Name, err)
	}
	if uint64(n) != f.UncompressedSize64 {
		return nil, fmt.Errorf("unpack %s: %d bytes, the zip says %d", f.Name, n, f.UncompressedSize64)
	}
	return b.Bytes(), nil
}
