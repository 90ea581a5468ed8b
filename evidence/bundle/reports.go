package bundle

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

// checkReports holds that the reports are signed by the same key and are what
// this evidence renders to.
func (s *verification) checkReports() (string, error) {
	var here []string
	for _, name := range s.names {
		if !isOwnFile(name) {
			here = append(here, name)
		}
	}
	if !s.has(ReportsFile) {
		if want := s.b.runs.Formats; len(here) == 0 && len(want) > 0 && s.whole {
			return "", fmt.Errorf("the reports that were stored with it (%s) and %s, which signs them, are absent", strings.Join(want, ", "), ReportsFile)
		}
		if len(here) == 0 {
			return "", absent("no reports, and no " + ReportsFile + " that names any")
		}
		err := fmt.Errorf("not signed: %s; %s is absent, and nothing else vouches for a report", strings.Join(here, ", "), ReportsFile)
		if !s.whole {
			err = fmt.Errorf("%w: fetch it, or delete what is not signed", err)
		}
		return "", err
	}
	signed, err := s.signedReports()
	if err != nil {
		return "", err
	}
	missing, err := s.compareReports(here, signed)
	if err != nil {
		return "", err
	}
	if len(here) == 0 {
		return "", absent("signed, and absent: " + strings.Join(missing, ", "))
	}
	also := ""
	if len(missing) > 0 {
		also = "; absent: " + strings.Join(missing, ", ")
	}
	if v := s.b.runs.ReportsVersion(); v != s.reports {
		return "", unmade(fmt.Sprintf("%d are signed and bound to this evidence; what they say is not compared: they were rendered by version %d of the reports, this is %d%s", len(here), v, s.reports, also))
	}
	if s.Render == nil {
		return "", errors.New("nothing to render the reports with")
	}
	// What is not here is not rendered, however long a PDF takes.
	of := func(b *Bundle, keyID string, emit func(string, func(io.Writer) error) error) error {
		return s.Render(b, keyID, func(name string, write func(io.Writer) error) error {
			if !slices.Contains(here, name) {
				return nil
			}
			return emit(name, write)
		})
	}
	again, err := digestReports(s.b, s.result.KeyID, of, nowhere)
	if err != nil {
		return "", fmt.Errorf("render the reports again: %w", err)
	}
	for _, name := range here { // each has the digest that was signed
		if d, ok := again[name]; !ok {
			return "", fmt.Errorf("%s is not a report", name)
		} else if d != signed[name] {
			return "", fmt.Errorf("%s is not what this evidence renders to%s", name, s.otherTool())
		}
	}
	return fmt.Sprintf("%d are signed and are what this evidence renders to%s", len(here), also), nil
}

// signedReports returns the digests of the reports that were signed, by name. The
// statement is verified about its own first subject, which need not be here.
func (s *verification) signedReports() (map[string]evidence.Digest, error) {
	var first evidence.Digest
	raw, err := s.signature(ReportsFile)
	if err != nil {
		return nil, err
	}
	if st, err := attest.Peek(raw); err == nil {
		first = st.Subjects[0].Digest
	}
	st, sig, err := s.signed(ReportsFile, attest.ReportsType, first)
	if err != nil {
		return nil, err
	}
	if sig.KeyID != s.result.KeyID {
		return nil, errors.New("the reports are signed by another key than the evidence")
	}
	signed := map[string]evidence.Digest{}
	for _, x := range st.Subjects {
		signed[x.Name] = x.Digest
	}
	want, err := reportsStatement(s.b, signed)
	if err != nil {
		return nil, err
	}
	if err := sameStatement(st, want); err != nil {
		return nil, fmt.Errorf("%s: %w", ReportsFile, err)
	}
	return signed, nil
}

// compareReports holds that each report that is here is one that was signed, and
// returns those that are absent, which in a whole bundle none may be.
func (s *verification) compareReports(here []string, signed map[string]evidence.Digest) (missing []string, err error) {
	var wrong []string
	for _, name := range here {
		d, ok := signed[name]
		switch {
		case !ok && s.whole:
			wrong = append(wrong, name+" is extra")
			continue
		case !ok:
			wrong = append(wrong, name+" is not signed: delete it")
			continue
		}
		got, err := digestFile(s.src, name)
		if err != nil {
			return nil, err
		}
		if got != d {
			wrong = append(wrong, name+" is altered")
		}
	}
	for name := range signed {
		if !slices.Contains(here, name) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	if s.whole {
		for _, name := range missing {
			wrong = append(wrong, name+" is absent")
		}
	}
	if len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, ", "))
	}
	return missing, nil
}

// SignedReports returns the names that a reports.sigstore.json gives, unverified:
// to know which files beside it are said to be reports.
func SignedReports(raw []byte) []string {
	st, err := attest.Peek(raw)
	if err != nil || st.PredicateType != attest.ReportsType {
		return nil
	}
	var names []string
	for _, x := range st.Subjects {
		if reportName(x.Name) {
			names = append(names, x.Name)
		}
	}
	return names
}

func (s *verification) checkSummary() (string, error) {
	want, err := vsaStatement(s.b)
	if err != nil {
		return "", err
	}
	if !s.has(VSAFile) && !s.whole {
		return "", absent(VSAFile + " is absent")
	}
	st, sig, err := s.signed(VSAFile, attest.VSAType, want.Subjects[0].Digest)
	if err != nil {
		return "", err
	}
	if err := sameStatement(st, want); err != nil {
		return "", fmt.Errorf("%s: %w", VSAFile, err)
	}
	if sig.KeyID != s.result.KeyID {
		return "", errors.New("the verification summary is signed by another key than the evidence")
	}
	return "the verification summary says the same as the verdict", nil
}
