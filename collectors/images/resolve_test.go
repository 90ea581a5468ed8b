package images

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/imagetest"
)

// resolvedLines are the findings about images in a registry.
func resolvedLines(t *testing.T, o Options, src Sources, rule string, images ...string) []string {
	t.Helper()
	src.Resolve, src.PlainHTTP, src.Platforms = true, true, o.Policy.Platforms
	var err error
	if o.Gathered, err = Gather(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Gathered.Prepare(t.Context(), images, nil); err != nil {
		t.Fatal(err)
	}
	found := evidence.NormalizeFindings(derive(t, sealed(t, podOf(images...), o)))
	var out []string
	for _, l := range lines(found, rule) {
		for _, i := range images {
			l = strings.ReplaceAll(l, "Image "+i+": ", "")
		}
		out = append(out, l)
	}
	slices.Sort(out)
	return out
}

func digestOf(t *testing.T, what interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := what.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestPins(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	amd := imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u1"})
	arm := imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u2"})
	idx := imagetest.Index(t, map[string]v1.Image{"linux/amd64": amd, "linux/arm64": arm})
	pinned := imagetest.Push(t, host+"/api:1", idx)
	single := imagetest.Push(t, host+"/single:1", imagetest.Platform(t, amd, "linux/arm64"))
	old := imagetest.Push(t, host+"/moved:1", amd)
	imagetest.Push(t, host+"/moved:1", arm)
	sbom := imagetest.Attach(t, pinned, "application/vnd.cyclonedx+json", `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{},{}]}`)
	short := func(ref string) string { _, d, _ := strings.Cut(ref, "@"); return evidence.Digest(d).Short() }
	withTag := func(ref string) string { base, d, _ := strings.Cut(ref, "@"); return base + ":1@" + d }
	for title, tt := range map[string]struct {
		image     string
		platforms []string
		want      string
	}{
		"index":                    {withTag(pinned), nil, fmt.Sprintf("pass %s is an index of linux/amd64, linux/arm64; CycloneDX 1.6 SBOM %s attached; tag 1 names it", short(pinned), sbom)},
		"one image":                {single, []string{"linux/arm64"}, fmt.Sprintf("pass %s is the image for linux/arm64 alone", short(single))},
		"another platform":         {single, nil, fmt.Sprintf("fail %s is the image for linux/arm64 alone: nothing in it runs on linux/amd64", short(single))},
		"platform not in an index": {pinned, []string{"linux/s390x"}, fmt.Sprintf("fail %s is an index of linux/amd64, linux/arm64; CycloneDX 1.6 SBOM %s attached: nothing in it runs on linux/s390x", short(pinned), sbom)},
		"moved tag":                {withTag(old), nil, fmt.Sprintf("warn %s is the image for linux/amd64 alone; tag 1 moved since the pin: it names %s now", short(old), evidence.Digest(digestOf(t, arm)).Short())},
		"no such tag":              {host + "/api:2@" + digestOf(t, idx), nil, fmt.Sprintf("warn %s is an index of linux/amd64, linux/arm64; CycloneDX 1.6 SBOM %s attached; the registry has no tag 2 any more", short(pinned), sbom)},
		"not pinned":               {host + "/api:1", nil, fmt.Sprintf("warn tag 1 names %s now, and any other later", digestOf(t, idx))},
		"no such digest":           {host + "/api@" + digestA, nil, "fail the registry does not have " + digestA},
		"no such image":            {host + "/gone:1", nil, "fail the registry has no tag 1"},
		"no registry":              {"127.0.0.1:1/api@" + digestA, nil, "not-checked the registry could not be reached: "},
		"no reference":             {"API@" + digestA, nil, "not-checked not an image reference: "},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			o := Options{Policy: policyFor(RulePin)}
			if tt.platforms != nil {
				o.Policy.Platforms = tt.platforms
			}
			got := resolvedLines(t, o, Sources{}, RulePin, tt.image)
			if len(got) != 1 || !strings.HasPrefix(got[0], tt.want) || strings.HasSuffix(tt.want, "it") && got[0] != tt.want {
				t.Error(cmp.Diff([]string{tt.want}, got))
			}
		})
	}
}

// TestAltered has a registry that sends other bytes than the digest says.
func TestAltered(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	pinned := imagetest.Push(t, host+"/api:1", imagetest.Debian(t, nil))
	other := imagetest.Push(t, host+"/api:2", imagetest.Debian(t, map[string]string{"a": "1"}))
	_, from, _ := strings.Cut(pinned, "@")
	_, to, _ := strings.Cut(other, "@")
	target, err := url.Parse("http://" + host)
	if err != nil {
		t.Fatal(err)
	}
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The proxy takes the body of another image, and leaves it to the client to notice.
		res, err := http.Get(target.String() + strings.ReplaceAll(r.URL.Path, from, to)) //nolint:noctx // a test's own server
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close() //nolint:errcheck // only read
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body) // the client sees what is missing
	}))
	defer liar.Close()
	image := strings.Replace(pinned, host, strings.TrimPrefix(liar.URL, "http://"), 1)
	got := resolvedLines(t, Options{Policy: policyFor(RulePin)}, Sources{}, RulePin, image)
	if len(got) != 1 || !strings.HasPrefix(got[0], "not-checked the registry sent other bytes than the digest says: ") {
		t.Errorf("%q", got)
	}
}

// TestIndexAgainstPlatform matches reports to what an index holds.
func TestIndexAgainstPlatform(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	amd := imagetest.Platform(t, imagetest.Debian(t, map[string]string{"a": "1"}), "linux/amd64")
	arm := imagetest.Platform(t, imagetest.Debian(t, map[string]string{"a": "2"}), "linux/arm64")
	idx := imagetest.Push(t, host+"/api:1", imagetest.Index(t, map[string]v1.Image{"linux/amd64": amd, "linux/arm64": arm}))
	_, index, _ := strings.Cut(idx, "@")
	both := []string{"linux/amd64", "linux/arm64"}
	config, err := amd.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	byID := trivy("", fresh, "linux/amd64", openssl)
	byID["Metadata"].(map[string]any)["ImageID"] = config.String()
	const clean = "no vulnerabilities"
	for title, tt := range map[string]struct {
		platforms []string
		reports   []any
		want      []string
	}{
		"reports of the platforms": {both, []any{trivy(digestOf(t, amd), fresh, "", openssl), trivy(digestOf(t, arm), fresh, "")},
			[]string{"pass scanned for linux/amd64 by trivy 0.65.0: 1 reported (1 critical)", "pass scanned for linux/arm64 by trivy 0.65.0: " + clean}},
		"a report of one of them": {both, []any{trivy(digestOf(t, arm), fresh, "")},
			[]string{"not-checked no scan report names its digest for linux/amd64", "pass scanned for linux/arm64 by trivy 0.65.0: " + clean}},
		"a report of the index": {both, []any{trivy(index, fresh, "linux/amd64")},
			[]string{"not-checked no scan report names its digest for linux/arm64: the report of trivy 0.65.0 is about linux/amd64", "pass scanned for linux/amd64 by trivy 0.65.0: " + clean}},
		"a report of the index, of which platform is not known": {both, []any{trivy(index, fresh, "")},
			[]string{"not-checked no scan report names its digest for linux/amd64: the report of trivy 0.65.0 does not say which platform it is about",
				"not-checked no scan report names its digest for linux/arm64: the report of trivy 0.65.0 does not say which platform it is about"}},
		"a report by the configuration's digest": {both[:1], []any{byID}, []string{"pass scanned by trivy 0.65.0: 1 reported (1 critical)"}},
		"a platform that the index lacks":        {[]string{"linux/riscv64"}, []any{trivy(index, fresh, "linux/riscv64")}, []string{"not-checked the index has no image for linux/riscv64"}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			src := Sources{ScannerVersion: writeFile(t, "v.json", trivyVersion)}
			for i, r := range tt.reports {
				src.Reports = append(src.Reports, writeFile(t, fmt.Sprintf("r%d.json", i), r))
			}
			o := Options{Policy: policyFor(RuleScanned)}
			o.Policy.Platforms = tt.platforms
			if diff := cmp.Diff(tt.want, resolvedLines(t, o, src, RuleScanned, idx)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSealedAnswersAreHeld changes sealed answers of the registry: they are no evidence then.
func TestSealedAnswersAreHeld(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	image := imagetest.Push(t, host+"/api:1", imagetest.Debian(t, nil))
	o := Options{Policy: policyFor(RulePin)}
	var err error
	if o.Gathered, err = Gather(t.Context(), Sources{Resolve: true, PlainHTTP: true, Platforms: o.Policy.Platforms}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Gathered.Prepare(t.Context(), []string{image}, nil); err != nil {
		t.Fatal(err)
	}
	art := sealed(t, podOf(image), o)
	changed := collectors.NewArtifacts(nil)
	for name, raw := range art.Files() {
		if strings.Contains(string(raw), `"schemaVersion":2`) {
			raw = append([]byte(" "), raw...)
		}
		if _, err := changed.Put(name, raw); err != nil {
			t.Fatal(err)
		}
	}
	got := lines(derive(t, changed), RulePin)
	if len(got) != 1 || !strings.Contains(got[0], "the sealed bytes of sha256:") || !strings.HasPrefix(got[0], "not-checked") {
		t.Errorf("%q", got)
	}
}
