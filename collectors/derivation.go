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

// fixSchema is what to do about an object that is judged only by the schema.
const fixSchema = "Correct what CHT-3 says of it."

// Unreadable appends, once for the rule, that documents of the chart's rendering are
// no objects, so that nobody can say whether the rule is about them. What is wrong
// with each of them is said where manifests are held to the schema. Without at, it
// points at their lines.
func (d *Derivation) Unreadable(rule, chart string, broken []manifest.BrokenDocument, at ...evidence.Pointer) {
	if len(broken) == 0 {
		return
	}
	if len(at) == 0 {
		for _, b := range broken[:min(len(broken), maxPointers)] {
			at = append(at, d.Lines(b.From, b.To))
		}
	}
	message := "a rendered document is no Kubernetes object: see CHT-3"
	if len(broken) > 1 {
		message = fmt.Sprintf("%d rendered documents are no Kubernetes objects: see CHT-3", len(broken))
	}
	d.Add(rule, evidence.Target{Kind: "Chart", Name: chart, File: broken[0].File, Line: broken[0].Line}, evidence.OutcomeNotChecked, message, fixSchema, at...)
}

// maxPointers bounds what one finding points at.
const maxPointers = 20

// Undecoded is the outcome, the message and the remediation of a rule for an object
// that Kubernetes' own types do not hold: the fault is the schema's to report.
func Undecoded(err error) (outcome evidence.Outcome, message, fix string) {
	return evidence.OutcomeNotChecked, "it does not decode, see CHT-3: " + err.Error(), fixSchema
}
