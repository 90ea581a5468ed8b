// Package test holds checks over the whole tree.
package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "github.com/companyos/helmproof/"

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// packages lists this module's packages with their direct, non-test imports.
func packages(t *testing.T) []pkg {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		for i := range p.Imports {
			p.Imports[i] = strings.TrimPrefix(p.Imports[i], module)
		}
		all = append(all, p)
	}
	if len(all) < 15 {
		t.Fatalf("only %d packages listed", len(all))
	}
	return all
}

func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// TestImports holds the direction in which data flows: config → collectors →
// gate → bundle → repository → report, wired together in cmd alone.
func TestImports(t *testing.T) {
	t.Parallel()
	rules := []struct {
		from, why string
		exempt    []string
		forbid    []string // import path prefixes
	}{
		{from: "collectors", why: "collectors only collect", forbid: []string{"report", "evidence/repository", "evidence/gate", "evidence/bundle", "evidence/attest", "cmd"}},
		{from: "report", why: "reports are functions of the bundle", forbid: []string{"collectors", "evidence/repository", "cmd"}},
		{from: "evidence", why: "the arrows point towards evidence", forbid: []string{"collectors", "report", "cmd", "config"}},
		{from: "evidence/gate", why: "the gate does no I/O and has no clock", forbid: []string{"os", "net", "os/exec", "net/http", "io/ioutil", "syscall"}},
		{from: "config", why: "config comes first", forbid: []string{"collectors", "report", "evidence/bundle", "evidence/repository", "cmd"}},
		{from: "", why: "gofpdf lives in report/pdf", exempt: []string{"report/pdf"}, forbid: []string{"github.com/jung-kurt/gofpdf"}},
		{from: "", why: "a cloud SDK lives in its repository backend", exempt: []string{"evidence/repository/gcs"}, forbid: []string{"cloud.google.com/go", "google.golang.org/api"}},
		{from: "", why: "viper lives in config", exempt: []string{"config"}, forbid: []string{"github.com/spf13/viper"}},
		{from: "", why: "cobra lives in cmd", exempt: []string{"cmd", "config"}, forbid: []string{"github.com/spf13/cobra"}},
		{from: "", why: "client-go lives under collectors and in cmd", exempt: []string{"collectors", "internal/cluster", "cmd"}, forbid: []string{"k8s.io/client-go"}},
		{from: "", why: "Helm lives under collectors and in cmd", exempt: []string{"collectors", "cmd", "test"}, forbid: []string{"helm.sh/helm"}},
	}
	all := packages(t)
	for _, r := range rules {
		met := 0
		for _, p := range all {
			if r.from != "" && !within(p.ImportPath, r.from) {
				continue
			}
			met++
			exempt := false
			for _, e := range r.exempt {
				exempt = exempt || within(p.ImportPath, e)
			}
			for _, imp := range p.Imports {
				for _, f := range r.forbid {
					if !exempt && within(imp, f) {
						t.Errorf("%s imports %s: %s", p.ImportPath, imp, r.why)
					}
				}
			}
		}
		if met == 0 {
			t.Errorf("rule for %q meets no package", r.from)
		}
	}
	for _, p := range all {
		if p.ImportPath != "evidence" {
			continue
		}
		for _, imp := range p.Imports {
			if strings.Contains(path.Dir(imp+"/"), ".") {
				t.Errorf("evidence imports %s: it imports the standard library only", imp)
			}
		}
	}
}
