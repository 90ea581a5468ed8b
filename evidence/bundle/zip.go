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
		method, body := zip.Deflate, packed.Bytes()
		if len(body) >= len(data) {
			method, body = zip.Store, data
		}
		if err := writeEntry(w, name, method, crc32.ChecksumIEEE(data), uint64(len(data)), body); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack evidence.zip: %w", err)
	}
	return out.Bytes(), nil
}

// writeEntry writes one file, packed already, with the only header that evidence.zip has.
func writeEntry(w *zip.Writer, name string, method uint16, crc uint32, size uint64, body []byte) error {
	h := &zip.FileHeader{Name: name, Method: method, CRC32: crc, UncompressedSize64: size, CompressedSize64: uint64(len(body))}
	h.CreatorVersion, h.ReaderVersion = zipVersion, zipVersion
	h.SetMode(0o444)
	h.ModifiedDate, h.ModifiedTime = 33, 0 // 1980-01-01 00:00:00, zip's own zero
	if !isASCII(name) {
		h.Flags = flagUTF8
	}
	f, err := w.CreateRaw(h)
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if _, err := f.Write(body); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return nil
}

const (
	zipVersion = 20    // 2.0: deflate, and nothing newer
	flagUTF8   = 0x800 // the name is UTF-8
)

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// checkName refuses names that another tool could unpack elsewhere, or that two
// systems could take for the same file.
func checkName(name string) error {
	bad := name == "" || len(name) > maxNameLen || !utf8.ValidString(name) || path.IsAbs(name) || path.Clean(name) != name ||
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
	if err := checkEnd(raw, lim); err != nil {
		return nil, err
	}
	r, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, fmt.Errorf("evidence.zip: %w", err)
	}
	if len(r.File) > lim.MaxFiles {
		return nil, fmt.Errorf("evidence.zip holds %d files, more than the limit of %d", len(r.File), lim.MaxFiles)
	}
	files := make(map[string][]byte, len(r.File))
	bodies := make([][]byte, len(r.File))
	if err := checkNames(r.File); err != nil {
		return nil, err
	}
	var total, end int64
	for i, f := range r.File {
		if err := checkEntry(f); err != nil {
			return nil, err
		}
		if f.UncompressedSize64 > uint64(lim.MaxFileSize) {
			return nil, fmt.Errorf("%s unpacks to %d bytes, more than the limit of %d", f.Name, f.UncompressedSize64, lim.MaxFileSize)
		}
		if total += int64(f.UncompressedSize64); total > lim.MaxTotal {
			return nil, fmt.Errorf("evidence.zip unpacks to more than the limit of %d bytes", lim.MaxTotal)
		}
		// Entries follow each other without gaps, in order, from the first byte on.
		begin := end
		if end, err = entryEnd(raw, f, begin); err != nil {
			return nil, err
		}
		bodies[i] = raw[end-int64(f.CompressedSize64) : end]
	}
	if int64(len(raw))-end != directorySize(r.File) {
		return nil, errors.New("evidence.zip holds bytes that belong to no file")
	}
	if err := checkLayout(raw, r.File, bodies); err != nil {
		return nil, err
	}
	for i, f := range r.File {
		if files[f.Name], err = unpack(f, bodies[i]); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// checkEnd looks at the zip's last record before the directory is read into
// memory: it must end the file, and claim no more entries than the limit.
func checkEnd(raw []byte, lim Limits) error {
	if len(raw) < endSize {
		return errors.New("evidence.zip is too short for a zip")
	}
	e := raw[len(raw)-endSize:]
	size, offset := int64(binary.LittleEndian.Uint32(e[12:])), int64(binary.LittleEndian.Uint32(e[16:]))
	count := int(binary.LittleEndian.Uint16(e[10:]))
	switch {
	case string(e[:4]) != endMark:
		return errors.New("evidence.zip does not end as a zip without a comment does")
	case count > lim.MaxFiles || size > int64(lim.MaxFiles)*(centralHeaderSize+maxNameLen):
		return fmt.Errorf("evidence.zip holds %d files, more than the limit of %d", count, lim.MaxFiles)
	case offset+size != int64(len(raw)-endSize):
		return errors.New("evidence.zip holds bytes that belong to no file")
	}
	return nil
}

// checkNames refuses names that one file system or another takes for the same,
// and a file that is another one's folder.
func checkNames(files []*zip.File) error {
	folded := make(map[string]string, len(files))
	for i, f := range files {
		key := strings.ToLower(f.Name)
		if other, ok := folded[key]; ok {
			return fmt.Errorf("duplicate file name: %q and %q", other, f.Name)
		}
		folded[key] = f.Name
		if i > 0 && files[i-1].Name > f.Name {
			return fmt.Errorf("%s stands after %s: evidence.zip is sorted by name", f.Name, files[i-1].Name)
		}
	}
	for key, name := range folded {
		for dir := path.Dir(key); dir != "." && dir != "/"; dir = path.Dir(dir) {
			if other, ok := folded[dir]; ok {
				return fmt.Errorf("duplicate file name: %q is a file and the folder of %q", other, name)
			}
		}
	}
	return nil
}

// checkLayout holds that all that is not packed data, in both headers of each
// entry, is what writeZip writes: nothing is hidden in a field that readers skip,
// and no two readers see different files.
func checkLayout(raw []byte, files []*zip.File, bodies [][]byte) error {
	var again bytes.Buffer
	again.Grow(len(raw))
	w := zip.NewWriter(&again)
	for i, f := range files {
		if err := writeEntry(w, f.Name, f.Method, f.CRC32, f.UncompressedSize64, bodies[i]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("evidence.zip: %w", err)
	}
	if !bytes.Equal(raw, again.Bytes()) {
		return errors.New("evidence.zip is not laid out as helmproof writes it")
	}
	return nil
}

func checkEntry(f *zip.File) error {
	if err := checkName(f.Name); err != nil {
		return err
	}
	switch {
	case f.Mode()&^0o777 != 0:
		return fmt.Errorf("%s is not a regular file", f.Name)
	case f.Flags&^flagUTF8 != 0: // not encrypted, no data descriptor
		return fmt.Errorf("%s has zip flags %#x, which evidence.zip never has", f.Name, f.Flags)
	case f.Method != zip.Deflate && f.Method != zip.Store:
		return fmt.Errorf("%s is packed with method %d", f.Name, f.Method)
	case len(f.Extra) > 0 || f.Comment != "":
		return fmt.Errorf("%s carries extra data in the zip", f.Name)
	}
	return nil
}

const (
	localHeaderSize, centralHeaderSize, endSize = 30, 46, 22

	endMark = "PK\x05\x06" // begins the last record

	maxNameLen = 512 // bytes of a file's name
)

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
	if string(h[localHeaderSize:]) != f.Name || binary.LittleEndian.Uint16(h[6:]) != f.Flags || binary.LittleEndian.Uint16(h[8:]) != f.Method ||
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

// unpack returns the file's content: exactly as many bytes as the zip says, with
// its CRC, from all of body.
func unpack(f *zip.File, body []byte) ([]byte, error) {
	data := body
	if f.Method == zip.Deflate {
		var b bytes.Buffer
		b.Grow(int(min(f.UncompressedSize64, 1<<20))) // what the zip says is not believed further
		in := bytes.NewReader(body)
		// One byte more than claimed shows an entry that claims too little.
		if _, err := io.Copy(&b, io.LimitReader(flate.NewReader(in), int64(f.UncompressedSize64)+1)); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", f.Name, err)
		}
		if data = b.Bytes(); uint64(len(data)) <= f.UncompressedSize64 && in.Len() > 0 {
			return nil, fmt.Errorf("unpack %s: %d bytes follow the packed data", f.Name, in.Len())
		}
	}
	switch {
	case uint64(len(data)) > f.UncompressedSize64:
		return nil, fmt.Errorf("unpack %s: more than the %d bytes that the zip says", f.Name, f.UncompressedSize64)
	case uint64(len(data)) < f.UncompressedSize64:
		return nil, fmt.Errorf("unpack %s: %d bytes, the zip says %d", f.Name, len(data), f.UncompressedSize64)
	case crc32.ChecksumIEEE(data) != f.CRC32:
		return nil, fmt.Errorf("unpack %s: its checksum is not the one that the zip says", f.Name)
	}
	return data, nil
}
