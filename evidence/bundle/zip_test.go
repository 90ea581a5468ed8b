package bundle_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
)

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// entry is one file of a zip that is made by hand.
type entry struct {
	zip.FileHeader
	body []byte // as packed
}

// entries takes evidence.zip apart.
func entries(t testing.TB, raw []byte) []entry {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	var out []entry
	for _, f := range r.File {
		offset, err := f.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, entry{f.FileHeader, raw[offset : offset+int64(f.CompressedSize64)]})
	}
	return out
}

func build(t testing.TB, comment string, list []entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range list {
		h := e.FileHeader
		f, err := w.CreateRaw(&h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.SetComment(comment); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// stored is a file that is not compressed.
func stored(name, content string) entry {
	h := zip.FileHeader{Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE([]byte(content)),
		CompressedSize64: uint64(len(content)), UncompressedSize64: uint64(len(content)),
		CreatorVersion: 20, ReaderVersion: 20, ModifiedDate: 33}
	h.SetMode(0o444)
	return entry{h, []byte(content)}
}

func deflated(t testing.TB, name, content string) entry {
	t.Helper()
	e := stored(name, content)
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	e.Method, e.body, e.CompressedSize64 = zip.Deflate, b.Bytes(), uint64(b.Len())
	return e
}

func sorted(list []entry) []entry {
	slices.SortStableFunc(list, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func TestPack(t *testing.T) {
	t.Parallel()
	want := pack(t, contents(t, "api"))
	for range 20 { // map order differs from run to run
		if got := pack(t, contents(t, "api")); !bytes.Equal(got, want) {
			t.Fatal("the same contents gave other bytes")
		}
	}
	if bytes.Equal(pack(t, contents(t, "web")), want) {
		t.Error("other contents gave the same bytes")
	}
	if again := build(t, "", entries(t, want)); !bytes.Equal(again, want) {
		t.Error("the hand-made zips of these tests differ from Pack's in more than what they test")
	}
	for name, reason := range map[string]string{
		"release/x": "artifacts live under artifacts/", "artifacts/../x": "unsafe file name", "artifacts//x": "unsafe file name",
		"artifacts/": "unsafe file name", "artifacts/a\x00": "unsafe file name", "artifacts/C:x": "unsafe file name",
	} {
		c := contents(t, "api")
		c.Files[name] = []byte("x")
		_, err := bundle.Pack(c)
		wantError(t, err, reason)
	}
}

func wantError(t testing.TB, err error, reason string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", reason)
	}
	if !strings.Contains(err.Error(), reason) {
		t.Errorf("error %q, want it to say %q", err, reason)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	c := contents(t, "api")
	c.Files["artifacts/lines/empty"] = nil
	c.Files["artifacts/lines/größe.txt"] = []byte(strings.Repeat("wiederholt ", 1000))
	raw := pack(t, c)
	b, err := bundle.Open(raw, bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if b.ID() != evidence.DigestOf(raw) {
		t.Errorf("ID = %s", b.ID())
	}
	again := &bundle.Contents{
		Files: map[string][]byte{bundle.ProfileFile: b.Profile(), bundle.CatalogFile: b.Catalog(), bundle.WaiversFile: b.Waivers()},
		Runs:  *b.Runs(), Findings: b.Findings(), Verdict: *b.Verdict(), Inputs: b.Inputs(),
	}
	for _, name := range b.Names() {
		content, err := b.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		again.Files[name] = content
		if !bytes.Equal(content, c.Files[name]) {
			t.Errorf("%s = %q, want %q", name, content, c.Files[name])
		}
	}
	if len(again.Files) != len(c.Files) {
		t.Errorf("%d files, want %d", len(again.Files), len(c.Files))
	}
	if !bytes.Equal(pack(t, again), raw) {
		t.Error("packing what was opened gave other bytes")
	}
	if !slices.IsSorted(b.Names()) {
		t.Errorf("names %v are not sorted", b.Names())
	}
	for _, derived := range []string{"findings.json", "verdict.json", "runs.json", "profile.yaml", "no/such/file"} {
		if _, err := b.Read(derived); err == nil {
			t.Errorf("%s can be read where findings are derived from", derived)
		}
	}
}

// Go's zip reader finds a zip's end by searching backwards; these tests change
// bytes at these places.
const (
	localHeader   = 30
	centralHeader = 46
	endRecord     = 22
)

func u16(b []byte, at int, v uint16) { binary.LittleEndian.PutUint16(b[at:], v) }
func u32(b []byte, at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }

func directory(raw []byte) int {
	return int(binary.LittleEndian.Uint32(raw[len(raw)-endRecord+16:]))
}

func TestOpenRefusesZips(t *testing.T) {
	t.Parallel()
	good := pack(t, contents(t, "api"))
	with := func(more ...entry) []byte { return build(t, "", sorted(append(entries(t, good), more...))) }
	changed := func(change func(e *entry)) []byte {
		e := stored("artifacts/x", "some content")
		change(&e)
		return with(e)
	}
	surgery := func(cut func(b []byte) []byte) []byte { return cut(bytes.Clone(good)) }
	first := entries(t, good)[0]

	// Two entries of the directory that share one local entry.
	overlapping := func() []byte {
		raw := with(stored("artifacts/x", "1"), stored("artifacts/y", "1"))
		at := bytes.Index(raw[directory(raw):], []byte("artifacts/y")) + directory(raw)
		x := bytes.Index(raw, []byte("artifacts/x")) - localHeader
		u32(raw, at-centralHeader+42, uint32(x))
		return raw
	}
	// The zip's end claims one file; its directory has as many as 16 bits cannot tell from one.
	wrapping := func() []byte {
		one := build(t, "", []entry{stored("a", "1")})
		dir, end := directory(one), len(one)-endRecord
		raw := slices.Concat(one[:dir], bytes.Repeat(one[dir:end], 1<<16+1), one[end:])
		u32(raw, len(raw)-endRecord+12, uint32((1<<16+1)*(end-dir)))
		return raw
	}
	limits := func(change func(*bundle.Limits)) bundle.Limits {
		l := bundle.DefaultLimits()
		change(&l)
		return l
	}
	for name, tt := range map[string]struct {
		raw    []byte
		lim    bundle.Limits
		reason string
	}{
		"empty":         {raw: nil, reason: "too short for a zip"},
		"no zip":        {raw: bytes.Repeat([]byte("x"), 100), reason: "does not end as a zip"},
		"empty zip":     {raw: build(t, "", nil), reason: "lacks release.json"},
		"truncated":     {raw: good[:len(good)-1], reason: "does not end as a zip"},
		"trailing byte": {raw: append(bytes.Clone(good), 0), reason: "does not end as a zip"},
		"comment":       {raw: build(t, "hello", entries(t, good)), reason: "does not end as a zip without a comment"},
		"prefix":        {raw: append([]byte("MZ"), good...), reason: "bytes that belong to no file"},
		"prefix, offset adjusted": {raw: surgery(func(b []byte) []byte {
			b = append([]byte("MZ"), b...)
			dir := directory(b) + 2
			u32(b, len(b)-endRecord+16, uint32(dir))
			for at := dir; at < len(b)-endRecord; {
				u32(b, at+42, binary.LittleEndian.Uint32(b[at+42:])+2)
				at += centralHeader + int(binary.LittleEndian.Uint16(b[at+28:]))
			}
			return b
		}), reason: "overlap or have gaps"},
		"gap before the directory": {raw: surgery(func(b []byte) []byte {
			dir := directory(b)
			b = slices.Insert(b, dir, 'x')
			u32(b, len(b)-endRecord+16, uint32(dir+1))
			return b
		}), reason: "bytes that belong to no file"},
		"overlapping entries": {raw: overlapping(), reason: "overlap or have gaps"},

		"same name twice":       {raw: with(stored("artifacts/x", "1"), stored("artifacts/x", "2")), reason: `duplicate file name: "artifacts/x" and "artifacts/x"`},
		"same name, other case": {raw: with(stored("artifacts/X", "1"), stored("artifacts/x", "2")), reason: `duplicate file name: "artifacts/X" and "artifacts/x"`},
		"file and folder":       {raw: with(stored("artifacts/x", "1"), stored("artifacts/x/y", "2")), reason: `"artifacts/x" is a file and the folder of "artifacts/x/y"`},
		"not sorted":            {raw: build(t, "", append(entries(t, good), stored("artifacts/x", "1"))), reason: "sorted by name"},
		"parent":                {raw: with(stored("artifacts/../../x", "1")), reason: "unsafe file name"},
		"leading parent":        {raw: with(stored("../x", "1")), reason: "unsafe file name"},
		"absolute":              {raw: with(stored("/artifacts/x", "1")), reason: "unsafe file name"},
		"backslash":             {raw: with(stored(`artifacts\x`, "1")), reason: "unsafe file name"},
		"NUL":                   {raw: with(stored("artifacts/x\x00.txt", "1")), reason: "unsafe file name"},
		"colon":                 {raw: with(stored("artifacts/C:x", "1")), reason: "unsafe file name"},
		"no UTF-8":              {raw: with(stored("artifacts/\xff", "1")), reason: "unsafe file name"},
		"long name":             {raw: with(stored("artifacts/"+strings.Repeat("x", 513), "1")), reason: "unsafe file name"},
		"empty name":            {raw: with(stored("", "1")), reason: "unsafe file name"},
		"folder":                {raw: with(stored("artifacts/dir/", "")), reason: "unsafe file name"},
		"folder by its mode":    {raw: changed(func(e *entry) { e.SetMode(os.ModeDir | 0o755) }), reason: "not a regular file"},
		"symbolic link":         {raw: changed(func(e *entry) { e.SetMode(os.ModeSymlink | 0o777) }), reason: "artifacts/x is not a regular file"},
		"set-uid":               {raw: changed(func(e *entry) { e.SetMode(os.ModeSetuid | 0o755) }), reason: "artifacts/x is not a regular file"},
		"executable":            {raw: changed(func(e *entry) { e.SetMode(0o755) }), reason: "not laid out as helmproof writes it"},
		"other time":            {raw: changed(func(e *entry) { e.ModifiedTime = 7 }), reason: "not laid out as helmproof writes it"},
		"encrypted":             {raw: changed(func(e *entry) { e.Flags = 1 }), reason: "artifacts/x has zip flags 0x1"},
		"data descriptor":       {raw: changed(func(e *entry) { e.Flags = 8 }), reason: "artifacts/x has zip flags 0x8"},
		"needless UTF-8 flag":   {raw: changed(func(e *entry) { e.Flags = 0x800 }), reason: "not laid out as helmproof writes it"},
		"other method":          {raw: changed(func(e *entry) { e.Method = 12 }), reason: "packed with method 12"},
		"extra field":           {raw: changed(func(e *entry) { e.Extra = []byte{0xfe, 0xca, 1, 0, 'x'} }), reason: "artifacts/x carries extra data"},
		"entry comment":         {raw: changed(func(e *entry) { e.Comment = "hello" }), reason: "artifacts/x carries extra data"},
		"wrong CRC":             {raw: changed(func(e *entry) { e.CRC32++ }), reason: "unpack artifacts/x: its checksum is not"},
		"claims too little":     {raw: changed(func(e *entry) { e.UncompressedSize64-- }), reason: "unpack artifacts/x: more than the 11 bytes"},
		"claims too much":       {raw: changed(func(e *entry) { e.UncompressedSize64++ }), reason: "unpack artifacts/x: 12 bytes, the zip says 13"},
		"deflated, claims too little": {raw: changed(func(e *entry) {
			*e = deflated(t, e.Name, strings.Repeat("a", 1000))
			e.UncompressedSize64 = 10
		}), reason: "unpack artifacts/x: more than the 10 bytes"},
		"deflated, claims too much": {raw: changed(func(e *entry) {
			*e = deflated(t, e.Name, strings.Repeat("a", 1000))
			e.UncompressedSize64++
		}), reason: "unpack artifacts/x: 1000 bytes, the zip says 1001"},
		"bytes after the packed data": {raw: changed(func(e *entry) {
			*e = deflated(t, e.Name, strings.Repeat("a", 1000))
			e.body = append(e.body, "hidden"...)
			e.CompressedSize64 += 6
		}), reason: "unpack artifacts/x: 6 bytes follow the packed data"},
		"broken deflate": {raw: changed(func(e *entry) { e.Method = zip.Deflate }), reason: "unpack artifacts/x: flate"},

		"header: other name":        {raw: surgery(func(b []byte) []byte { b[localHeader]++; return b }), reason: "header and the zip's directory disagree"},
		"header: other method":      {raw: surgery(func(b []byte) []byte { u16(b, 8, first.Method^8); return b }), reason: "header and the zip's directory disagree"},
		"header: encrypted":         {raw: surgery(func(b []byte) []byte { u16(b, 6, 1); return b }), reason: "header and the zip's directory disagree"},
		"header: other CRC":         {raw: surgery(func(b []byte) []byte { b[14]++; return b }), reason: "header and the zip's directory disagree"},
		"header: other size":        {raw: surgery(func(b []byte) []byte { b[22]++; return b }), reason: "header and the zip's directory disagree"},
		"header: other packed size": {raw: surgery(func(b []byte) []byte { b[18]++; return b }), reason: "header and the zip's directory disagree"},
		"header: other time":        {raw: surgery(func(b []byte) []byte { b[10]++; return b }), reason: "not laid out as helmproof writes it"},
		"header: shorter name and extra": {raw: surgery(func(b []byte) []byte {
			u16(b, 26, uint16(len(first.Name)-2))
			u16(b, 28, 2)
			return b
		}), reason: "not laid out as helmproof writes it"},
		"header: other name length":            {raw: surgery(func(b []byte) []byte { b[26]++; return b }), reason: "overlap or have gaps"},
		"directory: other internal attributes": {raw: surgery(func(b []byte) []byte { b[directory(b)+36]++; return b }), reason: "not laid out as helmproof writes it"},
		"end: other disk":                      {raw: surgery(func(b []byte) []byte { b[len(b)-endRecord+4]++; return b }), reason: "evidence.zip"},

		"limit: the zip itself": {good, limits(func(l *bundle.Limits) { l.MaxZip = int64(len(good)) - 1 }), "more than the limit of"},
		"limit: one file": {with(deflated(t, "artifacts/bomb", strings.Repeat("\x00", 1<<20))), limits(func(l *bundle.Limits) { l.MaxFileSize = 1<<20 - 1 }),
			"artifacts/bomb unpacks to 1048576 bytes, more than the limit of 1048575"},
		"limit: all files": {with(deflated(t, "artifacts/bomb1", strings.Repeat("\x00", 1<<20)), deflated(t, "artifacts/bomb2", strings.Repeat("\x00", 1<<20))),
			limits(func(l *bundle.Limits) { l.MaxTotal = 2 << 20 }), "evidence.zip unpacks to more than the limit of 2097152 bytes"},
		"limit: count": {good, limits(func(l *bundle.Limits) { l.MaxFiles = len(entries(t, good)) - 1 }), "more than the limit of"},
		"limit: claimed count": {raw: surgery(func(b []byte) []byte { u16(b, len(b)-endRecord+10, 65535); return b }),
			reason: "holds 65535 files, more than the limit of 20000"},
		"limit: count that wraps around": {raw: wrapping(), reason: "holds 65537 files, more than the limit of 20000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.lim == (bundle.Limits{}) {
				tt.lim = bundle.DefaultLimits()
			}
			b, err := bundle.Open(tt.raw, tt.lim)
			if b != nil {
				t.Error("refused, and yet returned")
			}
			wantError(t, err, tt.reason)
		})
	}
}

// Every byte of evidence.zip counts, even without a signature.
func TestOpenEveryByte(t *testing.T) {
	t.Parallel()
	raw := pack(t, contents(t, "api"))
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		if _, err := bundle.Open(changed, bundle.DefaultLimits()); err == nil {
			t.Errorf("byte %d of %d changed and still opened", i, len(raw))
		}
	}
}

func TestOpenRefusesContents(t *testing.T) {
	t.Parallel()
	good := pack(t, contents(t, "api"))
	replaced := func(name string, change func(string) string) []byte {
		list := entries(t, good)
		for i, e := range list {
			if e.Name == name {
				content := string(e.body)
				if e.Method == zip.Deflate {
					content = inflate(t, e.body)
				}
				again := change(content)
				if again == content {
					t.Fatalf("%s: nothing changed in %s", name, content)
				}
				list[i] = stored(name, again)
			}
		}
		return build(t, "", list)
	}
	replace := func(from, to string) func(string) string {
		return func(s string) string { return strings.Replace(s, from, to, 1) }
	}
	tests := map[string]struct {
		raw    []byte
		reason string
	}{
		"unknown file":         {build(t, "", sorted(append(entries(t, good), stored("notes.txt", "x")))), "holds notes.txt, which does not belong there"},
		"unknown folder":       {build(t, "", sorted(append(entries(t, good), stored("hooks/x", "x")))), "holds hooks/x, which does not belong there"},
		"inputs of no release": {build(t, "", sorted(append(entries(t, good), stored("inputs.json", "[]")))), "a bundle of scope release and inputs.json do not go together"},
		"composed, no inputs":  {replaced("release.json", replace(`"scope":"release"`, `"scope":"composed"`)), "a bundle of scope composed and inputs.json do not go together"},
		"white space":          {replaced("verdict.json", func(s string) string { return s + "\n" }), "verdict.json: not in the canonical form"},
		"other order":          {replaced("runs.json", func(s string) string { return `{"tool":"x","collectors":[]}` }), "runs.json: not in the canonical form"},
		"unknown field":        {replaced("release.json", replace(`{`, `{"a":1,`)), `release.json: json: unknown field "a"`},
		"repeated key":         {replaced("verdict.json", replace(`"outcome":`, `"outcome":"PASS","outcome":`)), "verdict.json: not in the canonical form"},
		"other case":           {replaced("verdict.json", replace(`"outcome"`, `"Outcome"`)), "verdict.json: not in the canonical form"},
		"missing key":          {replaced("verdict.json", replace(`"reason":`, `"reasons":`)), "verdict.json: json: unknown field"},
		"escaped":              {replaced("release.json", replace("payments", `pay\u006dents`)), "release.json: not in the canonical form"},
		"null list":            {replaced("findings.json", func(string) string { return "null" }), "findings.json: not a JSON object or list"},
		"data after it":        {replaced("findings.json", func(s string) string { return s + "[]" }), "findings.json: not in the canonical form"},
		"no JSON":              {replaced("findings.json", func(string) string { return "" }), "findings.json: not a JSON object or list"},
		"other type":           {replaced("findings.json", func(string) string { return "{}" }), "findings.json: json: cannot unmarshal object"},
	}
	for _, required := range []string{"release.json", "profile.yaml", "catalog.yaml", "waivers.yaml", "policies.yaml", "runs.json", "findings.json", "verdict.json"} {
		list := slices.DeleteFunc(entries(t, good), func(e entry) bool { return e.Name == required })
		tests["no "+required] = struct {
			raw    []byte
			reason string
		}{build(t, "", list), "evidence.zip lacks " + required}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := bundle.Open(tt.raw, bundle.DefaultLimits())
			wantError(t, err, tt.reason)
		})
	}
}

func inflate(t testing.TB, packed []byte) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := out.ReadFrom(flate.NewReader(bytes.NewReader(packed))); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func FuzzOpen(f *testing.F) {
	good := pack(f, contents(f, "api"))
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(build(f, "", nil))
	f.Add(build(f, "", []entry{stored("release.json", "{}")}))
	lim := bundle.Limits{MaxZip: 1 << 20, MaxFiles: 100, MaxFileSize: 1 << 20, MaxTotal: 4 << 20}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := bundle.Open(raw, lim)
		if err != nil {
			return
		}
		if b.ID() != evidence.DigestOf(raw) {
			t.Errorf("ID %s of other bytes", b.ID())
		}
		for _, name := range b.Names() {
			if _, err := b.Read(name); err != nil {
				t.Errorf("%s is named and not there: %v", name, err)
			}
		}
	})
}
