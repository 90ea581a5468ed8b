package scan

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/companyos/helmproof/evidence"
)

// Limits bound what Read reads and keeps.
type Limits struct {
	MaxBytes           int64 // of the report
	MaxVulnerabilities int
	MaxPackages        int // of a CycloneDX document
}

// DefaultLimits allows reports of 128 MiB.
func DefaultLimits() Limits {
	return Limits{MaxBytes: 128 << 20, MaxVulnerabilities: 200_000, MaxPackages: 500_000}
}

// Limits on single texts, in bytes: longer ids are refused, other texts are cut.
const (
	maxID   = 128
	maxText = 1000
)

// parser reads the members of one format's document.
type parser interface {
	// member reads the value of a member; it has to consume it.
	member(r *reader, name string) error
	// report is called after the document's end.
	report() (*Report, error)
}

// members tell formats apart: the first of these in a document decides.
var members = map[string]Format{
	"SchemaVersion": Trivy, "ArtifactName": Trivy, "ArtifactType": Trivy, "Results": Trivy, "ReportID": Trivy, "Trivy": Trivy,
	"matches": Grype, "ignoredMatches": Grype, "descriptor": Grype, "distro": Grype,
	"runs":      SARIF,
	"bomFormat": CycloneDX,
	"results":   OSV, "experimental_config": OSV, "scanner": OSV,
}

func newParser(f Format) parser {
	switch f {
	case Trivy:
		return &trivyDoc{}
	case Grype:
		return &grypeDoc{}
	case SARIF:
		return &sarifDoc{}
	case CycloneDX:
		return &cyclonedxDoc{packages: map[string]Package{}}
	case OSV:
		return &osvDoc{}
	}
	panic("no parser for " + string(f))
}

// Read reads one report of any format. It reads r to its end and keeps no more
// of it than the normal form. Member names count as they are written; a document
// with the same member twice, or with bytes that are no UTF-8, is refused. An
// error that wraps ErrFormat says that it is no report at all.
func Read(in io.Reader, lim Limits) (*Report, error) {
	// The last byte of the limit is for noticing that there is more.
	src := &io.LimitedReader{R: in, N: lim.MaxBytes + 1}
	r := &reader{dec: jsontext.NewDecoder(src), lim: lim}
	out, format, err := read(r)
	if src.N <= 0 {
		return nil, fmt.Errorf("more than the %d bytes that are read of a scan report", lim.MaxBytes)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrFormat):
		return nil, err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s report: cut off: it ends after %d bytes, at %s", format, r.dec.InputOffset(), r.where())
	default:
		return nil, fmt.Errorf("%s report: %s", format, clip(err.Error()))
	}
	slices.SortStableFunc(out.Vulnerabilities, func(a, b Vulnerability) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package.Name, b.Package.Name), cmp.Compare(a.Package.Version, b.Package.Version),
			cmp.Compare(a.Package.Path, b.Package.Path), cmp.Compare(a.Layer, b.Layer))
	})
	slices.Sort(out.Image.Digests)
	out.Image.Digests = slices.Compact(out.Image.Digests)
	slices.Sort(out.Gaps)
	out.Gaps = slices.Compact(out.Gaps)
	return out, nil
}

const wantFormats = "want JSON of Trivy, Grype, osv-scanner, SARIF or CycloneDX"

func read(r *reader) (*Report, Format, error) {
	switch kind := r.dec.PeekKind(); kind {
	case '{':
	case '[':
		return nil, "", fmt.Errorf("%w: a bare list, as Trivy wrote before its schema version 2; %s", ErrFormat, wantFormats)
	default:
		if _, err := r.dec.ReadToken(); err != nil {
			return nil, "", fmt.Errorf("%w: %s; %s", ErrFormat, clip(err.Error()), wantFormats)
		}
		return nil, "", fmt.Errorf("%w: no JSON object; %s", ErrFormat, wantFormats)
	}
	var p parser
	var format Format
	err := r.object(func(name string) error {
		if p == nil {
			f, ok := members[name]
			if !ok {
				return r.dec.SkipValue()
			}
			p, format = newParser(f), f
		}
		return p.member(r, name)
	})
	if p == nil {
		if err == nil {
			err = errors.New("no member that a report starts with")
		}
		return nil, "", fmt.Errorf("%w: %s; %s", ErrFormat, clip(err.Error()), wantFormats)
	}
	if err != nil {
		return nil, format, err
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("something follows the document")
		}
		return nil, format, err
	}
	out, err := p.report()
	return out, format, err
}

// reader walks a document.
type reader struct {
	dec *jsontext.Decoder
	lim Limits
}

// object reads an object; f has to read each member's value. null is an empty object.
func (r *reader) object(f func(name string) error) error {
	if null, err := r.open('{'); null || err != nil {
		return err
	}
	for r.dec.PeekKind() == '"' {
		t, err := r.dec.ReadToken()
		if err != nil {
			return err
		}
		if err := f(t.String()); err != nil {
			return err
		}
	}
	_, err := r.dec.ReadToken()
	return err
}

// array reads an array; f has to read each element. null is an empty array.
func (r *reader) array(f func(i int) error) error {
	if null, err := r.open('['); null || err != nil {
		return err
	}
	for i := 0; ; i++ {
		switch r.dec.PeekKind() {
		case ']', 0:
			_, err := r.dec.ReadToken()
			return err
		}
		if err := f(i); err != nil {
			return err
		}
	}
}

func (r *reader) open(kind jsontext.Kind) (null bool, err error) {
	t, err := r.dec.ReadToken()
	switch {
	case err != nil:
		return false, err
	case t.Kind() == 'n':
		return true, nil
	case t.Kind() != kind:
		return false, fmt.Errorf("%s: want %s, have %s", r.where(), kindName(kind), kindName(t.Kind()))
	}
	return false, nil
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{', '}':
		return "an object"
	case '[', ']':
		return "a list"
	case '"':
		return "a text"
	case '0':
		return "a number"
	case 't', 'f':
		return "a truth value"
	}
	return k.String()
}

func (r *reader) where() string {
	if p := string(r.dec.StackPointer()); p != "" {
		return clip(p)
	}
	return "its start"
}

// value reads a value into v.
func (r *reader) value(v any) error { return json.UnmarshalDecode(r.dec, v) }

// skip passes over a value.
func (r *reader) skip() error { return r.dec.SkipValue() }

// pointer is the JSON pointer of what was read last.
func (r *reader) pointer() string { return string(r.dec.StackPointer()) }

// keep appends a vulnerability, within the limits.
func (r *reader) keep(list []Vulnerability, v Vulnerability) ([]Vulnerability, error) {
	if len(list) == r.lim.MaxVulnerabilities {
		return nil, fmt.Errorf("more than the %d vulnerabilities that are read of a report", r.lim.MaxVulnerabilities)
	}
	if v.ID == "" {
		return nil, fmt.Errorf("%s: a vulnerability without an id", r.where())
	}
	for _, id := range append([]string{v.ID}, v.Aliases...) {
		if len(id) > maxID {
			return nil, fmt.Errorf("%s: the id of a vulnerability has %d bytes, at most %d are read", r.where(), len(id), maxID)
		}
	}
	slices.Sort(v.Aliases)
	v.Aliases = slices.DeleteFunc(slices.Compact(v.Aliases), func(s string) bool { return s == v.ID || s == "" })
	if len(v.Aliases) == 0 {
		v.Aliases = nil
	}
	v.Fixed = slices.DeleteFunc(v.Fixed, func(s string) bool { return s == "" })
	slices.Sort(v.Fixed)
	v.Fixed = slices.Compact(v.Fixed)
	if len(v.Fixed) == 0 {
		v.Fixed = nil
	}
	slices.SortFunc(v.CVSS, func(a, b CVSS) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Vector, b.Vector), cmp.Compare(a.Score, b.Score))
	})
	v.CVSS = slices.Compact(v.CVSS)
	for _, s := range []*string{&v.Title, &v.URL, &v.Status, &v.SeveritySource, &v.Layer, &v.Suppressed, &v.Package.Name, &v.Package.Version, &v.Package.Path, &v.Package.PURL, &v.Package.Type} {
		*s = clip(*s)
	}
	for i := range v.Fixed {
		v.Fixed[i] = clip(v.Fixed[i])
	}
	return append(list, v), nil
}

// clip cuts a text.
func clip(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// severityWord reads a severity as scanners write it; empty: not known.
func severityWord(s string) evidence.Severity {
	switch strings.ToLower(s) {
	case "critical":
		return evidence.SeverityCritical
	case "high", "important":
		return evidence.SeverityHigh
	case "medium", "moderate":
		return evidence.SeverityMedium
	case "low":
		return evidence.SeverityLow
	case "negligible", "info", "informational", "none":
		return evidence.SeverityInfo
	}
	return ""
}

// severityScore is the rating of a CVSS v3 or v4 base score; 0 is not known.
func severityScore(score float64) evidence.Severity {
	switch {
	case score >= 9:
		return evidence.SeverityCritical
	case score >= 7:
		return evidence.SeverityHigh
	case score >= 4:
		return evidence.SeverityMedium
	case score > 0:
		return evidence.SeverityLow
	}
	return ""
}

// digestIn returns the sha256 digest at the end of "name@sha256:…", or of the
// text itself; empty: there is none.
func digestIn(s string) evidence.Digest {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	d, err := evidence.ParseDigest(s)
	if err != nil {
		return ""
	}
	return d
}

func addDigest(list []evidence.Digest, s string) []evidence.Digest {
	if d := digestIn(s); d != "" {
		return append(list, d)
	}
	return list
}

// purlType is the type of a package URL; empty: it is none.
func purlType(purl string) string {
	rest, ok := strings.CutPrefix(purl, "pkg:")
	if !ok {
		return ""
	}
	t, _, _ := strings.Cut(rest, "/")
	return strings.ToLower(t)
}

func platform(os, arch, variant string) string {
	if os == "" || arch == "" {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(os+"/"+arch+"/"+variant, "/"))
}
