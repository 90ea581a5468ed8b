package collectors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
)

// Names, in evidence.zip, of what loading a release seals for all collectors.
const (
	ReleaseFile   = "release.json"
	PoliciesFile  = "policies.yaml"
	ManifestsFile = "artifacts/release/manifests.yaml" // rendered, redacted, multi-document YAML
	ChartFile     = "artifacts/release/chart.json"     // chart.Record
	ClusterFile   = "artifacts/release/cluster.json"   // cluster.Info, where a cluster was looked at
	ValuesFile    = "artifacts/release/values.yaml"    // coalesced values, redacted
)

// Sealed is the view of sealed artifacts that Findings works on: the raw bytes
// are the truth, what is parsed from them is computed once and shared. It is
// safe for concurrent use; nobody may change what it returns.
type Sealed struct {
	r     evidence.ArtifactReader
	rules *evidence.RuleControls

	objects func() (*manifest.ObjectSet, error)
	release func() (*evidence.Release, error)
	pods    func() ([][]manifest.Workload, error)
	where   func() *where

	mu      sync.Mutex
	digests map[string]evidence.Digest
}

// NewSealed wraps sealed artifacts. rules are the catalog's, by which findings
// count for controls.
func NewSealed(r evidence.ArtifactReader, rules *evidence.RuleControls) *Sealed {
	return NewSealedWith(r, rules, nil)
}

// NewSealedWith is NewSealed for who has just loaded the release that was
// sealed: where the sealed manifests are byte for byte rel's own, nothing having
// been redacted, rel's parsed objects are shared instead of parsed again. rel may
// be nil.
func NewSealedWith(r evidence.ArtifactReader, rules *evidence.RuleControls, rel *chart.Release) *Sealed {
	s := &Sealed{r: r, rules: rules, digests: map[string]evidence.Digest{}}
	s.objects = sync.OnceValues(func() (*manifest.ObjectSet, error) {
		raw, err := r.Read(ManifestsFile)
		if err != nil {
			return nil, err
		}
		if rel != nil && bytes.Equal(raw, rel.Manifests) {
			return rel.Objects()
		}
		return manifest.Parse(raw)
	})
	s.release = sync.OnceValues(func() (*evidence.Release, error) { return parsed[evidence.Release](r, ReleaseFile) })
	s.pods = sync.OnceValues(s.workloads)
	s.where = sync.OnceValue(s.newWhere)
	return s
}

// Read returns an artifact by its name in evidence.zip.
func (s *Sealed) Read(name string) ([]byte, error) { return s.r.Read(name) }

// Names lists the artifacts, sorted.
func (s *Sealed) Names() []string { return s.r.Names() }

// Controls returns the controls that the catalog gives to a rule.
func (s *Sealed) Controls(rule string) []evidence.ControlID { return s.rules.Of(rule) }

// Release returns the parsed release.json.
func (s *Sealed) Release() (*evidence.Release, error) { return s.release() }

// Objects returns the parsed rendered manifests.
func (s *Sealed) Objects() (*manifest.ObjectSet, error) { return s.objects() }

// Workloads returns what each of the Objects, by its place among them, makes pods
// of, with the pod templates that the release names besides the known ones.
func (s *Sealed) Workloads() ([][]manifest.Workload, error) { return s.pods() }

func (s *Sealed) workloads() ([][]manifest.Workload, error) {
	extra, err := s.PodTemplates()
	if err != nil {
		return nil, err
	}
	set, err := s.Objects()
	if err != nil {
		return nil, err
	}
	out := make([][]manifest.Workload, len(set.Objects))
	for i := range set.Objects {
		out[i] = set.Objects[i].Workloads(extra)
	}
	return out, nil
}

// PodTemplates returns the pod templates that the release names besides the known
// ones. The error says which of them is none.
func (s *Sealed) PodTemplates() ([]manifest.ImageField, error) {
	rel, err := s.Release()
	if err != nil {
		return nil, err
	}
	out, err := manifest.ParsePodTemplates(rel.PodTemplates)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ReleaseFile, err)
	}
	return out, nil
}

// ImageFields returns the fields of custom resources that name images, besides
// the known ones. The error says which of them is none.
func (s *Sealed) ImageFields() ([]manifest.ImageField, error) {
	rel, err := s.Release()
	if err != nil {
		return nil, err
	}
	var out []manifest.ImageField
	for _, text := range rel.ImageFields {
		f, err := manifest.ParseImageField(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ReleaseFile, err)
		}
		out = append(out, f)
	}
	return out, nil
}

// Pointer makes an evidence pointer into the named artifact; pointer is a JSON
// pointer, lines a line range; either may be empty.
func (s *Sealed) Pointer(name, pointer, lines string) evidence.Pointer {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.digests[name]
	if !ok {
		if raw, err := s.r.Read(name); err == nil {
			d = evidence.DigestOf(raw)
		}
		s.digests[name] = d
	}
	return evidence.Pointer{Artifact: name, Digest: d, Pointer: pointer, Lines: lines}
}

// Lines points to lines of the rendered manifests, as an object or a document has them.
func (s *Sealed) Lines(from, to int) evidence.Pointer {
	return s.Pointer(ManifestsFile, "", LineRange(from, to))
}

// LineRange is how a pointer names lines: "12", or "12-20".
func LineRange(from, to int) string {
	if from == to {
		return strconv.Itoa(from)
	}
	return strconv.Itoa(from) + "-" + strconv.Itoa(to)
}

// Rendered returns what most findings are about: the release, and the objects of
// its manifests.
func (s *Sealed) Rendered() (*evidence.Release, *manifest.ObjectSet, error) {
	rel, err := s.Release()
	if err != nil {
		return nil, nil, err
	}
	set, err := s.Objects()
	return rel, set, err
}

// Cluster returns the parsed ClusterFile; fs.ErrNotExist where no cluster was looked at.
func (s *Sealed) Cluster() (*cluster.Info, error) { return parsed[cluster.Info](s.r, ClusterFile) }

// Chart returns the parsed ChartFile: what loading recorded.
func (s *Sealed) Chart() (*chart.Record, error) { return parsed[chart.Record](s.r, ChartFile) }

func parsed[T any](r evidence.ArtifactReader, name string) (*T, error) {
	raw, err := r.Read(name)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return v, nil
}
