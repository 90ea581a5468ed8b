// Package bundle is the evidence bundle: everything that a verdict rests on in
// one deterministic zip, one signature over it, and the reports that it renders
// to. Verify checks all of that again, the reasoning included.
package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// The files of a bundle beside its reports.
const (
	EvidenceFile  = "evidence.zip"
	SignatureFile = "evidence.sigstore.json"
	ReportsFile   = "reports.sigstore.json"
	VSAFile       = "verdict.vsa.sigstore.json"
)

// isOwnFile reports whether a bundle's file is none of its reports.
func isOwnFile(name string) bool {
	return slices.Contains([]string{EvidenceFile, SignatureFile, ReportsFile, VSAFile}, name)
}

// The files of evidence.zip, beside artifacts/, that are there before anything is
// derived: what was judged, and by what.
const (
	ReleaseFile  = "release.json"
	ProfileFile  = "profile.yaml"
	CatalogFile  = "catalog.yaml"
	WaiversFile  = "waivers.yaml"
	PoliciesFile = "policies.yaml"
)

// What is derived from them.
const (
	runsFile     = "runs.json"
	findingsFile = "findings.json"
	verdictFile  = "verdict.json"
	inputsFile   = "inputs.json"

	artifactsPrefix = "artifacts/"
)

var (
	givenFiles    = []string{ReleaseFile, ProfileFile, CatalogFile, WaiversFile, PoliciesFile}
	requiredFiles = slices.Concat(givenFiles, []string{runsFile, findingsFile, verdictFile})
)

// Contents is what goes into evidence.zip: the bytes that findings and verdict
// were derived from, as they are, and what was derived.
type Contents struct {
	// Files are ReleaseFile, ProfileFile, CatalogFile, WaiversFile, PoliciesFile and
	// the artifacts, by name in the zip. Nobody else holds them: what a report says
	// of a release is read from here, redacted as it is.
	Files    map[string][]byte
	Runs     evidence.Runs
	Findings []evidence.Finding
	Verdict  evidence.Verdict
	Inputs   []evidence.BundleRef // the bundles that a composed verdict rests on
}

// Release parses the release record.
func (c *Contents) Release() (*evidence.Release, error) {
	rel := new(evidence.Release)
	if err := readRecord(c.Files[ReleaseFile], rel); err != nil {
		return nil, fmt.Errorf("%s: %w", ReleaseFile, err)
	}
	return rel, nil
}

// Pack returns evidence.zip. The same contents give the same bytes.
func Pack(c *Contents) ([]byte, error) {
	files := maps.Clone(c.Files)
	for _, name := range givenFiles {
		if _, ok := files[name]; !ok {
			return nil, fmt.Errorf("pack %s: it is missing", name)
		}
	}
	for name := range files {
		if !strings.HasPrefix(name, artifactsPrefix) && !slices.Contains(givenFiles, name) {
			return nil, fmt.Errorf("pack %s: artifacts live under %s", name, artifactsPrefix)
		}
	}
	rel, err := c.Release()
	if err != nil {
		return nil, fmt.Errorf("pack %w", err)
	}
	for name, v := range map[string]any{runsFile: c.Runs, verdictFile: c.Verdict} {
		raw, err := CanonicalJSON(v)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		files[name] = raw
	}
	if files[findingsFile], err = canonicalList(c.Findings); err != nil {
		return nil, fmt.Errorf("pack %s: %w", findingsFile, err)
	}
	if rel.Scope == evidence.ScopeComposed {
		raw, err := CanonicalJSON(nonNil(c.Inputs))
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", inputsFile, err)
		}
		files[inputsFile] = raw
	} else if len(c.Inputs) > 0 {
		return nil, fmt.Errorf("pack %s: inputs of a bundle of scope %s: only a composed one has any", inputsFile, rel.Scope)
	}
	return writeZip(files)
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Bundle is an opened evidence.zip. Opening proves nothing about who made it:
// see Verifier. Nobody may change what it returns.
type Bundle struct {
	id       evidence.Digest
	files    map[string][]byte
	release  evidence.Release
	runs     evidence.Runs
	findings []evidence.Finding
	verdict  evidence.Verdict
	inputs   []evidence.BundleRef
}

// Open unpacks evidence.zip within the limits and reads its records strictly:
// a record that is not exactly what Pack writes is refused.
func Open(zip []byte, lim Limits) (*Bundle, error) {
	files, err := readZip(zip, lim)
	if err != nil {
		return nil, err
	}
	b := &Bundle{id: evidence.DigestOf(zip), files: files}
	for name := range files {
		if !strings.HasPrefix(name, artifactsPrefix) && !slices.Contains(requiredFiles, name) && name != inputsFile {
			return nil, fmt.Errorf("evidence.zip holds %s, which does not belong there", name)
		}
	}
	for _, name := range requiredFiles {
		if _, ok := files[name]; !ok {
			return nil, fmt.Errorf("evidence.zip lacks %s", name)
		}
	}
	records := map[string]any{ReleaseFile: &b.release, runsFile: &b.runs, verdictFile: &b.verdict}
	if _, ok := files[inputsFile]; ok {
		records[inputsFile] = &b.inputs
	}
	for name, v := range records {
		if err := readRecord(files[name], v); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if b.findings, err = readFindings(files[findingsFile]); err != nil {
		return nil, fmt.Errorf("%s: %w", findingsFile, err)
	}
	if _, ok := files[inputsFile]; ok != (b.release.Scope == evidence.ScopeComposed) {
		return nil, fmt.Errorf("a bundle of scope %s and %s do not go together", b.release.Scope, inputsFile)
	}
	return b, nil
}

// readRecord parses canonical JSON and holds that writing it again gives the same
// bytes: no unknown, repeated or differently spelled key, no other form of a value.
func readRecord(raw []byte, v any) error {
	if len(raw) == 0 || raw[0] != '{' && raw[0] != '[' {
		return errors.New("not a JSON object or list")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	again, err := CanonicalJSON(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, again) {
		return errDiffers
	}
	return nil
}

// ID is the digest of evidence.zip: the bundle's id.
func (b *Bundle) ID() evidence.Digest { return b.id }

// Release returns release.json.
func (b *Bundle) Release() *evidence.Release { return &b.release }

// Runs returns runs.json.
func (b *Bundle) Runs() *evidence.Runs { return &b.runs }

// Findings returns findings.json.
func (b *Bundle) Findings() []evidence.Finding { return b.findings }

// Verdict returns verdict.json.
func (b *Bundle) Verdict() *evidence.Verdict { return &b.verdict }

// Inputs returns the bundles that a composed verdict rests on.
func (b *Bundle) Inputs() []evidence.BundleRef { return b.inputs }

// Profile returns profile.yaml as sealed.
func (b *Bundle) Profile() []byte { return b.files[ProfileFile] }

// Catalog returns catalog.yaml as sealed.
func (b *Bundle) Catalog() []byte { return b.files[CatalogFile] }

// Waivers returns waivers.yaml as sealed.
func (b *Bundle) Waivers() []byte { return b.files[WaiversFile] }

// Baseline returns what was known of the release when it was judged; nil: no baseline
// was given.
func (b *Bundle) Baseline() (*evidence.BaselineRelease, error) {
	raw, ok := b.files[evidence.BaselineFile]
	if !ok {
		return nil, nil //nolint:nilnil // there is none
	}
	return ReadBaseline(raw)
}

// ReadBaseline parses the sealed form of one release's baseline.
func ReadBaseline(raw []byte) (*evidence.BaselineRelease, error) {
	r := new(evidence.BaselineRelease)
	if err := readRecord(raw, r); err != nil {
		return nil, fmt.Errorf("%s: %w", evidence.BaselineFile, err)
	}
	return r, nil
}

// Names implements evidence.ArtifactReader.
func (b *Bundle) Names() []string {
	var names []string
	for name := range b.files {
		if readable(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Read implements evidence.ArtifactReader.
func (b *Bundle) Read(name string) ([]byte, error) {
	raw, ok := b.files[name]
	if !ok || !readable(name) {
		return nil, fmt.Errorf("artifact %q: %w", name, fs.ErrNotExist)
	}
	return raw, nil
}

// readable are the files that findings are derived from; findings, runs and
// verdict are what is derived.
func readable(name string) bool {
	return name == ReleaseFile || name == PoliciesFile || strings.HasPrefix(name, artifactsPrefix)
}
