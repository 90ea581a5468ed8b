package images

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
)

// PolicyFile is the artifact that has what images were judged by.
const PolicyFile = folder + policyFile

// CheckRegistries says what is wrong with an allow-list.
func CheckRegistries(allow []string) error { return (&Policy{Registries: allow}).check() }

// Lists is what somebody who did not collect the evidence judges its images by. It is
// sealed with the files that it names.
type Lists struct {
	// Policy is the scan policy. Its Controls, its Registries and its At are not used.
	Policy Policy       `json:"policy"`
	VEX    []fileRecord `json:"vex,omitempty"`
	KEV    *listRecord  `json:"kev,omitempty"`
	EPSS   *listRecord  `json:"epss,omitempty"`

	files map[string][]byte
	kev   *list[kevEntry] // whole; nil: the sealed rows are all there is
	epss  *list[float64]
}

// ReadLists reads what images are to be judged by. Its files are called what they are
// to be sealed as, in the folder of evidence.zip. An error names the file or field
// that cannot be used.
func ReadLists(pol Policy, src Sources, folder string) (*Lists, error) {
	if err := pol.check(); err != nil {
		return nil, err
	}
	l := &Lists{Policy: pol, files: map[string][]byte{}}
	docs, err := readVEX(src.VEX)
	if err != nil {
		return nil, err
	}
	for i, d := range docs {
		name := fmt.Sprintf("%s/vex/%03d.json", folder, i+1)
		l.VEX, l.files[name] = append(l.VEX, fileRecord{d.name, name}), d.raw
	}
	if l.kev, l.epss, err = readKnown(src); err != nil {
		return nil, err
	}
	if l.kev != nil {
		l.KEV = &l.kev.listRecord
		l.KEV.Artifact = folder + "/kev.json"
	}
	if l.epss != nil {
		l.EPSS = &l.epss.listRecord
		l.EPSS.Artifact = folder + "/epss.json"
	}
	return l, nil
}

// DefaultLists is what images are judged by where nothing was named.
func DefaultLists() *Lists { return &Lists{Policy: DefaultPolicy()} }

// Open gives lists that were parsed of their sealed form the files that they name. An
// error says what cannot be read.
func (l *Lists) Open(in evidence.ArtifactReader) error {
	l.files = map[string][]byte{}
	names := []string{}
	for _, v := range l.VEX {
		names = append(names, v.Artifact)
	}
	for _, rec := range []*listRecord{l.KEV, l.EPSS} {
		if rec != nil {
			names = append(names, rec.Artifact)
		}
	}
	for _, name := range names {
		var err error
		if l.files[name], err = in.Read(name); err != nil {
			return err
		}
	}
	return l.Policy.check()
}

// Files are those to be sealed with the lists, by name.
func (l *Lists) Files() map[string][]byte { return l.files }

// About is the lists with those rows alone that are about vulnerabilities which the
// evidence reports. An error says which artifact cannot be read.
func (l *Lists) About(all ...evidence.ArtifactReader) (*Lists, error) {
	if l.kev == nil && l.epss == nil {
		return l, nil
	}
	ids := map[string]bool{}
	for _, in := range all {
		_, rec, err := sealedBy(in)
		if err != nil {
			return nil, err
		}
		for _, r := range rec.Reports {
			raw, err := in.Read(r.Artifact)
			if err != nil {
				return nil, err
			}
			report, err := scan.Read(bytes.NewReader(raw), scan.DefaultLimits())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Artifact, err)
			}
			for i := range report.Vulnerabilities {
				v := &report.Vulnerabilities[i]
				for _, id := range append([]string{v.ID}, v.Aliases...) {
					ids[id] = true
				}
			}
		}
	}
	out := *l
	out.files, out.kev, out.epss = map[string][]byte{}, nil, nil
	for name, raw := range l.files {
		out.files[name] = raw
	}
	for _, x := range []struct {
		rec  *listRecord
		rows func() any
	}{{l.KEV, func() any { return l.kev.only(ids) }}, {l.EPSS, func() any { return l.epss.only(ids) }}} {
		if x.rec == nil {
			continue
		}
		var err error
		if out.files[x.rec.Artifact], err = json.Marshal(x.rows()); err != nil {
			return nil, fmt.Errorf("%s: %w", x.rec.Name, err)
		}
	}
	return &out, nil
}

// sealedBy parses the policy and the record of evidence.
func sealedBy(in evidence.ArtifactReader) (p Policy, rec record, err error) {
	for _, x := range []struct {
		name string
		to   any
	}{{PolicyFile, &p}, {folder + recordFile, &rec}} {
		raw, err := in.Read(x.name)
		if err != nil {
			return p, rec, err
		}
		if err := json.Unmarshal(raw, x.to); err != nil {
			return p, rec, fmt.Errorf("%s: %w", x.name, err)
		}
	}
	return p, rec, nil
}

// Taken says what is taken from the evidence, because whoever judges asked for that.
type Taken struct{ Scans, VEX bool }

// Override is evidence with other lists in the place of its own.
type Override struct {
	// Files are artifacts by name, over those of the evidence.
	Files map[string][]byte
	// Registries is the allow-list of the evidence.
	Registries []string
	// Ignored says, in words, what the evidence was collected with that is more lenient
	// than what decides, or is not known to be true. Taken is what was taken from it.
	Ignored, Taken []string
	// Same reports that nothing but the allow-list differs: all other findings stand.
	Same bool
}

// Over puts the lists and an allow-list of registries over those of evidence. Findings
// derived with it are those that collecting with these lists would have made of the
// same scans. controls are those of registries, which are judged in any case. A limit
// that is the default does not loosen the one of the evidence, which may be stricter,
// and what the evidence knows to be exploited stays known, where there is no other
// list. An error says which artifact cannot be read.
func (l *Lists) Over(in evidence.ArtifactReader, allow []string, controls []evidence.ControlID, taken Taken) (*Override, error) {
	p, rec, err := sealedBy(in)
	if err != nil {
		return nil, err
	}
	was, wasRec := p, rec
	o := &Override{Files: map[string][]byte{}, Registries: p.Registries}
	p.Registries = allow
	if taken.Scans {
		o.Taken = p.says()
	} else {
		o.Ignored = p.hold(&l.Policy)
	}
	for _, f := range l.Policy.Fields { // what names images excuses nothing
		if !slices.Contains(p.Fields, f) {
			p.Fields = append(slices.Clone(p.Fields), f)
		}
	}
	if l.EPSS != nil {
		rec.EPSS, p.EPSSAbove = l.EPSS, l.Policy.EPSSAbove
	}
	if l.KEV != nil {
		rec.KEV = l.KEV
	}
	switch n := len(rec.VEX); {
	case taken.VEX && n > 0:
		o.Taken = append(o.Taken, fmt.Sprintf("OpenVEX documents (%d)", n))
	case !taken.VEX:
		rec.VEX = l.VEX
		other, err := l.othersThan(in, wasRec.VEX)
		if err != nil {
			return nil, err
		}
		if other > 0 {
			o.Ignored = append(o.Ignored, fmt.Sprintf("OpenVEX documents (%d)", other))
		}
	}
	same, err := equalJSON(p, rec, was, wasRec, allow)
	if err != nil {
		return nil, err
	}
	if o.Same = same; same {
		p.Controls = controls
	} else {
		p.Controls = slices.Compact(slices.Sorted(slices.Values(slices.Concat(p.Controls, controls))))
	}
	for name, raw := range l.files {
		o.Files[name] = raw
	}
	for name, v := range map[string]any{PolicyFile: p, folder + recordFile: rec} {
		if o.Files[name], err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return o, nil
}

// equalJSON compares what is judged by, but for the allow-list.
func equalJSON(p Policy, rec record, was Policy, wasRec record, allow []string) (bool, error) {
	was.Registries = allow
	a, err := json.Marshal([]any{p, rec})
	if err != nil {
		return false, err
	}
	b, err := json.Marshal([]any{was, wasRec})
	return string(a) == string(b), err
}

// othersThan counts the documents of the evidence that are none of the lists'.
func (l *Lists) othersThan(in evidence.ArtifactReader, sealed []fileRecord) (int, error) {
	own := map[evidence.Digest]bool{}
	for _, v := range l.VEX {
		own[evidence.DigestOf(l.files[v.Artifact])] = true
	}
	n := 0
	for _, v := range sealed {
		raw, err := in.Read(v.Artifact)
		if err != nil {
			return 0, err
		}
		if !own[evidence.DigestOf(raw)] {
			n++
		}
	}
	return n, nil
}

// hold replaces what a sealed policy excuses by what another one does, and says what
// of it is more lenient.
func (p *Policy) hold(by *Policy) (lenient []string) {
	was, def := *p, DefaultPolicy()
	limit := func(own *evidence.Duration, by, def evidence.Duration, what string) {
		before := *own
		if *own = by; by == def {
			*own = min(before, def)
		}
		if before > *own {
			lenient = append(lenient, fmt.Sprintf("%s of %s", what, hours(before)))
		}
	}
	limit(&p.MaxScanAge, by.MaxScanAge, def.MaxScanAge, "scans")
	limit(&p.MaxDatabaseAge, by.MaxDatabaseAge, def.MaxDatabaseAge, "databases")
	if p.Grace = by.Grace; was.Grace > by.Grace {
		lenient = append(lenient, fmt.Sprintf("a grace of %s for new vulnerabilities", hours(was.Grace)))
	}
	if p.FixableOnly = by.FixableOnly; was.FixableOnly && !by.FixableOnly {
		lenient = append(lenient, "vulnerabilities that nothing fixes only warn")
	}
	p.Platforms = slices.Clone(by.Platforms)
	if slices.Equal(by.Platforms, def.Platforms) {
		for _, s := range was.Platforms {
			if !hasPlatform(p.Platforms, s) {
				p.Platforms = append(p.Platforms, s)
			}
		}
		// The order of the evidence stays where nothing else does not.
		if len(p.Platforms) == len(was.Platforms) {
			p.Platforms = was.Platforms
		}
	}
	if slices.ContainsFunc(p.Platforms, func(s string) bool { return !hasPlatform(was.Platforms, s) }) {
		lenient = append(lenient, "nothing but "+strings.Join(was.Platforms, ", ")+" looked at")
	}
	return lenient
}

func hasPlatform(list []string, want string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return samePlatform(s, want) })
}

// says what of a policy excuses, in words.
func (p *Policy) says() []string {
	out := []string{fmt.Sprintf("scans of %s and databases of %s at most", time.Duration(p.MaxScanAge), time.Duration(p.MaxDatabaseAge))}
	if p.Grace > 0 {
		out = append(out, fmt.Sprintf("a grace of %s for new vulnerabilities", time.Duration(p.Grace)))
	}
	if p.FixableOnly {
		out = append(out, "vulnerabilities that nothing fixes only warn")
	}
	if !slices.Equal(p.Platforms, DefaultPolicy().Platforms) {
		out = append(out, "platforms "+strings.Join(p.Platforms, ", "))
	}
	return out
}

// readVEX reads OpenVEX documents.
func readVEX(paths []string) ([]file, error) {
	var out []file
	for _, path := range paths {
		raw, err := readBounded(path, maxVEX)
		if err != nil {
			return nil, fmt.Errorf("VEX document: %w", err)
		}
		if _, err := parseVEX(raw); err != nil {
			return nil, fmt.Errorf("VEX document %s: %w", path, err)
		}
		out = append(out, file{filepath.Base(path), raw})
	}
	return out, nil
}

// readKnown reads the lists of what is, or may be, exploited; nil: none was named.
func readKnown(src Sources) (kev *list[kevEntry], epss *list[float64], err error) {
	if src.KEV != "" {
		kev, err = readList("KEV list", src.KEV, parseKEV)
	}
	if src.EPSS != "" && err == nil {
		epss, err = readList("EPSS list", src.EPSS, parseEPSS)
	}
	return kev, epss, err
}
