package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// SARIFOptions tunes SARIF.
type SARIFOptions struct {
	// PathPrefix is the chart's folder relative to the repository's root
	// ("charts/payments"). GitHub code scanning needs it to find the files; empty
	// leaves locations relative to the chart (uriBaseId CHARTROOT).
	PathPrefix string
}

const (
	sarifSchema  = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	chartRoot    = "CHARTROOT"
	fingerprint  = "helmproofFindingId/v1"
	homepage     = "https://github.com/companyos/helmproof"
	chartMeta    = "Chart.yaml" // where findings about the chart as a whole are shown
	kindOfCharts = "Chart"
)

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool               sarifTool            `json:"tool"`
	AutomationDetails  sarifAutomation      `json:"automationDetails"`
	OriginalURIBaseIDs map[string]sarifBase `json:"originalUriBaseIds,omitempty"`
	Invocations        []sarifInvocation    `json:"invocations"`
	Results            []sarifResult        `json:"results"`
	ColumnKind         string               `json:"columnKind"`
	Properties         map[string]string    `json:"properties"`
}

type sarifBase struct {
	Description sarifText `json:"description"`
}

type sarifAutomation struct {
	ID string `json:"id"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version,omitempty"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID                   string         `json:"id"`
	ShortDescription     sarifText      `json:"shortDescription"`
	FullDescription      sarifText      `json:"fullDescription"`
	Help                 sarifText      `json:"help"`
	DefaultConfiguration sarifLevel     `json:"defaultConfiguration"`
	Properties           sarifRuleProps `json:"properties"`
}

type sarifLevel struct {
	Level string `json:"level"`
}

type sarifRuleProps struct {
	Tags             []string `json:"tags"`
	SecuritySeverity string   `json:"security-severity"`
	Precision        string   `json:"precision"`
}

type sarifText struct {
	Text     string `json:"text"`
	Markdown string `json:"markdown,omitempty"`
}

type sarifInvocation struct {
	ExecutionSuccessful bool                `json:"executionSuccessful"`
	Notifications       []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Level      string          `json:"level"`
	Message    sarifText       `json:"message"`
	Descriptor *sarifReference `json:"associatedRule,omitempty"`
}

type sarifReference struct {
	ID string `json:"id"`
}

type sarifResult struct {
	RuleID              string             `json:"ruleId"`
	RuleIndex           int                `json:"ruleIndex"`
	Kind                string             `json:"kind"`
	Level               string             `json:"level"`
	Message             sarifText          `json:"message"`
	Locations           []sarifLocation    `json:"locations,omitempty"`
	RelatedLocations    []sarifLocation    `json:"relatedLocations,omitempty"`
	PartialFingerprints map[string]string  `json:"partialFingerprints"`
	Suppressions        []sarifSuppression `json:"suppressions"`
	Properties          sarifResultProps   `json:"properties"`
}

type sarifResultProps struct {
	Controls []evidence.ControlID `json:"controls"`
	Severity evidence.Severity    `json:"severity"`
	Field    string               `json:"field,omitempty"` // its path in the object
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Status        string `json:"status"`
	Justification string `json:"justification"`
}

type sarifLocation struct {
	ID       int            `json:"id,omitempty"`
	Physical *sarifPhysical `json:"physicalLocation,omitempty"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	Message  *sarifText     `json:"message,omitempty"`
}

type sarifPhysical struct {
	ArtifactLocation sarifArtifact `json:"artifactLocation"`
	Region           sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI       string `json:"uri"`
	URIBaseID string `json:"uriBaseId,omitempty"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn,omitempty"`
	EndLine     int `json:"endLine,omitempty"`
}

type sarifLogical struct {
	FullyQualifiedName string `json:"fullyQualifiedName"`
	Kind               string `json:"kind,omitempty"`
}

// SARIF renders the failed, warned and waived findings as SARIF 2.1.0, for
// GitHub code scanning and the like. Waived ones carry a suppression. What could
// not be checked is a notification of the invocation, which then is not a
// successful one; passes are left out.
func SARIF(w io.Writer, d *Document, o SARIFOptions) error {
	run := sarifRun{
		Tool:              sarifTool{sarifDriver{Name: "helmproof", InformationURI: homepage, Rules: []sarifRule{}}},
		AutomationDetails: sarifAutomation{ID: "helmproof/" + sarifWord(d.in.Release.Chart) + "/" + sarifWord(d.in.Release.Namespace) + "/"},
		ColumnKind:        "unicodeCodePoints",
		Results:           []sarifResult{},
		Properties:        map[string]string{"verdict": string(d.in.Verdict.Outcome), "profile": d.Verdict.Profile, "evidence": string(d.in.BundleID)},
	}
	if name, version, ok := strings.Cut(d.Tool, " "); ok && name == "helmproof" {
		run.Tool.Driver.Version = Visible(version)
	}
	if o.PathPrefix == "" {
		run.OriginalURIBaseIDs = map[string]sarifBase{chartRoot: {sarifText{Text: "The root of the chart " + Visible(d.in.Release.Chart)}}}
	}
	worst := map[string]evidence.Finding{} // the most severe finding of each rule describes it
	for _, s := range d.Sections {
		for _, f := range s.Findings {
			if w, ok := worst[f.Rule]; !ok || f.Severity.Rank() < w.Severity.Rank() {
				worst[f.Rule] = evidence.Finding{Severity: f.Severity, Controls: controlIDs(f.Controls)}
			}
		}
	}
	index := map[string]int{}
	for i, id := range slices.Sorted(maps.Keys(worst)) {
		index[id] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(d.in.Catalog, id, worst[id]))
	}
	sealed := make(map[string]*evidence.Finding, len(d.in.Findings))
	for i := range d.in.Findings {
		sealed[d.in.Findings[i].ID] = &d.in.Findings[i]
	}
	inv := sarifInvocation{ExecutionSuccessful: true}
	for _, n := range d.NotChecked {
		level := "warning"
		if n.Mark.Word == MarkError.Word {
			level = "error"
		}
		inv.ExecutionSuccessful = false
		inv.Notifications = append(inv.Notifications, sarifNotification{Level: level, Message: sarifText{Text: Visible(n.What + ": " + n.Why)}})
	}
	run.Invocations = []sarifInvocation{inv}
	raw, err := MarshalOutput(sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}})
	if err != nil {
		return err
	}
	return writeWith(w, raw, "results", func(yield func(sarifResult) bool) {
		for i := range d.Sections {
			for j := range d.Sections[i].Findings {
				f := &d.Sections[i].Findings[j]
				if !yield(sarifResultOf(f, index[f.Rule], sealed[f.ID], d.in.Release.Source, o.PathPrefix)) {
					return
				}
			}
		}
	})
}

// sarifResultOf is a finding as it is shown and as it was sealed. Its fingerprint is its
// id, which has no line in it: code scanning knows it again when lines move.
func sarifResultOf(f *Finding, rule int, sealed *evidence.Finding, source, prefix string) sarifResult {
	r := sarifResult{
		RuleID: f.Rule, RuleIndex: rule, Kind: "fail", Level: sarifLevelOf(f.Severity),
		Message:             sarifText{Text: sarifMessage(f)},
		Locations:           sarifLocations(&sealed.Target, source, prefix),
		PartialFingerprints: map[string]string{fingerprint: f.ID},
		Suppressions:        []sarifSuppression{},
		Properties:          sarifResultProps{Controls: controlIDs(f.Controls), Severity: f.Severity, Field: Visible(sealed.Field)},
	}
	if by := sealed.Definition; by != nil {
		r.RelatedLocations = []sarifLocation{{ID: 1, Physical: sarifPlace(by.File, prefix, sarifRegion{StartLine: max(by.Line, 1), StartColumn: by.Column}),
			Message: &sarifText{Text: "The definition that makes it"}}}
	}
	if f.Mark.Key == MarkWarn.Key && r.Level == "error" {
		r.Level = "warning"
	}
	if w := f.Waiver; w != nil {
		r.Suppressions = append(r.Suppressions, sarifSuppression{"external", "accepted",
			Visible(fmt.Sprintf("%s Approved by %s, expires %s.", w.Reason, w.ApprovedBy, Time(w.ExpiresAt)))})
	}
	return r
}

func controlIDs(refs []ControlRef) []evidence.ControlID {
	out := make([]evidence.ControlID, 0, len(refs))
	for _, r := range refs {
		out = append(out, evidence.ControlID(r.ID))
	}
	return out
}

// sarifWord makes one segment of a hierarchical id.
func sarifWord(s string) string { return cmp.Or(url.PathEscape(Visible(s)), "-") }

func sarifMessage(f *Finding) string {
	s := f.Object + ": " + f.Message
	if f.Remediation != "" {
		s += " Fix: " + f.Remediation
	}
	return Visible(s)
}

func sarifRuleOf(catalog *evidence.Catalog, id string, f evidence.Finding) sarifRule {
	r := sarifRule{
		ID: id, DefaultConfiguration: sarifLevel{sarifLevelOf(f.Severity)},
		Properties: sarifRuleProps{Tags: []string{"security"}, SecuritySeverity: securitySeverity(f.Severity), Precision: "very-high"},
	}
	title, statement, fix := id, "", ""
	for _, cid := range f.Controls {
		r.Properties.Tags = append(r.Properties.Tags, "control/"+Visible(string(cid)))
		if catalog == nil {
			continue
		}
		if c, ok := catalog.Control(cid); ok && statement == "" {
			title, statement, fix = c.Title, c.Statement, c.Remediation
		}
	}
	r.ShortDescription.Text = cmp.Or(Visible(title), "rule")
	r.FullDescription.Text = cmp.Or(Visible(statement), r.ShortDescription.Text)
	r.Help.Text = strings.TrimSpace(r.FullDescription.Text + " " + Visible(fix))
	r.Help.Markdown = markdownText(r.FullDescription.Text)
	if fix != "" {
		r.Help.Markdown += "\n\n**Fix:** " + markdownText(fix)
	}
	return r
}

func sarifLevelOf(s evidence.Severity) string {
	switch s {
	case evidence.SeverityMedium:
		return "warning"
	case evidence.SeverityLow, evidence.SeverityInfo:
		return "note"
	}
	return "error"
}

// securitySeverity is what GitHub sorts alerts by: over 9 critical, 7 high, 4 medium.
func securitySeverity(s evidence.Severity) string {
	switch s {
	case evidence.SeverityHigh:
		return "8.0"
	case evidence.SeverityMedium:
		return "5.5"
	case evidence.SeverityLow:
		return "2.5"
	case evidence.SeverityInfo:
		return "0.0"
	}
	return "9.5"
}

func sarifLocations(t *evidence.Target, source, prefix string) []sarifLocation {
	var l sarifLocation
	file := t.File
	if file == "" && source != "manifests" && t.Kind == kindOfCharts {
		file = chartMeta
	}
	if file != "" {
		l.Physical = sarifPlace(file, prefix, sarifRegion{StartLine: max(t.Line, 1), StartColumn: t.Column, EndLine: t.EndLine})
	}
	if o := t.Object(); o != "" {
		l.Logical = []sarifLogical{{FullyQualifiedName: Visible(o), Kind: "object"}}
	}
	if l.Physical == nil && l.Logical == nil {
		return nil
	}
	return []sarifLocation{l}
}

func sarifPlace(file, prefix string, at sarifRegion) *sarifPhysical {
	p := &sarifPhysical{Region: at}
	p.ArtifactLocation.URI = relativeURI(path.Join(prefix, path.Join("/", file)))
	if prefix == "" {
		p.ArtifactLocation.URIBaseID = chartRoot
	}
	return p
}

// relativeURI escapes a slash-separated path; it never leaves its root.
func relativeURI(p string) string {
	p = strings.TrimPrefix(path.Join("/", p), "/")
	return (&url.URL{Path: strings.ToValidUTF8(p, "\ufffd")}).String()
}
