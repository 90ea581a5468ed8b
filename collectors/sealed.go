package collectors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/evidence"
)

// Sealed is the view of sealed artifacts that Findings works on: the raw bytes
// are the truth, what is parsed from them is computed once and shared. It is
// safe for concurrent use; nobody may change what it returns.
type Sealed struct {
	r evidence.ArtifactReader

	objects func() (*ObjectSet, error)
	release func() (*evidence.Release, error)

	mu      sync.Mutex
	digests map[string]evidence.Digest
}

// NewSealed wraps sealed artifacts.
func NewSealed(r evidence.ArtifactReader) *Sealed { return NewSealedWith(r, nil) }

// NewSealedWith is NewSealed for who has just loaded the release that was
// sealed: where the sealed manifests are byte for byte rel's own, nothing having
// been redacted, rel's parsed objects are shared instead of parsed again. rel may
// be nil.
func NewSealedWith(r evidence.ArtifactReader, rel *Release) *Sealed {
	s := &Sealed{r: r, digests: map[string]evidence.Digest{}}
	s.objects = sync.OnceValues(func() (*ObjectSet, error) {
		raw, err := r.Read(ManifestsFile)
		if err != nil {
			return nil, err
		}
		if rel != nil && bytes.Equal(raw, rel.Manifests) {
			return rel.Objects()
		}
		return ParseManifests(raw)
	})
	s.release = sync.OnceValues(func() (*evidence.Release, error) {
		raw, err := r.Read(ReleaseFile)
		if err != nil {
			return nil, err
		}
		rel := new(evidence.Release)
		if err := json.Unmarshal(raw, rel); err != nil {
			return nil, fmt.Errorf("parse %s: %w", ReleaseFile, err)
		}
		return rel, nil
	})
	return s
}

// Read returns an artifact by its name in evidence.zip.
func (s *Sealed) Read(name string) ([]byte, error) { return s.r.Read(name) }

// Names lists the artifacts, sorted.
func (s *Sealed) Names() []string { return s.r.Names() }

// Release returns the parsed release.json.
func (s *Sealed) Release() (*evidence.Release, error) { return s.release() }

// Objects returns the parsed rendered manifests.
func (s *Sealed) Objects() (*ObjectSet, error) { return s.objects() }

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

// ObjectSet is the parsed rendering.
type ObjectSet struct {
	Objects []Object
	// Broken are documents that are not Kubernetes objects (bad YAML, no kind …).
	Broken []BrokenDocument
}

// Object is one rendered object with where it came from.
type Object struct {
	unstructured.Unstructured
	File     string // template file: "templates/deployment.yaml", "charts/redis/templates/…"
	Line     int    // line in that template where the object probably starts; 0 unknown
	From, To int    // line range in manifests.yaml, 1-based, inclusive
}

// BrokenDocument is a document that could not be read as an object.
type BrokenDocument struct {
	File     string
	Line     int
	From, To int
	Error    string
}

// Target returns the object as a finding's target; container may be "".
// The namespace is the object's own, or empty.
func (o *Object) Target(container string) evidence.Target {
	return evidence.Target{
		APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Name: o.GetName(), Namespace: o.GetNamespace(),
		Container: container, File: o.File, Line: o.Line,
	}
}
