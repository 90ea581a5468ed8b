// Package chart loads what is judged: a Helm chart from a directory, an archive
// or a registry, plain manifests, or what Helm stored in a cluster, rendered with
// Helm's own values and functions, without a cluster and without the network.
package chart

import (
	"sync"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Release is a loaded chart (or plain manifests) with its rendering: the true
// content, in memory only. What is sealed of it goes through a Redactor.
type Release struct {
	Info   evidence.Release // all but SealedManifestsDigest and Redactions is filled in
	Record Record

	// Files are the chart's files (after .helmignore; subcharts' included under
	// charts/NAME/…), sorted by name. Empty for plain manifests.
	Files []File
	// Values are the coalesced values: defaults, then the user's.
	Values map[string]any
	// UserValues are only what the user gave (-f, --set …), merged.
	UserValues map[string]any
	// Manifests is the rendering as sealed before redaction: one YAML document
	// per object, each preceded by "---\n# Source: <file>:<line>\n".
	Manifests []byte
	// SourceMap says which lines of which files made the lines of Manifests, as
	// manifest.ParseSourceMap reads it; nil where that is not known.
	SourceMap []byte

	// Stored says where a live release was read from; nil for charts and manifests.
	Stored *Stored

	// Dir is a directory that holds the chart as Helm's lint wants it (the user's
	// own directory, or an unpacked copy that Close removes). Empty for manifests.
	Dir string
	// LintsWithin says that Helm's linter will render no more than the budget of
	// rendering allows. It is known only where LoadOptions.Workers are guarded.
	LintsWithin bool
	// Calls are the functions called whose result is made up, used or not.
	Calls []string
	close func() error

	parse   sync.Once
	objects *manifest.ObjectSet
	err     error // of parsing
}

// Objects returns the parsed Manifests, parsed once; nobody may change them. It
// is safe for concurrent use.
func (r *Release) Objects() (*manifest.ObjectSet, error) {
	r.parse.Do(func() { r.objects, r.err = manifest.Parse(r.Manifests) })
	return r.objects, r.err
}

// File is one file of a chart.
type File struct {
	Name string // slash-separated, relative to the chart
	Data []byte
}

// Close removes what loading unpacked. It may be called more than once.
func (r *Release) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// Record is what was seen while loading and rendering: sealed as chart.json.
type Record struct {
	Metadata  map[string]any   `json:"metadata,omitempty"` // Chart.yaml as parsed
	Files     []FileRecord     `json:"files,omitempty"`
	Generated []GeneratedValue `json:"generated,omitempty"` // values that rendering would have made up, replaced
	Network   []string         `json:"network,omitempty"`   // network accesses that rendering tried and was refused
	Lookups   []string         `json:"lookups,omitempty"`   // `lookup` calls, answered with nothing as `helm template` does
	// Modes are the ways in which the chart was rendered: as an install, which is
	// judged, and for comparison as an upgrade.
	Modes []string `json:"modes,omitempty"`
	// Depends says on what else than the chart, its values and the version of
	// Kubernetes the rendering depends: objects of an upgrade that nobody judged.
	Depends     []string `json:"depends,omitempty"`
	RenderError string   `json:"renderError,omitempty"`
	// Missing are the subcharts of a live release: Helm does not store them.
	Missing []string `json:"missing,omitempty"`
	// NotRendered says why a live release's chart could not be rendered again: what
	// rendering would show (Generated, Network, Lookups) is then not known.
	NotRendered  string            `json:"notRendered,omitempty"`
	APIVersions  []string          `json:"apiVersions,omitempty"` // --api-versions given
	Capabilities map[string]string `json:"capabilities,omitempty"`
}

// FileRecord is one chart file by digest.
type FileRecord struct {
	Name   string          `json:"name"`
	Size   int64           `json:"size"`
	Digest evidence.Digest `json:"digest"`
}

// GeneratedValue says that a template function whose result differs at every
// rendering was called, and replaced by a deterministic one.
type GeneratedValue struct {
	Function string `json:"function"` // "randAlphaNum"
	Template string `json:"template,omitempty"`
	Count    int    `json:"count"`
}
