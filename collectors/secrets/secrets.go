// Package secrets finds plaintext secrets in a chart, its values and its
// rendering, and redacts them from everything that is sealed. What it finds
// is never written anywhere in clear, nor as a hash: short secrets can be
// guessed from one.
package secrets

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

// The rules.
const (
	RuleGitleaks  = "secrets/gitleaks"
	RuleData      = "secrets/secret-data"
	RuleEnv       = "secrets/env-literal"
	RuleValuesKey = "secrets/values-key"
)

var ruleNames = []string{RuleGitleaks, RuleData, RuleEnv, RuleValuesKey}

const reportName = "report.json"

// Report is what the scan saw, without the values: sealed as report.json.
type Report struct {
	Places  []Place `json:"places"`
	Scanned Scanned `json:"scanned"`
}

// Scanned says what was looked at.
type Scanned struct {
	Files   int `json:"files"`
	Objects int `json:"objects"`
}

// Place is one place in which one secret stands.
type Place struct {
	Rule   string          `json:"rule"`
	Detail string          `json:"detail"` // gitleaks' rule id, or what makes it a secret
	Target evidence.Target `json:"target"`
	Key    string          `json:"key,omitempty"` // data key, variable, argument or values path
	// Length is the class of the value's length in bytes ("under 16").
	Length string `json:"length"`
	// Occurrences is how often the value stands in the rendered manifests, 1 at least.
	Occurrences int `json:"occurrences"`
	// Partial says that the value is short, or also a name used in the release, so
	// that it was redacted only where the text around says that it is a secret.
	Partial bool `json:"partial,omitempty"`
}

type collector struct{ report *Report }

// New returns the collector for what Scan found. Findings needs no report: it
// derives from what was sealed.
func New(report *Report) collectors.Collector { return collector{report} }

func (collector) Name() string { return "secrets" }

func (collector) Rules() []string { return ruleNames }

// Collect writes the report of the scan, which ran before anything was sealed.
func (c collector) Collect(_ context.Context, _ collectors.Input, out evidence.ArtifactWriter) error {
	if c.report == nil {
		return fmt.Errorf("the release was not scanned for secrets")
	}
	raw, err := json.Marshal(c.report)
	if err != nil {
		return fmt.Errorf("secrets report: %w", err)
	}
	return out.Write(reportName, raw)
}

func (c collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, err := in.Release()
	if err != nil {
		return nil, err
	}
	name := "artifacts/" + c.Name() + "/" + reportName
	raw, err := in.Read(name)
	if err != nil {
		return nil, err
	}
	var rep Report
	if err := json.Unmarshal(raw, &rep); err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	var out []evidence.Finding
	for i, p := range rep.Places {
		f := evidence.Finding{
			Rule: p.Rule, Target: p.Target, Outcome: evidence.OutcomeFail, Severity: evidence.SeverityCritical,
			Message:     message(p),
			Remediation: "Move the value to a secret store, refer to it through an ExternalSecret, and rotate it: it has been in plain text.",
			Evidence:    []evidence.Pointer{in.Pointer(name, fmt.Sprintf("/places/%d", i), "")},
		}
		if p.Rule == RuleValuesKey || p.Rule == RuleEnv {
			f.Severity = evidence.SeverityHigh
		}
		out = append(out, f)
	}
	unknown, err := unknownPods(in)
	if err != nil {
		return nil, err
	}
	out = append(out, unknown...)
	for _, rule := range ruleNames {
		if !slices.ContainsFunc(out, func(f evidence.Finding) bool { return f.Rule == rule }) {
			out = append(out, evidence.Finding{Rule: rule, Target: evidence.Target{Kind: "Chart", Name: rel.Chart},
				Outcome: evidence.OutcomePass, Severity: evidence.SeverityCritical,
				Message:  fmt.Sprintf("nothing found in %d files and %d objects", rep.Scanned.Files, rep.Scanned.Objects),
				Evidence: []evidence.Pointer{in.Pointer(name, "/scanned", "")}})
		}
	}
	return out, nil
}

// unknownPods says of what looks like pod templates of unknown kinds that their
// variables and arguments were not looked at as such, and of known kinds which of
// them are in no shape that can be.
func unknownPods(in *collectors.Sealed) ([]evidence.Finding, error) {
	_, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	workloads, err := in.Workloads()
	if err != nil {
		return nil, err
	}
	var out []evidence.Finding
	for i := range set.Objects {
		for _, w := range workloads[i] {
			unread, remedy := w.Unknown, "Name its pod templates with podTemplates in helmproof.yaml."
			if w.As != nil {
				_, err := containersOf(w.As)
				if err == nil {
					continue
				}
				unread, remedy = w.Where("its variables and arguments cannot be read: "+strings.ReplaceAll(err.Error(), "\n", "; ")), "Write them as the kind's API has them."
			}
			out = append(out, evidence.Finding{Rule: RuleEnv, Target: w.Object.Target(""), Outcome: evidence.OutcomeNotChecked, Severity: evidence.SeverityHigh, Message: unread,
				Remediation: remedy, Evidence: []evidence.Pointer{in.Lines(w.Object.From, w.Object.To)}})
		}
	}
	return out, nil
}

func message(p Place) string {
	key := ""
	if p.Key != "" {
		key = " in " + p.Key
	}
	switch p.Rule {
	case RuleData:
		return "the Secret carries its value in plain text" + key
	case RuleEnv:
		return "a literal value that looks like a secret" + key
	case RuleValuesKey:
		return "a values key that looks like a secret has a value" + key
	}
	return "a plaintext secret (" + p.Detail + ")" + key
}
