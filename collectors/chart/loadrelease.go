package chart

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"

	helmcommon "helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
)

// SourceRelease is the source, in evidence.Release.Source, of a release that was
// read from Helm's own storage in a cluster.
const SourceRelease = "release"

// Drivers of Helm's storage that live releases are read from. Helm's SQL driver
// keeps nothing in the cluster.
const (
	StorageSecrets    = "secrets"
	StorageConfigMaps = "configmaps"
)

// Limits on what Helm stored: a Secret or ConfigMap holds at most 1 MiB, and
// Helm stores a release in one.
const (
	maxStored   = 4 << 20   // as it is in the Secret or ConfigMap
	maxUnpacked = 100 << 20 // unpacked
	storagePage = 500       // revisions asked for at once, without content
)

// StoredRelease is a release in Helm's storage, and the revision of it that is
// judged: the deployed one, else the newest.
type StoredRelease struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Storage   string `json:"storage"` // StorageSecrets or StorageConfigMaps
	Object    string `json:"object"`  // the Secret or ConfigMap that holds the revision
	Revision  int    `json:"revision"`
	Status    string `json:"status"` // of the revision, as Helm writes it
	// NewestRevision is that of the release's last operation, with its status.
	NewestRevision int    `json:"newestRevision"`
	NewestStatus   string `json:"newestStatus"`
	// Deployed lists every revision that says that it is deployed: one, normally.
	Deployed []int `json:"deployed,omitempty"`
}

// Ref names the release for people: "namespace/name".
func (s StoredRelease) Ref() string { return s.Namespace + "/" + s.Name }

// Uninstalled reports whether only the release's history is left.
func (s StoredRelease) Uninstalled() bool { return s.NewestStatus == string(common.StatusUninstalled) }

// Stored is what Helm's storage says of a live release: sealed by the collector live.
type Stored struct {
	StoredRelease
	ApplyMethod string `json:"applyMethod,omitempty"` // "ssa" or "csa"
	Hooks       int    `json:"hooks"`
	// Rendering says whether the stored chart, rendered again, gives the stored manifest.
	Rendering Rendering `json:"rendering"`
}

// Rendering compares the stored manifest with a new rendering of the stored
// chart, without a cluster: lookups find nothing, and generated values differ.
type Rendering struct {
	Same     bool   `json:"same"`
	Stored   string `json:"stored"`             // digest of the stored objects, sorted, as canonical JSON
	Rendered string `json:"rendered,omitempty"` // likewise of the rendered ones
	Error    string `json:"error,omitempty"`    // why it could not be rendered again
}

// ListReleases lists the releases in Helm's storage by namespace, name and
// storage; namespace "" stands for all of them. Only labels are fetched. Both
// storages must be readable: a release that cannot be seen must not be left out.
func ListReleases(ctx context.Context, cluster *cluster.Cluster, namespace string) ([]StoredRelease, error) {
	return listReleases(ctx, cluster, namespace, "")
}

// FindRelease is ListReleases for one release by its name.
func FindRelease(ctx context.Context, cluster *cluster.Cluster, namespace, name string) ([]StoredRelease, error) {
	return listReleases(ctx, cluster, namespace, name)
}

func listReleases(ctx context.Context, cluster *cluster.Cluster, namespace, name string) ([]StoredRelease, error) {
	client, err := metadata.NewForConfig(cluster.Config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	selector := "owner=helm"
	if name != "" {
		selector += ",name=" + name
	}
	var found []StoredRelease
	for _, storage := range []string{StorageSecrets, StorageConfigMaps} {
		opts := metav1.ListOptions{LabelSelector: selector, Limit: storagePage}
		for {
			page, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: storage}).Namespace(namespace).List(ctx, opts)
			if err != nil {
				return nil, fmt.Errorf("list Helm's releases in %s: %w; templates/rbac/reader.yaml has the rights that this needs", storage, err)
			}
			for i := range page.Items {
				if r, ok := RevisionOf(storage, &page.Items[i]); ok {
					found = append(found, r)
				}
			}
			if opts.Continue = page.Continue; opts.Continue == "" {
				break
			}
		}
	}
	return Choose(found), nil
}

// RevisionOf is what Helm's labels say of one revision; false for what is somebody else's
// with the same owner label.
func RevisionOf(storage string, m *metav1.PartialObjectMetadata) (StoredRelease, bool) {
	revision, err := strconv.Atoi(m.Labels["version"])
	if err != nil || m.Labels["name"] == "" {
		return StoredRelease{}, false
	}
	return StoredRelease{Name: m.Labels["name"], Namespace: m.Namespace, Storage: storage, Object: m.Name, Revision: revision, Status: m.Labels["status"]}, true
}

// Choose picks of each release, of which there are all revisions, the one that is judged,
// by namespace, name and storage.
func Choose(all []StoredRelease) []StoredRelease {
	type key struct{ namespace, name, storage string }
	found := map[key][]StoredRelease{}
	for _, r := range all {
		k := key{r.Namespace, r.Name, r.Storage}
		found[k] = append(found[k], r)
	}
	out := make([]StoredRelease, 0, len(found))
	for _, revisions := range found {
		out = append(out, choose(revisions))
	}
	slices.SortFunc(out, func(a, b StoredRelease) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Storage, b.Storage))
	})
	return out
}

// choose picks the deployed revision of a release, else the newest.
func choose(revisions []StoredRelease) StoredRelease {
	slices.SortFunc(revisions, func(a, b StoredRelease) int { return cmp.Compare(b.Revision, a.Revision) })
	newest := revisions[0]
	chosen := newest
	var deployed []int
	for _, r := range revisions {
		if r.Status == string(common.StatusDeployed) {
			if len(deployed) == 0 {
				chosen = r
			}
			deployed = append(deployed, r.Revision)
		}
	}
	chosen.NewestRevision, chosen.NewestStatus, chosen.Deployed = newest.Revision, newest.Status, deployed
	return chosen
}

// LoadStored loads a live release: its chart, values and manifest as Helm stored
// them. The manifest is what is judged, not a new rendering; hooks and the CRDs
// of the chart are added to it. Of o, only APIVersions and KubeVersion count,
// which is the cluster's if empty. The caller closes the release. Errors are
// *LoadError, or ctx's cause.
func LoadStored(ctx context.Context, cluster *cluster.Cluster, s StoredRelease, o LoadOptions) (*Release, error) {
	o.ReleaseName, o.Namespace = s.Name, s.Namespace
	if o.KubeVersion == "" {
		o.KubeVersion = cluster.Info.Version
	}
	l := &load{ref: s.Ref(), o: o, stored: true}
	raw, err := readStored(ctx, cluster, s)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, fmt.Errorf("load %s: %w", l.ref, cause)
		}
		return nil, l.fail(StageLoad, err, "")
	}
	var rel *Release
	if o.Workers != nil {
		q := &loadRequest{Raw: raw}
		if q.Stored, err = json.Marshal(s); err != nil {
			return nil, err
		}
		rel, err = l.remotely(ctx, opStored, q)
	} else {
		rel, err = l.fromRecord(ctx, raw, s)
	}
	if err == nil {
		if err = rel.unpack(o.Workers); err != nil {
			err = l.fail(StageLoad, err, "")
		}
	}
	if err == nil {
		return rel, nil
	}
	if rel != nil {
		var le *LoadError
		if errors.As(err, &le) {
			le.Loaded = rel
		}
		err = errors.Join(err, rel.Close())
	}
	return nil, err
}

// fromRecord makes of what Helm stored what is judged. With an error it returns
// what was loaded until then.
func (l *load) fromRecord(ctx context.Context, raw []byte, s StoredRelease) (*Release, error) {
	stored, err := decodeStored(raw)
	if err != nil {
		return nil, l.fail(StageLoad, fmt.Errorf("%s %s: %w", s.Storage, s.Object, err), "helm get all "+s.Name+" -n "+s.Namespace+" shows what Helm makes of it")
	}
	if stored.Name != s.Name || stored.Namespace != "" && stored.Namespace != s.Namespace || stored.Version != s.Revision {
		return nil, l.fail(StageLoad, fmt.Errorf("%s %s holds revision %d of %s/%s, its labels say %d of %s", s.Storage, s.Object,
			stored.Version, stored.Namespace, stored.Name, s.Revision, s.Ref()), "")
	}
	// The labels are Helm's index, the content is what it goes by.
	s.Status = string(stored.Info.Status)
	rel := new(Release)
	return rel, l.fromStored(ctx, rel, stored, s)
}

// readStored reads the revision's record, base64 as Helm wrote it.
func readStored(ctx context.Context, cluster *cluster.Cluster, s StoredRelease) ([]byte, error) {
	var raw []byte
	switch s.Storage {
	case StorageSecrets:
		got, err := cluster.Kube.CoreV1().Secrets(s.Namespace).Get(ctx, s.Object, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		raw = got.Data["release"]
	case StorageConfigMaps:
		got, err := cluster.Kube.CoreV1().ConfigMaps(s.Namespace).Get(ctx, s.Object, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		raw = []byte(got.Data["release"])
	default:
		return nil, fmt.Errorf("storage %q: want %s or %s", s.Storage, StorageSecrets, StorageConfigMaps)
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%s %s holds no release", s.Storage, s.Object)
	}
	return raw, nil
}

var gzipMagic = []byte{0x1f, 0x8b, 0x08}

// decodeStored decodes Helm's record of a release: JSON, compressed, as base64.
// Info, Chart and Chart.Metadata of what it returns are there.
func decodeStored(raw []byte) (*releasev1.Release, error) {
	if len(raw) > maxStored {
		return nil, fmt.Errorf("%d bytes, at most %d are read", len(raw), maxStored)
	}
	b, err := base64.StdEncoding.DecodeString(string(raw))
	if err != nil {
		return nil, fmt.Errorf("not a release of Helm 3 or later: %w", err)
	}
	if bytes.HasPrefix(b, gzipMagic) {
		zr, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		if b, err = io.ReadAll(io.LimitReader(zr, maxUnpacked+1)); err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		if len(b) > maxUnpacked {
			return nil, fmt.Errorf("more than %d bytes unpacked", maxUnpacked)
		}
	}
	out := new(releasev1.Release)
	if err := json.Unmarshal(b, out); err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	switch {
	case out.Name == "":
		return nil, errors.New("the record names no release")
	case out.Info == nil:
		return nil, errors.New("the record has no status")
	case out.Chart == nil || out.Chart.Metadata == nil:
		return nil, errors.New("the record has no chart")
	}
	return out, nil
}

// fromStored fills rel in.
func (l *load) fromStored(ctx context.Context, rel *Release, stored *releasev1.Release, s StoredRelease) error {
	files, err := storedFiles(stored)
	if err != nil {
		return l.fail(StageLoad, err, "")
	}
	rel.addFiles(files)
	rel.UserValues = map[string]any{}
	if stored.Config != nil {
		rel.UserValues = stored.Config
	}
	caps, err := l.capabilities()
	if err != nil {
		return err
	}
	// What the stored chart, rendered again, gives is evidence, and no reason to fail.
	again, err := l.renderAgain(ctx, rel, files, caps)
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("load %s: %w", l.ref, cause)
	}
	if rel.Info.Chart == "" {
		return err // not even described
	}
	if err != nil {
		rel.Record.NotRendered = oneLine(err.Error())
	}
	rel.Info.Source = SourceRelease
	if rel.Manifests, err = storedManifests(stored, files); err != nil {
		return l.fail(StageLoad, err, "")
	}
	set, err := rel.Objects()
	if err != nil {
		return l.fail(StageLoad, err, "")
	}
	rel.Info.ManifestsDigest, rel.Info.Images = evidence.DigestOf(rel.Manifests), manifest.Images(set, l.o.ImageFields)
	rel.Stored = &Stored{StoredRelease: s, ApplyMethod: stored.ApplyMethod, Hooks: len(stored.Hooks), Rendering: Rendering{Error: rel.Record.NotRendered}}
	if rel.Stored.Rendering.Stored, err = objectsDigest(set); err != nil {
		return l.fail(StageLoad, err, "")
	}
	if again != nil {
		rel.Stored.Rendering.compare(again)
	}
	return nil
}

// renderAgain describes the release, fills in its values, and renders the stored
// chart with them.
func (l *load) renderAgain(ctx context.Context, rel *Release, files []chartFile, caps *helmcommon.Capabilities) ([]byte, error) {
	c, err := loader.LoadFiles(buffered(files))
	if err != nil {
		return nil, l.fail(StageLoad, err, "")
	}
	if err := l.describe(rel, c, caps); err != nil {
		return nil, err
	}
	for _, d := range c.Metadata.Dependencies {
		if d != nil {
			rel.Record.Missing = append(rel.Record.Missing, d.Name)
		}
	}
	slices.Sort(rel.Record.Missing)
	scope, err := l.values(rel, c, caps)
	if rel.Values == nil {
		rel.Values = copyValue(rel.UserValues).(map[string]any)
	}
	if rel.Info.ValuesDigest == "" {
		var bad error
		if rel.Info.ValuesDigest, bad = canonicalDigest(rel.Values); bad != nil {
			return nil, errors.Join(err, bad)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(rel.Record.Missing) > 0 {
		return nil, fmt.Errorf("Helm stores no subcharts with a release: %s", strings.Join(rel.Record.Missing, ", ")) //nolint:staticcheck // a name
	}
	return l.render(ctx, rel, c, scope)
}

func (r *Rendering) compare(again []byte) {
	set, err := manifest.Parse(again)
	if err == nil {
		r.Rendered, err = objectsDigest(set)
	}
	if err != nil {
		r.Error = oneLine(err.Error())
		return
	}
	r.Same = r.Rendered == r.Stored
}

// ObjectsDigest is the digest of the objects in manifests, whatever their order and
// form; empty where one cannot be read.
func ObjectsDigest(manifests []byte) (evidence.Digest, error) {
	set, err := manifest.Parse(manifests)
	if err != nil || len(set.Broken) > 0 {
		return "", err
	}
	d, err := objectsDigest(set)
	return evidence.Digest(d), err
}

// objectsDigest is the digest of the objects, whatever their order and form.
func objectsDigest(set *manifest.ObjectSet) (string, error) {
	list := make([]string, 0, len(set.Objects))
	for i := range set.Objects {
		d, err := canonicalDigest(set.Objects[i].Object)
		if err != nil {
			return "", err
		}
		list = append(list, string(d))
	}
	for _, b := range set.Broken {
		list = append(list, "broken "+b.File+" "+b.Error)
	}
	slices.Sort(list)
	d, err := canonicalDigest(list)
	return string(d), err
}

// storedFiles are the files of the stored chart. Helm stores Chart.yaml,
// Chart.lock and values.yaml parsed, so that they are written anew here, without
// comments; and it does not store subcharts.
func storedFiles(stored *releasev1.Release) ([]chartFile, error) {
	set := &fileSet{seen: map[string]bool{}}
	add := func(name string, data []byte) error {
		if set.seen[name] {
			return nil
		}
		return set.add(name, int64(len(data)), bytes.NewReader(data), 0)
	}
	c := stored.Chart
	parsed := []struct {
		name string
		v    any
	}{{"Chart.yaml", c.Metadata}, {"values.yaml", c.Values}}
	if c.Values == nil {
		parsed = parsed[:1]
	}
	if c.Lock != nil {
		parsed = append(parsed, struct {
			name string
			v    any
		}{"Chart.lock", c.Lock})
	}
	for _, p := range parsed {
		raw, err := yaml.Marshal(p.v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if err := add(p.name, raw); err != nil {
			return nil, err
		}
	}
	if len(c.Schema) > 0 {
		if err := add("values.schema.json", c.Schema); err != nil {
			return nil, err
		}
	}
	for _, f := range slices.Concat(c.Templates, c.Files) {
		if f == nil {
			continue
		}
		if err := add(f.Name, f.Data); err != nil {
			return nil, err
		}
	}
	return set.sorted(), nil
}

// storedManifests is the stored manifest as ManifestsFile wants it: the objects,
// the hooks, and the CRDs of the chart, which Helm installs beside both.
func storedManifests(stored *releasev1.Release, files []chartFile) ([]byte, error) {
	var out bytes.Buffer
	chart := stored.Chart.Metadata.Name + "/"
	add := func(file string, documents iter.Seq[manifest.Document]) error {
		for d := range documents {
			if d.Nothing() {
				continue
			}
			name := file
			if d.File != "" && checkName(d.File) == nil {
				name = strings.TrimPrefix(d.File, chart)
			}
			manifest.WriteDocument(&out, name, 0, d)
			if out.Len() > manifest.MaxSize {
				return errTooMuchInput
			}
		}
		return nil
	}
	if err := add("manifest", manifest.Documents([]byte(stored.Manifest))); err != nil {
		return nil, err
	}
	hooks := slices.DeleteFunc(slices.Clone(stored.Hooks), func(h *releasev1.Hook) bool { return h == nil })
	slices.SortStableFunc(hooks, func(a, b *releasev1.Hook) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Name, b.Name))
	})
	for _, h := range hooks {
		name := strings.TrimPrefix(h.Path, chart)
		if checkName(name) != nil {
			name = "hooks"
		}
		if err := add(name, manifest.Documents([]byte(h.Manifest))); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		// Letter case is nothing to Helm here.
		if ext := strings.ToLower(path.Ext(f.name)); IsCRDFile(f.name) && (ext == ".yaml" || ext == ".yml" || ext == ".json") {
			if err := add(f.name, manifest.Stream(f.data)); err != nil {
				return nil, err
			}
		}
	}
	return out.Bytes(), nil
}

// IsCRDFile reports whether Helm installs the file once, before the release, and
// never updates it (https://helm.sh/docs/chart_best_practices/custom_resource_definitions/).
func IsCRDFile(name string) bool { return strings.HasPrefix(name, "crds/") }
