package main

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/internal/imagetest"
)

var (
	block     = regexp.MustCompile("(?ms)^(?:`([^`\n]+)`:\n\n)?```([a-z]+)\n(.*?)^```$")
	anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
)

// TestPublishing runs every command of docs/publishing.md, in its order and as it
// stands there, by helm, cosign and helmproof, against a registry with TLS. Of the
// text only the registry's host and the image's digest are other ones. What fails
// ends it, and what shop.out has is compared with what the text says.
func TestPublishing(t *testing.T) {
	t.Parallel()
	helm, cosign := os.Getenv("HELMPROOF_TEST_HELM"), os.Getenv("HELMPROOF_COSIGN")
	if helm == "" || cosign == "" {
		t.Skip("HELMPROOF_TEST_HELM or HELMPROOF_COSIGN is not set: `make test` builds both and sets them")
	}
	srv := httptest.NewTLSServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "https://")
	image := imagetest.Debian(t, nil)
	ref, err := name.ParseReference(host + "/shop/orders:2.4.1")
	if err == nil {
		err = remote.Write(ref, image, remote.WithTransport(srv.Client().Transport), remote.WithContext(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}

	raw, err := os.ReadFile("../../docs/publishing.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(anyDigest.ReplaceAllString(string(raw), digest.String()), "registry.example.com", host)
	dir := t.TempDir()
	put := func(file, text string) {
		t.Helper()
		file = filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	script, said := "set -eu\n", ""
	files := 0
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		switch file, lang, body := m[1], m[2], m[3]; {
		case file != "":
			put(file, body)
			files++
		case lang == "sh":
			script += body
		case lang == "text":
			said = body
		default:
			t.Errorf("a block of %s is neither a file nor commands", lang)
		}
	}
	if files < 6 || strings.Count(script, "\n") < 20 {
		t.Fatalf("%d files, and\n%s", files, script)
	}
	if err := os.CopyFS(filepath.Join(dir, "charts"), os.DirFS("../../charts")); err != nil {
		t.Fatal(err)
	}
	put("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	for tool, path := range map[string]string{"helm": helm, "cosign": cosign} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "bin"), 0o700), os.Symlink(path, filepath.Join(dir, "bin", tool))); err != nil {
			t.Fatal(err)
		}
	}

	sh := exec.CommandContext(t.Context(), "sh", "-c", script)
	sh.Dir = dir
	sh.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir+"/home", "HELM_CACHE_HOME="+dir+"/helm", "HELM_CONFIG_HOME="+dir+"/helm", "HELM_DATA_HOME="+dir+"/helm",
		"TUF_ROOT="+dir, "COSIGN_PASSWORD=", "SSL_CERT_FILE="+dir+"/ca.pem", "PATH="+dir+"/bin:"+os.Getenv("PATH"))
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v of\n%s\n%s", err, script, out)
	}
	all := strings.Split(strings.TrimSpace(said), "\n")
	if d := cmp.Diff(all, kindsAndNames(t, filepath.Join(dir, "shop.out"))); d != "" {
		t.Errorf("objects of the two aliases (-text +rendered):\n%s", d)
	}
	web := slices.DeleteFunc(all, func(s string) bool { return strings.HasSuffix(s, "-worker") })
	if d := cmp.Diff(web, kindsAndNames(t, filepath.Join(dir, "web.out"))); d != "" {
		t.Errorf("objects without worker (-want +rendered):\n%s", d)
	}
	if got := kindsAndNames(t, filepath.Join(dir, "orders.out")); !slices.Contains(got, "Deployment orders-service") {
		t.Errorf("the published chart renders %s", got)
	}
}

// kindsAndNames lists the objects of a file that helm template wrote, sorted.
func kindsAndNames(t *testing.T, file string) []string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for doc := range strings.SplitSeq("\n"+string(raw), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if o.Kind != "" {
			out = append(out, o.Kind+" "+o.Metadata.Name)
		}
	}
	slices.Sort(out)
	return out
}
