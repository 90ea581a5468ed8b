package chart

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	helmcommon "helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/companyos/helmproof/internal/cluster"
)

// storedExample is a release as Helm would store it.
func storedExample() *releasev1.Release {
	return &releasev1.Release{
		Name: "web", Namespace: "shop", Version: 3, Info: &releasev1.Info{Status: common.StatusDeployed},
		Chart: &chartv2.Chart{
			Metadata: &chartv2.Metadata{APIVersion: "v2", Name: "small", Version: "1.2.3", AppVersion: "4"},
			Values:   map[string]any{"greeting": "hello", "other": 1},
			Schema:   []byte(`{"type":"object"}`),
			Templates: []*helmcommon.File{{Name: "templates/a.yaml", Data: []byte(
				"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {a: {{ .Values.greeting }}}\n")}},
			Files: []*helmcommon.File{{Name: "README.md", Data: []byte("# small\n")}, {Name: "crds/b.yaml", Data: []byte("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: b}\n")}},
		},
		Config:   map[string]any{"greeting": "good day"},
		Manifest: "---\n# Source: small/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: good day}\n",
		Hooks:    []*releasev1.Hook{{Name: "t", Path: "small/templates/t.yaml", Manifest: "apiVersion: v1\nkind: Pod\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\n"}},
	}
}

// inStorage stores r with Helm's own driver.
func inStorage(t *testing.T, storage string, r *releasev1.Release) (*cluster.Cluster, StoredRelease) {
	t.Helper()
	kube := fake.NewClientset()
	var d driver.Driver = driver.NewSecrets(kube.CoreV1().Secrets("shop"))
	if storage == StorageConfigMaps {
		d = driver.NewConfigMaps(kube.CoreV1().ConfigMaps("shop"))
	}
	const object = "sh.helm.release.v1.web.v3"
	if err := d.Create(object, r); err != nil {
		t.Fatal(err)
	}
	return &cluster.Cluster{Kube: kube, Info: cluster.Info{Version: "v1.37.2-gke.100"}},
		StoredRelease{Name: "web", Namespace: "shop", Storage: storage, Object: object, Revision: 3, Status: "deployed", NewestRevision: 3, NewestStatus: "deployed", Deployed: []int{3}}
}

func TestLoadStored(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{StorageSecrets, StorageConfigMaps} {
		example := storedExample()
		example.Chart.Files, example.Hooks = example.Chart.Files[:1], nil
		cluster, s := inStorage(t, storage, example)
		rel, err := LoadStored(t.Context(), cluster, s, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		i := rel.Info
		if i.Source != SourceRelease || i.Chart != "small" || i.Version != "1.2.3" || i.ReleaseName != "web" || i.Namespace != "shop" || i.KubeVersion != "1.37" {
			t.Errorf("%+v", i)
		}
		if rel.Values["greeting"] != "good day" || rel.UserValues["greeting"] != "good day" || rel.UserValues["other"] != nil {
			t.Errorf("values %v of %v", rel.Values, rel.UserValues)
		}
		if got, want := string(rel.Manifests), "---\n# Source: templates/a.yaml:0\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: good day}\n"; got != want {
			t.Errorf("manifests %s", cmp.Diff(want, got))
		}
		if r := rel.Stored.Rendering; !r.Same || r.Error != "" || r.Stored != r.Rendered {
			t.Errorf("rendering %+v", r)
		}
		var names []string
		for _, f := range rel.Files {
			names = append(names, f.Name)
			onDisk, err := os.ReadFile(filepath.Join(rel.Dir, f.Name))
			if err != nil || !bytes.Equal(onDisk, f.Data) {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
		if diff := cmp.Diff([]string{"Chart.yaml", "README.md", "templates/a.yaml", "values.schema.json", "values.yaml"}, names); diff != "" {
			t.Error(diff)
		}
		if err := rel.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(rel.Dir); !os.IsNotExist(err) {
			t.Errorf("left behind: %v", err)
		}
	}
}

// TestLoadStoredUnlike: what is stored is judged, whatever the chart would render.
func TestLoadStoredUnlike(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change  func(*releasev1.Release)
		problem string // in Rendering.Error; empty: rendered, and not the same
	}{
		"another manifest": {func(r *releasev1.Release) { r.Manifest = strings.ReplaceAll(r.Manifest, "good day", "bye") }, ""},
		"subcharts": {func(r *releasev1.Release) {
			r.Chart.Metadata.Dependencies = []*chartv2.Dependency{{Name: "redis", Version: "1", Repository: "https://example.com"}}
		}, "Helm stores no subcharts with a release: redis"},
		"values that the schema refuses": {func(r *releasev1.Release) { r.Chart.Schema = []byte(`{"properties":{"greeting":{"type":"integer"}}}`) }, "values do not meet values.schema.json"},
		"a template that fails":          {func(r *releasev1.Release) { r.Chart.Templates[0].Data = []byte(`{{ fail "no" }}`) }, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			example := storedExample()
			tt.change(example)
			cluster, s := inStorage(t, StorageSecrets, example)
			rel, err := LoadStored(t.Context(), cluster, s, LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer rel.Close()
			r := rel.Stored.Rendering
			if r.Same || tt.problem == "" && r.Error != "" || !strings.Contains(r.Error, tt.problem) || rel.Record.NotRendered != r.Error {
				t.Errorf("rendering %+v, recorded %q", r, rel.Record.NotRendered)
			}
			if rel.Info.ValuesDigest == "" || rel.Values["greeting"] == nil {
				t.Errorf("values %v, digest %q", rel.Values, rel.Info.ValuesDigest)
			}
			set, err := rel.Objects()
			if err != nil || len(set.Objects) != 3 || len(set.Objects[1].Hooks()) != 1 || !IsCRDFile(set.Objects[2].File) {
				t.Errorf("%d objects, %v: want the manifest's, the hook and the CRD", len(set.Objects), err)
			}
		})
	}
}

func TestLoadStoredRefuses(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	zw := gzip.NewWriter(&bomb)
	for range maxUnpacked>>20 + 1 {
		if _, err := zw.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	encode := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(raw)
	}
	with := func(change func(*releasev1.Release)) string {
		r := storedExample()
		change(r)
		return encode(r)
	}
	for want, data := range map[string]string{
		"holds no release":                   "",
		"not a release of Helm 3":            "%%%",
		"at most 4194304 are read":           strings.Repeat("A", maxStored+4),
		"more than 104857600 bytes unpacked": base64.StdEncoding.EncodeToString(bomb.Bytes()),
		"unpack: unexpected EOF":             base64.StdEncoding.EncodeToString(bomb.Bytes()[:100]),
		"parse: ":                            base64.StdEncoding.EncodeToString([]byte("no JSON")),
		"names no release":                   with(func(r *releasev1.Release) { r.Name = "" }),
		"has no status":                      with(func(r *releasev1.Release) { r.Info = nil }),
		"has no chart":                       with(func(r *releasev1.Release) { r.Chart = nil }),
		"holds revision 4 of shop/web":       with(func(r *releasev1.Release) { r.Version = 4 }),
		"holds revision 3 of shop/other":     with(func(r *releasev1.Release) { r.Name = "other" }),
		"lies outside of the chart's folder": with(func(r *releasev1.Release) { r.Chart.Files[0].Name = "../../x" }),
		"chart.metadata.name":                with(func(r *releasev1.Release) { r.Chart.Metadata.Name = "../x" }),
	} {
		kube := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}, Data: map[string][]byte{"release": []byte(data)}})
		cluster := &cluster.Cluster{Kube: kube, Info: cluster.Info{Version: "v1.37.2"}}
		rel, err := LoadStored(t.Context(), cluster, StoredRelease{Name: "web", Namespace: "shop", Storage: StorageSecrets, Object: "s", Revision: 3}, LoadOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if rel != nil {
			t.Errorf("%s: a release as well", want)
		}
	}
}

func TestChooseRevision(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		statuses []string // of revisions 1, 2, …
		revision int
		newest   string
		deployed []int
	}{
		"the only one":           {[]string{"deployed"}, 1, "deployed", []int{1}},
		"upgraded":               {[]string{"superseded", "deployed"}, 2, "deployed", []int{2}},
		"an upgrade that failed": {[]string{"superseded", "deployed", "failed"}, 2, "failed", []int{2}},
		"never deployed":         {[]string{"failed", "failed"}, 2, "failed", nil},
		"under way":              {[]string{"deployed", "pending-upgrade"}, 1, "pending-upgrade", []int{1}},
		"deployed twice":         {[]string{"deployed", "deployed"}, 2, "deployed", []int{2, 1}},
		"uninstalled":            {[]string{"superseded", "uninstalled"}, 2, "uninstalled", nil},
	} {
		var list []StoredRelease
		for i, s := range tt.statuses {
			list = append(list, StoredRelease{Revision: i + 1, Status: s})
		}
		got := choose(list)
		if got.Revision != tt.revision || got.NewestStatus != tt.newest || got.NewestRevision != len(tt.statuses) || !cmp.Equal(got.Deployed, tt.deployed) {
			t.Errorf("%s: %+v", name, got)
		}
		if got.Uninstalled() != (name == "uninstalled") {
			t.Errorf("%s: uninstalled %v", name, got.Uninstalled())
		}
	}
}

func FuzzDecodeStored(f *testing.F) {
	raw, err := json.Marshal(storedExample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(base64.StdEncoding.EncodeToString(raw)))
	f.Add([]byte(base64.StdEncoding.EncodeToString([]byte(`{"name":"a","info":{},"chart":{"metadata":{},"templates":[null]}}`))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := decodeStored(raw)
		if err != nil {
			return
		}
		if r.Name == "" || r.Info == nil || r.Chart == nil || r.Chart.Metadata == nil {
			t.Fatalf("%+v", r)
		}
		if files, err := storedFiles(r); err == nil {
			if _, err := storedManifests(r, files); err != nil {
				t.Skip()
			}
		}
	})
}
