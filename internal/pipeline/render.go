package pipeline

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/pdf"
)

// Renderer renders the named report formats of a bundle: reports are functions of it.
func Renderer(formats []string) bundle.RenderFunc {
	return func(b *bundle.Bundle, keyID string, emit func(name string, write func(io.Writer) error) error) error {
		in, err := ReportInput(b, keyID)
		if err != nil {
			return err
		}
		doc := report.New(in)
		var g errgroup.Group
		if len(in.Findings) > manyFindings {
			g.SetLimit(1)
		}
		for _, f := range report.Formats() {
			if !slices.ContainsFunc(formats, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), f.Name) }) {
				continue
			}
			g.Go(func() error {
				return emit(f.FileName, func(w io.Writer) error {
					if err := Render(w, doc, f.Name, ""); err != nil {
						return fmt.Errorf("render %s: %w", f.FileName, err)
					}
					return nil
				})
			})
		}
		return g.Wait()
	}
}

// manyFindings is from how many on reports are rendered one after the other: each is
// then larger than all that it is made from.
const manyFindings = 2000

// Render is the one switch over the report formats. pathPrefix is the chart's
// folder in its repository, for SARIF and GitHub; it may be empty.
func Render(w io.Writer, doc *report.Document, format, pathPrefix string) error {
	switch format {
	case "pdf":
		return pdf.Render(w, doc, pdf.Options{})
	case "md":
		return report.Markdown(w, doc)
	case "html":
		return report.HTML(w, doc)
	case "json":
		return report.JSON(w, doc)
	case "sarif":
		return report.SARIF(w, doc, report.SARIFOptions{PathPrefix: pathPrefix})
	case "junit":
		return report.JUnit(w, doc)
	case "github":
		return report.GitHub(w, doc, pathPrefix)
	}
	return inputErr("report format %q: want pdf, md, html, json, sarif, junit or github", format)
}

// ReportInput is what a bundle's reports are made from: the bundle and the key that signed it.
func ReportInput(b *bundle.Bundle, keyID string) (report.Input, error) {
	rules, err := sealedRules(b.Profile(), b.Catalog())
	if err != nil {
		return report.Input{}, err
	}
	in := report.Input{
		BundleID: b.ID(), Release: *b.Release(), Profile: rules.Profile, Catalog: rules.Catalog, Runs: *b.Runs(),
		Findings: b.Findings(), Verdict: *b.Verdict(), SignerKeyID: keyID,
	}
	in.Drill, in.DrillUnread = drillFigures(&in.Release, b, b.Runs().Collectors)
	for _, name := range b.Names() {
		raw, err := b.Read(name)
		if err != nil {
			return report.Input{}, err
		}
		in.Artifacts = append(in.Artifacts, report.Artifact{Name: name, Digest: evidence.DigestOf(raw), Size: int64(len(raw))})
	}
	return in, nil
}

// parseCatalog parses a sealed catalog; nearly always it is this version's own,
// which is parsed once.
func parseCatalog(raw []byte) (*evidence.Catalog, error) {
	if own, cat := config.Catalog(); bytes.Equal(raw, own) {
		return cat, nil
	}
	return gate.ParseCatalog(raw)
}

// Report is what reports are made from where nothing is read back from a bundle.
func (j *Judged) Report(by Rules) report.Input {
	return report.Input{
		BundleID: j.Bundle, Release: j.Release, Profile: by.Profile, Catalog: by.Catalog, Runs: j.Runs, Findings: j.Findings, Verdict: j.Verdict,
		Drill: j.Figures, DrillUnread: j.Unread,
	}
}
