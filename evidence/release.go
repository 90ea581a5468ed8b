package evidence

// Release is the content of release.json: what was judged, by digest.
type Release struct {
	Scope       Scope  `json:"scope"`
	Source      string `json:"source"` // "chart", "manifests", or "release" for what Helm stored
	Chart       string `json:"chart"`  // the chart's name; the manifests' given name
	Version     string `json:"version,omitempty"`
	AppVersion  string `json:"appVersion,omitempty"`
	ReleaseName string `json:"releaseName"`
	Namespace   string `json:"namespace"`
	KubeVersion string `json:"kubeVersion"` // "1.37"
	Cluster     string `json:"cluster,omitempty"`

	ChartDigest Digest `json:"chartDigest"` // of the sorted list of the chart's files with their digests
	// ArchiveDigest is the digest of the .tgz, when the chart came as one.
	ArchiveDigest Digest `json:"archiveDigest,omitempty"`
	ValuesDigest  Digest `json:"valuesDigest"` // of the coalesced values, canonical JSON
	// ManifestsDigest is that of the true rendered manifests; SealedManifestsDigest
	// that of artifacts/release/manifests.yaml. They differ when secrets were redacted.
	ManifestsDigest       Digest `json:"manifestsDigest"`
	SealedManifestsDigest Digest `json:"sealedManifestsDigest"`
	// ObjectsDigest is that of the objects in the manifests, whatever their order and
	// form. It is not sealed: who compares takes it from the sealed manifests.
	ObjectsDigest Digest   `json:"-"`
	Redactions    int      `json:"redactions"` // how many secret values were redacted before sealing
	Images        []string `json:"images"`     // sorted, as written in the manifests
	// PodTemplates are those of custom resources that the user added to the known
	// ones, GROUP/KIND:PATH=KIND, sorted.
	PodTemplates []string `json:"podTemplates,omitempty"`
	// ImageFields are fields of custom resources that name images, likewise: GROUP/KIND:PATH.
	ImageFields []string `json:"imageFields,omitempty"`

	// Bound says, in a composed verdict, by what its inputs are about the release:
	// one of the Bound constants; empty where an older version composed it.
	Bound      Bound  `json:"bound,omitempty"`
	BoundImage Digest `json:"boundImage,omitempty"` // with BoundToImage: the image's digest
}

// SameManifests reports whether two releases are of the same manifests: by their
// digest; or, where one of them is what Helm stored in a cluster, which sorts
// what it stores, by their objects.
func (r *Release) SameManifests(o *Release) bool {
	const stored = "release"
	return r.ManifestsDigest != "" && r.ManifestsDigest == o.ManifestsDigest ||
		(r.Source == stored) != (o.Source == stored) && r.ObjectsDigest != "" && r.ObjectsDigest == o.ObjectsDigest
}

// Bound is what ties a composed verdict to its inputs.
type Bound string

// What a composed verdict can be bound to.
const (
	BoundToManifests Bound = "manifests" // the same chart, values and rendered manifests, by digest
	BoundToName      Bound = "name"      // the chart's name only
	BoundToImage     Bound = "image"     // releases that run an image, by its digest
)

// ArtifactReader gives read access to what is sealed: release.json,
// policies.yaml and everything under artifacts/, by the name in evidence.zip.
// Reading a name that is not there is fs.ErrNotExist.
type ArtifactReader interface {
	Read(name string) ([]byte, error)
	Names() []string // sorted
}

// ArtifactWriter takes raw artifacts. Name is relative to the collector's own
// folder ("lint.json"); writing a name twice or an unsafe name is an error.
type ArtifactWriter interface {
	Write(name string, content []byte) error
}
