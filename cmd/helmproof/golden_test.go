package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chaos"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/signatures/signtest"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest/tsatest"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
	"github.com/companyos/helmproof/internal/imagetest"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

var goldenDir = flag.String("golden", "", "make golden bundles of this version of the rules, in a folder of its name in this one")

// TestMakeGolden seals the golden bundles of the kinds in testdata/golden.txtar and
// verifies them. When all of them do, they take the place of those of this version of
// the rules; those of other versions stay as they are. Registry, cluster, key service,
// timestamp authority and Sigstore are in this process.
func TestMakeGolden(t *testing.T) {
	if *goldenDir == "" {
		t.Skip("golden bundles are made on demand: make golden")
	}
	version = "golden"
	root, err := filepath.Abs("../..")
	must(t, err)
	out, err := filepath.Abs(filepath.Join(*goldenDir, strconv.Itoa(evidence.RulesVersion)))
	must(t, err)
	for _, name := range dirNames(t, *goldenDir) {
		if v, err := strconv.Atoi(name); err == nil && v > evidence.RulesVersion {
			t.Fatalf("%s has golden bundles of rules %d; those of this tree are %d, which are older: they are not made again", *goldenDir, v, evidence.RulesVersion)
		}
	}
	table, err := txtar.ParseFile("testdata/golden.txtar")
	must(t, err)
	work := t.TempDir()
	must(t, os.CopyFS(filepath.Join(work, "charts"), os.DirFS(filepath.Join(root, "charts"))))
	must(t, os.CopyFS(filepath.Join(work, "charts/weak"), os.DirFS(filepath.Join(root, "test/charts/weak"))))
	t.Chdir(work)
	for k, v := range map[string]string{"HOME": work, "XDG_CONFIG_HOME": work + "/home", "XDG_CACHE_HOME": work + "/cache", "COSIGN_PASSWORD": "", "KUBECONFIG": "", "HELMPROOF_FORMATS": "md"} {
		t.Setenv(k, v)
	}
	goldenRegistry(t)
	etcd, err := os.ReadFile(filepath.Join(root, "collectors/kubebench/testdata/etcd.json"))
	must(t, err)

	kinds := regexp.MustCompile(`(?m)^([a-z-]+): (.*)\n((?:  .*\n)+)`).FindAllStringSubmatch(string(table.Comment), -1)
	list, rows, made := "", "", 0
	for _, kind := range kinds {
		t.Run(kind[1], func(t *testing.T) {
			g := &golden{t: t, kind: kind[1], repo: "golden/" + kind[1], files: table.Files, etcd: etcd, values: map[string]string{"bench": benchImage}}
			g.write()
			g.newKey("")
			for line := range strings.Lines(kind[3]) {
				g.step(strings.Fields(line))
			}
			g.run(exitPass, "verify", "--repo", g.repo, "--trust", g.repo)
			list += fmt.Sprintf("| %s | %s |\n", g.kind, kind[2])
			rows += g.rows
			made++
		})
	}
	if made < len(kinds) {
		t.Fatalf("%d of %d kinds were made: none is put in place", made, len(kinds))
	}
	private := map[string]string{"the folder": work, "the tree": root, "a stand-in": "127.0.0.1", "the chart small": "livHunter3Hunter3", "etcd's record": "made-up-cluster-token"}
	for _, name := range dirNames(t, "keys") {
		if strings.HasSuffix(name, ".key") {
			raw, err := os.ReadFile("keys/" + name)
			must(t, err)
			private[name] = string(raw)
		}
	}
	files := everyByte(t, "golden")
	for name, b := range files {
		for what, s := range private {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s shows what is of %s", name, what)
			}
		}
	}
	holdNoLeak(t, files, leakSecrets)
	if t.Failed() {
		return
	}
	text := fmt.Sprintf("# Golden bundles of rules %d, reports %d\n\nMade by `make golden` on %s. The inputs, and what @{…} stands for, are in cmd/helmproof/testdata/golden.txtar of that day. Each folder is a repository\nwith the public key beside it; the private keys are gone:\n\n"+
		"    helmproof verify --repo KIND --trust KIND      # exit code 0\n\n| kind | what it is |\n|---|---|\n%s\n| kind | bundle | verdict | made by |\n|---|---|---|---|\n%s",
		evidence.RulesVersion, evidence.ReportsVersion, time.Now().UTC().Format(time.DateOnly), list, rows)
	writeFiles(t, "golden", map[string]string{"README.md": text})
	must(t, os.RemoveAll(out))
	must(t, os.CopyFS(out, os.DirFS("golden")))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dirNames are the names in a folder that is there, or not yet.
func dirNames(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		must(t, err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// golden makes the bundles of one kind.
type golden struct {
	t          *testing.T
	kind, repo string
	keyFile    string
	files      []txtar.File
	values     map[string]string // of @{…}
	etcd       []byte
	cluster    *goldenCluster
	rows       string // of the table
}

var placeholder = regexp.MustCompile(`@\{[^}]+\}`)

// expand puts values in the place of @{…}; those that no step has set yet stay.
func (g *golden) expand(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(s string) string {
		name, arg, _ := strings.Cut(s[2:len(s)-1], " ")
		switch name {
		case "ago":
			d, err := time.ParseDuration(arg)
			must(g.t, err)
			return time.Now().UTC().Add(-d).Format(time.RFC3339)
		case "digest":
			return "sha256:" + strings.Repeat(arg, 64)
		}
		if v, ok := g.values[name]; ok {
			return v
		}
		return s
	})
}

// write writes the input files, with the values that are known by now.
func (g *golden) write() {
	files := map[string]string{}
	for _, f := range g.files {
		files[f.Name] = g.expand(string(f.Data))
	}
	writeFiles(g.t, ".", files)
}

func (g *golden) run(want int, args ...string) string {
	g.t.Helper()
	var out, errs bytes.Buffer
	if code := run(g.t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != want {
		g.t.Fatalf("%v: exit code %d, want %d\n%s%s", args, code, want, out.String(), errs.String())
	}
	return out.String()
}

// step makes one line of the table.
func (g *golden) step(words []string) {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "key":
		g.newKey(words[1])
	case "formats": // for gate, which has no flag
		g.t.Setenv("HELMPROOF_FORMATS", words[1])
	case "tsa":
		a := tsatest.New(g.t, time.Now().AddDate(-1, 0, 0), time.Now().AddDate(1, 0, 0))
		g.values["tsa"] = a.Serve(g.t)
		must(g.t, os.WriteFile(filepath.Join(g.repo, "tsa.crt"), a.PEM(), 0o600))
	case "leaky":
		writeFiles(g.t, "charts/leaky", leakChart())
		writeFiles(g.t, "charts", map[string]string{"mine.yaml": fmt.Sprintf("more: {token: %q}\nextra: {password: %q}\n", leakSecrets["values file"], leakSecrets["set"])})
	case "images":
		g.images()
	case "sign":
		g.sign()
	case "cluster":
		g.cluster = newGoldenCluster(g.t, arg(1) == "broken", g.etcd)
		g.objects("cluster/namespaces.yaml")
		must(g.t, os.WriteFile("kubeconfig", g.cluster.Kubeconfig(), 0o600))
	case "nodes":
		g.cluster.spoil()
	case "objects":
		g.objects(words[1])
	case "drill":
		g.drill(words[1], arg(2) == "badly")
	case "release":
		g.release(words[1], words[2], arg(3), arg(4))
	default:
		g.seal(words)
	}
	g.write()
}

// seal runs a command that seals one bundle, and adds it to the table.
func (g *golden) seal(words []string) {
	g.t.Helper()
	want, err := strconv.Atoi(words[0])
	must(g.t, err)
	before := dirNames(g.t, g.repo+"/bundles")
	args := strings.Fields(g.expand(strings.Join(words[1:], " ")))
	args = append(args, "--key", g.keyFile, "--repo", g.repo, "-o", "json")
	if words[1] == "gate" {
		args = append(args, "--trust", g.repo)
	}
	var doc report.OutputJSON
	must(g.t, json.Unmarshal([]byte(g.run(want, args...)), &doc))
	after := slices.DeleteFunc(dirNames(g.t, g.repo+"/bundles"), func(s string) bool { return slices.Contains(before, s) })
	if len(after) != 1 || len(doc.Releases) != 1 {
		g.t.Fatalf("%v: %d bundles of %d releases", words, len(after), len(doc.Releases))
	}
	g.rows += fmt.Sprintf("| %s | `%.12s` | %s | `helmproof %s` (exit code %d) |\n", g.kind, after[0], doc.Releases[0].Verdict.Outcome, strings.Join(words[1:], " "), want)
}

// recorded is a collector of drills that has done its drill already.
type recorded struct {
	collectors.Lasting
	files drilltest.Files
}

func (r recorded) Collect(_ context.Context, _ collectors.Input, out evidence.ArtifactWriter) error {
	for _, name := range r.files.Names() {
		raw, err := r.files.Read(name)
		if err == nil {
			err = out.Write(strings.TrimPrefix(name, "artifacts/"+r.Name()+"/"), raw)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drill seals a drill of which the record is made up: there is no cluster to do it on.
func (g *golden) drill(experiment string, badly bool) {
	e := drill.Experiment(experiment)
	d := drilltest.New(e)
	if badly {
		d.Fail(10, 16, "refused")
	}
	rules, err := pipeline.LoadRules(pipeline.RulesOptions{Profile: "drill"})
	must(g.t, err)
	rules, err = rules.ForDrill(e)
	must(g.t, err)
	rel, err := chart.Load(g.t.Context(), "charts/tiny", chart.LoadOptions{ReleaseName: "web", Namespace: "shop"})
	must(g.t, err)
	g.t.Cleanup(func() { must(g.t, rel.Close()) })
	asked := 0
	now := func() time.Time { // it runs while the drill was made
		asked++
		return drilltest.Began.Add(time.Duration(asked-1) * time.Minute)
	}
	p := &pipeline.Pipeline{
		Rules: rules, Tool: tool(), Formats: []string{"md", "html"}, Now: now, Log: newUserLog(io.Discard),
		Cluster: &cluster.Cluster{Info: cluster.Info{Fingerprint: "golden", Version: "v1.37.2", Platform: "kubernetes", Nodes: []cluster.Node{}}},
	}
	p.Repo, err = pipeline.OpenRepository(g.t.Context(), g.repo)
	must(g.t, err)
	p.Signer, err = pipeline.OpenSigner(g.t.Context(), g.keyFile, "", func() ([]byte, error) { return []byte{}, nil })
	must(g.t, err)
	j, err := p.DrillBy(g.t.Context(), rel, recorded{chaos.New(chaos.Options{}), d.Files(chaos.Name)})
	must(g.t, err)
	g.rows += fmt.Sprintf("| %s | `%s` | %s | a made-up record of %s |\n", g.kind, j.Bundle.Short(), j.Verdict.Outcome, e)
}

// newKey makes the key to seal by, as keygen does or of another kind, and puts its
// public half beside the bundles.
func (g *golden) newKey(kind string) {
	var key crypto.Signer
	var err error
	g.keyFile = "keys/" + g.kind + ".key"
	switch kind {
	case "":
		g.run(exitPass, "keygen", "keys/"+g.kind)
		public, err := os.ReadFile("keys/" + g.kind + ".pub")
		must(g.t, err)
		writeFiles(g.t, g.repo, map[string]string{g.kind + ".pub": string(public)})
		return
	case "vault":
		g.keyFile, key = "hashivault://team", g.vault()
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	must(g.t, err)
	writeFiles(g.t, g.repo, map[string]string{g.kind + ".pub": signtest.PublicPEM(g.t, key)})
	if kind != "vault" {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(g.t, err)
		must(g.t, os.WriteFile(g.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	}
}

// vault starts a key service that has the key "team", and returns that.
func (g *golden) vault() *ecdsa.PrivateKey {
	key := signtest.NewKey(g.t)
	srv := httptest.NewServer(vault(key, map[string]string{"team": signtest.PublicPEM(g.t, key)}))
	g.t.Cleanup(srv.Close)
	g.t.Setenv("VAULT_ADDR", srv.URL)
	g.t.Setenv("VAULT_TOKEN", "test-token")
	return key
}

const goldenHost = "registry.example.com"

// goldenRegistry starts a registry, which is goldenHost to this process: what is
// sealed names no port.
func goldenRegistry(t *testing.T) {
	addr := imagetest.Registry(t)
	rt := remote.DefaultTransport.(*http.Transport)
	rt.Proxy = nil
	rt.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		if to != goldenHost+":80" {
			return nil, fmt.Errorf("dial %s: connection refused", to)
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}

// images pushes images to scan, and makes a database.
func (g *golden) images() {
	old, fixed := map[string]string{"openssl": "3.0.15-1~deb12u1"}, map[string]string{"openssl": "3.0.15-1~deb12u2"}
	amd := imagetest.Debian(g.t, old)
	index := imagetest.Push(g.t, goldenHost+"/index:1", imagetest.Index(g.t, map[string]v1.Image{"linux/amd64": amd, "linux/arm64": imagetest.Debian(g.t, fixed)}))
	imagetest.Attach(g.t, index, "application/vnd.cyclonedx+json", `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{},{}]}`)
	moved := imagetest.Push(g.t, goldenHost+"/moved:1", amd)
	imagetest.Push(g.t, goldenHost+"/moved:1", imagetest.Debian(g.t, map[string]string{"own": "2.0"}))
	g.values["good"] = imagetest.Push(g.t, goldenHost+"/good:1", imagetest.Debian(g.t, fixed))
	_, g.values["index"], _ = strings.Cut(index, "@")
	_, g.values["moved"], _ = strings.Cut(moved, "@")
	work, err := os.Getwd()
	must(g.t, err)
	(&imageRun{dir: work}).database(g.t, time.Now().Add(-time.Hour))
	// The database says where it is from.
	names, err := filepath.Glob("osv/*.json")
	must(g.t, err)
	for _, name := range names {
		raw, err := os.ReadFile(name)
		must(g.t, err)
		must(g.t, os.WriteFile(name, bytes.ReplaceAll(raw, []byte("file://"+work+"/source"), []byte("https://osv.example.com")), 0o600))
	}
}

// sign pushes an image for each way to sign one.
func (g *golden) sign() {
	t, h, s, now := g.t, &signtest.Host{Name: goldenHost}, signtest.NewSigstore(g.t), time.Now().Truncate(time.Second)
	team, other, service := signtest.NewKey(t), signtest.NewKey(t), g.vault()
	const signed, built = "https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1"
	for _, what := range []string{"key-legacy", "key-bundle", "key-attested", "keyless-bundle", "keyless-legacy", "keyless-attested", "unsigned", "other-key", "service"} {
		ref := h.Push(t, what, what)
		g.values[what] = ref.Name()
		payload, statement := signtest.SimplePayload(ref, ref.DigestStr()), signtest.Statement(signed, ref.DigestStr())
		if strings.HasSuffix(what, "attested") {
			statement = signtest.Statement(built, ref.DigestStr())
		}
		cert, key := s.Leaf(t, signtest.Identity, now, true)
		legacy := func(key crypto.Signer) {
			signtest.AttachLegacy(t, ref, ".sig", signtest.LegacyLayer(payload, signtest.Sign(t, key, payload)))
		}
		switch what {
		case "key-legacy":
			legacy(team)
		case "other-key":
			legacy(other)
		case "service":
			legacy(service)
		case "keyless-legacy":
			signtest.AttachLegacy(t, ref, ".sig", s.Legacy(t, cert, key, payload, now))
		case "key-bundle", "key-attested":
			signtest.AttachBundle(t, ref, signtest.KeyBundle(t, team, statement))
		case "keyless-bundle", "keyless-attested":
			signtest.AttachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statement, now)))
		}
	}
	g.values["team"] = strconv.Quote(signtest.PublicPEM(t, team))
	writeFiles(t, ".", map[string]string{"signed/root.json": string(s.TrustedRoot(t))})
}
