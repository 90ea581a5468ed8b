package collectors

import (
	"encoding/json"
	"fmt"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Artifact is the name in evidence.zip of what a collector writes as name.
func Artifact(collector, name string) string { return "artifacts/" + collector + "/" + name }

// WriteJSON writes an artifact that the collector made itself.
func WriteJSON(out evidence.ArtifactWriter, name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return out.Write(name, raw)
}

// Derivation gathers the findings that one collector derives from what is sealed.
type Derivation struct {
	*Sealed
	Out []evidence.Finding

	collector string
	rules     Rules
}

// NewDerivation starts a derivation of that collector with these rules.
func NewDerivation(in *Sealed, collector string, rules Rules) *Derivation {
	return &Derivation{Sealed: in, collector: collector, rules: rules}
}

// Parse reads a JSON artifact of the collector's own.
func (d *Derivation) Parse(name string, into any) error {
	raw, err := d.Read(Artifact(d.collector, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	return nil
}

// Own points into an artifact of the collector's own.
func (d *Derivation) Own(name, pointer string) evidence.Pointer {
	return d.Pointer(Artifact(d.collector, name), pointer, "")
}

// Add appends a finding of a rule, with the rule's severity, and returns it for
// its last touches. fix, what to do about it, is left out where all is well or
// nothing is there.
func (d *Derivation) Add(rule string, t evidence.Target, outcome evidence.Outcome, message, fix string, at ...evidence.Pointer) *evidence.Finding {
	severity, ok := d.rules[rule]
	if !ok {
		panic(fmt.Sprintf("%q is no rule of collector %s", rule, d.collector)) // Derive makes an errored run of it
	}
	f := evidence.Finding{Rule: rule, Severity: severity, Target: t, Outcome: outcome, Message: message, Evidence: at}
	if outcome != evidence.OutcomePass && outcome != evidence.OutcomeNotApplicable {
		f.Remediation = fix
	}
	d.Out = append(d.Out, f)
	return &d.Out[len(d.Out)-1]
}

// Unreadable appends that a document of the chart's rendering is no object, so
// that nobody can say whether the rule is about it.
func (d *Derivation) Unreadable(rule, chart string, b *manifest.BrokenDocument, at evidence.Pointer) {
	d.Add(rule, evidence.Target{Kind: "Chart", Name: chart, File: b.File, Line: b.Line}, evidence.OutcomeNotChecked,
		"a rendered document could not be read: "+b.Error, "Correct the template so that it renders a Kubernetes object.", at)
}
