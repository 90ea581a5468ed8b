package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
)

// hiddenSigns are characters that a terminal obeys or does not show: of C0 and C1, DEL,
// bidirectional, zero-width, private, a tag, and a filler.
var hiddenSigns = []rune{0x1b, 0x08, 0x7f, 0x85, 0x9b, 0x202e, 0x2066, 0x200b, 0xfeff, 0xe000, 0xe0041, 0x3164}

func holdVisible(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range hiddenSigns {
		if strings.ContainsRune(text, r) {
			t.Errorf("%s holds %U: %q", what, r, text)
		}
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }); i >= 0 {
		t.Errorf("%s holds a control character at %d: %q", what, i, text)
	}
}

// TestHiddenCharacters holds that JSON output and completion show what they say, and
// that JSON says the same as before.
func TestHiddenCharacters(t *testing.T) {
	t.Parallel()
	name := "shop" + string(hiddenSigns)
	root := filepath.Join(t.TempDir(), "repo")
	p := repository.Pointer{Bundle: evidence.DigestOf([]byte("a")), Scope: evidence.ScopeRelease, Chart: name, Namespace: "n", Outcome: evidence.VerdictPass, EvaluatedAt: time.Unix(0, 0)}
	if err := repository.New(dir.Open(root)).Put(t.Context(), p, map[string][]byte{"evidence.zip": nil}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"list", "-o", "json", "--repo", root}, {"__complete", "verify", "--repo", root, ""}, {"__complete", "gate", "--repo", root, "--chart", ""}, {"list", "--repo", root},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != exitPass {
			t.Fatalf("%v: exit %d: %s", args, code, errs.String())
		}
		if !strings.Contains(out.String(), "shop") {
			t.Errorf("%v does not name the chart: %s", args, out.String())
		}
		holdVisible(t, strings.Join(args[:2], " "), out.String())
		if args[1] == "-o" {
			var got struct{ Bundles []repository.Pointer }
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Bundles[0].Chart != name {
				t.Errorf("%q, %v, want %q", got.Bundles, err, name)
			}
		}
	}
}
