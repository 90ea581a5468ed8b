package chart

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
)

// TestFilesOfWindows: manifests and values are what they are in the encodings that
// shells of Windows write, and --set-file takes any file as it is.
func TestFilesOfWindows(t *testing.T) {
	t.Parallel()
	const manifests = "apiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: a}\r\ndata: {a: \"ä😀\"}\r\n---\r\napiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: b}\r\n"
	const values = "name: \"ä😀\"\r\nlist:\r\n- a\r\n"
	dir := demoChart(t, map[string]string{"templates/x.yaml": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"name":"{{ .Values.name }}","file":"{{ .Values.file | b64enc }}","list":"{{ .Values.list | join "," }}"}}`})
	for name, enc := range map[string]encoding.Encoding{
		"plain":         encoding.Nop,
		"UTF-8":         unicode.UTF8BOM,
		"little endian": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
		"big endian":    unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encoded := func(text string) []byte {
				out, err := enc.NewEncoder().Bytes([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			file := writeFile(t, "m.yaml", encoded(manifests))
			folder := filepath.Dir(file)
			for _, ref := range []string{file, folder, "-"} {
				rel, err := LoadManifests(t.Context(), ref, LoadOptions{Stdin: bytes.NewReader(encoded(manifests))})
				if err != nil {
					t.Fatal(err)
				}
				set, err := rel.Objects()
				if err != nil || len(set.Broken) > 0 || len(set.Objects) != 2 {
					t.Fatalf("%s: %v, %+v", ref, err, set.Broken)
				}
				if diff := cmp.Diff(map[string]any{"a": "ä😀"}, set.Objects[0].Object["data"]); diff != "" || set.Objects[1].Line != 6 {
					t.Errorf("%s: line %d, %s", ref, set.Objects[1].Line, diff)
				}
			}
			odd := writeFile(t, "odd", []byte("\xff\xfea\x00"))
			given := writeFile(t, "v.yaml", encoded(values))
			for _, ref := range []string{given, "-"} {
				rel := mustLoad(t, dir, LoadOptions{ValueFiles: []string{ref}, SetFile: []string{"file=" + odd}, Stdin: bytes.NewReader(encoded(values))})
				for _, want := range []string{`"name":"ä😀"`, `"file":"//5hAA=="`, `"list":"a"`} {
					if !strings.Contains(string(rel.Manifests), want) {
						t.Errorf("%s: no %s in %s", ref, want, rel.Manifests)
					}
				}
			}
		})
	}
}

// TestErrorsNameWhatWasGiven: a values file that is read by a copy is named as given.
func TestErrorsNameWhatWasGiven(t *testing.T) {
	t.Parallel()
	dir := demoChart(t, map[string]string{"templates/x.yaml": ""})
	const bad = "\xef\xbb\xbfa: [1\n"
	marked := writeFile(t, "marked.yaml", []byte(bad))
	for given, want := range map[string]string{marked: "failed to parse " + marked + ":", "-": "failed to parse standard input:"} {
		_, err := Load(t.Context(), dir, LoadOptions{ValueFiles: []string{given}, Stdin: strings.NewReader(bad)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "helmproof-values-") {
			t.Errorf("%s: error %v, want %q", given, err, want)
		}
	}
}
