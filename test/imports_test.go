// Package test holds checks over the whole tree.
package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/companyos/helmproof/"

type pkg struct {
	ImportPath string // of this module: without module
	Imports    []string
	Standard   bool
}

// graph is every package that this module's packages, tests aside, are built from,
// with the clients of clouds.
type graph map[string]*pkg

func load(t *testing.T) graph {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags=cloud", "-json=ImportPath,Imports,Standard", "./...")
	cmd.Dir = ".."
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	g := graph{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for i := range p.Imports {
			p.Imports[i] = local(p.Imports[i])
		}
		g[local(p.ImportPath)] = p
		p.ImportPath = local(p.ImportPath)
	}
	if n := len(g.own("")); n < 15 {
		t.Fatalf("only %d packages of this module", n)
	}
	return g
}

// local names a package of this module by its directory, "./" before it: no
// other import path starts so.
func local(importPath string) string {
	if p, ok := strings.CutPrefix(importPath, module); ok {
		return "./" + p
	}
	return importPath
}

func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func withinAny(p string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return within(p, r) })
}

// own lists this module's packages at and below a directory; "" is all.
func (g graph) own(dir string) []string {
	var out []string
	for p := range g {
		if d, ok := strings.CutPrefix(p, "./"); ok && (dir == "" || within(d, dir)) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// How far a rule looks.
type reach int

const (
	direct reach = iota // what a package imports itself
	ours                // likewise, and what the packages of this module that it is built from import themselves
	whole               // all that it is built from, the standard library aside
)

// chain is a shortest chain of imports from p to what is met, as far as the
// reach goes; nil: there is none. It does not go through packages of skip.
func (g graph) chain(p string, far reach, skip []string, met func(from, to string) bool) []string {
	type step struct {
		at   string
		back *step
	}
	seen := map[string]bool{p: true}
	for list := []*step{{at: p}}; len(list) > 0; list = list[1:] {
		s := list[0]
		for _, to := range g[s.at].Imports {
			next := g[to]
			if met(s.at, to) {
				out := []string{to}
				for ; s != nil; s = s.back {
					out = append(out, s.at)
				}
				slices.Reverse(out)
				return out
			}
			if seen[to] || next == nil || next.Standard || withinAny(to, skip) || far == direct || far == ours && !strings.HasPrefix(to, "./") {
				continue
			}
			seen[to] = true
			list = append(list, &step{to, s})
		}
	}
	return nil
}

// importRule says what packages of a directory must not be built from.
type importRule struct {
	why    string
	from   string   // directory; "" is the whole module
	exempt []string // directories in it that the rule is not about: each has to need it
	far    reach
	skip   []string // packages that the rule does not look behind: each has to need it
	forbid []string // import paths and what is below; ./dir for this module's
}

func (r *importRule) met(_, to string) bool { return withinAny(to, r.forbid) }

var (
	// io is what touches the world. What the standard library itself uses of it,
	// fmt of os for example, shows nowhere: nobody but the importer can reach it.
	ioPackages = []string{"os", "net", "syscall", "io/ioutil", "log/syslog", "plugin", "golang.org/x/sys", "path/filepath"}
	// Package kms registers each service's client with sigstore's library.
	cloudSDKs = []string{"cloud.google.com/go", "google.golang.org/api", "github.com/aws", "github.com/Azure", "github.com/hashicorp/vault", "github.com/openbao",
		"github.com/sigstore/sigstore/pkg/signature/kms"}
	clientGo   = []string{"k8s.io/client-go"}
	helm       = []string{"helm.sh/helm"}
	cobraViper = []string{"github.com/spf13/cobra", "github.com/spf13/viper"}
)

var importRules = []importRule{
	{why: "collectors only collect", from: "collectors", far: ours, forbid: []string{"./report", "./evidence/repository", "./evidence/gate", "./evidence/bundle", "./evidence/attest", "./cmd", "./internal/pipeline"}},
	{why: "reports are functions of the bundle", from: "report", far: ours, forbid: []string{"./collectors", "./evidence/repository", "./config", "./cmd", "./internal/pipeline"}},
	{why: "the arrows point towards evidence", from: "evidence", far: ours, forbid: []string{"./collectors", "./report", "./config", "./cmd", "./internal/pipeline"}},
	{why: "the gate does no I/O", from: "evidence/gate", far: whole, forbid: ioPackages},
	{why: "config comes first", from: "config", far: ours, forbid: []string{"./collectors", "./report", "./evidence/attest", "./evidence/bundle", "./evidence/repository", "./cmd", "./internal/pipeline"}},

	{why: "config links no cloud SDK and no client of Kubernetes", from: "config", far: whole, forbid: slices.Concat(cloudSDKs, clientGo, helm)},
	{why: "evidence is verified without a client of Kubernetes", from: "evidence", far: whole, forbid: slices.Concat(clientGo, helm)},
	{why: "reports need no cluster and no cloud", from: "report", far: whole, forbid: slices.Concat(cloudSDKs, clientGo, helm)},
	{why: "evidence links no cloud SDK but that of a repository backend", from: "evidence", exempt: []string{"evidence/repository/gcs"}, far: whole, forbid: cloudSDKs},

	{why: "client-go lives under collectors, in internal/cluster, internal/watch and in cmd", exempt: []string{"collectors", "internal/cluster", "internal/watch", "cmd"}, forbid: clientGo},
	{why: "Helm lives under collectors", exempt: []string{"collectors"}, forbid: helm},
	{why: "one package upgrades and rolls back", exempt: []string{"collectors/internal/helmop"}, forbid: []string{"helm.sh/helm/v4/pkg/action", "helm.sh/helm/v4/pkg/kube"}},
	{why: "policies are judged without informers", from: "collectors/policy", far: whole, forbid: []string{"k8s.io/client-go/informers"}},
	{why: "a cloud SDK lives in its repository backend, those of key services in internal/kms", exempt: []string{"evidence/repository/gcs", "internal/kms"}, forbid: cloudSDKs},
	{why: "fpdf lives in report/pdf", exempt: []string{"report/pdf"}, forbid: []string{"codeberg.org/go-pdf/fpdf", "github.com/jung-kurt/gofpdf"}},
	{why: "vegeta lives in internal/loadgen", exempt: []string{"internal/loadgen"}, forbid: []string{"github.com/tsenart/vegeta"}},
	{why: "viper lives in config", exempt: []string{"config"}, forbid: []string{"github.com/spf13/viper"}},
	{why: "cobra lives in cmd", exempt: []string{"cmd"}, forbid: []string{"github.com/spf13/cobra"}},

	// Helm's and sigstore's libraries themselves link cobra; config reads with viper.
	{why: "the engine knows no flags and no files of configuration", from: "internal/pipeline", far: ours, skip: []string{"./config"}, forbid: cobraViper},
	{why: "commands, and watch for one of them, run the engine", exempt: []string{"cmd", "internal/watch"}, forbid: []string{"./internal/pipeline"}},
}

// TestImports holds the direction in which data flows: config → collectors →
// gate → bundle → repository → report, wired together by internal/pipeline.
func TestImports(t *testing.T) {
	t.Parallel()
	g := load(t)
	for _, r := range importRules {
		from := g.own(r.from)
		if len(from) == 0 {
			t.Errorf("%s: no package in %q", r.why, r.from)
		}
		needed := map[string]bool{}
		for _, p := range from {
			chain := g.chain(p, r.far, r.skip, r.met)
			if chain == nil {
				continue
			}
			i := slices.IndexFunc(r.exempt, func(e string) bool { return within(p, "./"+e) })
			if i < 0 {
				t.Errorf("%s: %s", r.why, strings.Join(chain, " imports "))
				continue
			}
			needed[r.exempt[i]] = true
		}
		for _, e := range r.exempt {
			if !needed[e] {
				t.Errorf("%s: the exemption of %s is not needed", r.why, e)
			}
		}
		for i, s := range r.skip {
			rest := slices.Delete(slices.Clone(r.skip), i, i+1)
			if !slices.ContainsFunc(from, func(p string) bool { return g.chain(p, r.far, rest, r.met) != nil }) {
				t.Errorf("%s: the exemption of what is behind %s is not needed", r.why, s)
			}
		}
	}
	standard := func(_, to string) bool { return g[to] == nil || !g[to].Standard }
	if chain := g.chain("./evidence", whole, nil, standard); chain != nil {
		t.Errorf("evidence imports the standard library only: %s", strings.Join(chain, " imports "))
	}
}

// A chain of imports is found however far the rule looks, and no further.
func TestChain(t *testing.T) {
	t.Parallel()
	g := graph{}
	for p, imports := range map[string][]string{
		"./a": {"./b", "fmt"}, "./b": {"x.org/c"}, "x.org/c": {"os", "x.org/d"}, "x.org/d": {}, "fmt": {"os"}, "os": {"syscall"}, "syscall": {},
	} {
		g[p] = &pkg{Imports: imports, Standard: !strings.ContainsAny(p, "./")}
	}
	for _, tt := range []struct {
		far  reach
		skip []string
		to   string
		want string
	}{
		{direct, nil, "fmt", "./a fmt"},
		{direct, nil, "x.org/c", ""},
		{ours, nil, "x.org/c", "./a ./b x.org/c"},
		{ours, []string{"./b"}, "x.org/c", ""},
		{ours, nil, "x.org/d", ""},
		{whole, nil, "x.org/d", "./a ./b x.org/c x.org/d"},
		{whole, nil, "os", "./a ./b x.org/c os"}, // not the standard library's own import
		{whole, nil, "syscall", ""},
	} {
		got := strings.Join(g.chain("./a", tt.far, tt.skip, func(_, to string) bool { return to == tt.to }), " ")
		if got != tt.want {
			t.Errorf("to %s: %q, want %q", tt.to, got, tt.want)
		}
	}
}

// useRule says what code of some directories must not use, tests aside.
type useRule struct {
	why    string
	dirs   []string
	exempt []string // directories: each has to need it
	names  []string // import path, dot, name
}

var useRules = []useRule{
	{why: "the clock is passed in", dirs: []string{"collectors", "internal/pipeline", "evidence/gate", "report"}, exempt: []string{"collectors/signatures/signtest"},
		names: []string{"time.Now", "time.Since", "time.Until"}},
	{why: "logs go to the logger that is passed in", dirs: []string{"collectors", "internal", "evidence", "report", "config"}, exempt: []string{"internal/helmlog"},
		names: []string{"log.SetOutput", "log/slog.SetDefault"}},
}

func TestUses(t *testing.T) {
	t.Parallel()
	for _, r := range useRules {
		needed := map[string]bool{}
		files := 0
		for _, dir := range r.dirs {
			err := filepath.WalkDir(filepath.Join("..", dir), func(file string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
					return err
				}
				files++
				for _, use := range uses(t, file, r.names) {
					rel := strings.TrimPrefix(filepath.ToSlash(file), "../")
					if i := slices.IndexFunc(r.exempt, func(e string) bool { return within(path.Dir(rel), e) }); i >= 0 {
						needed[r.exempt[i]] = true
						continue
					}
					t.Errorf("%s: %s", r.why, use)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if files == 0 {
			t.Errorf("%s: no files", r.why)
		}
		for _, e := range r.exempt {
			if !needed[e] {
				t.Errorf("%s: the exemption of %s is not needed", r.why, e)
			}
		}
	}
}

// uses lists where a file uses one of the names, however it calls the package.
func uses(t *testing.T, file string, names []string) []string {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	imported := map[string]string{} // name in the file → import path
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		imported[name] = p
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				if use := imported[x.Name] + "." + s.Sel.Name; slices.Contains(names, use) {
					out = append(out, set.Position(s.Pos()).String()+" uses "+use)
				}
			}
		}
		return true
	})
	return out
}
