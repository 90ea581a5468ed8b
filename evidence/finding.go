package evidence

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// Target is what a finding is about. Empty fields do not apply. A finding about
// the chart as a whole has Kind "Chart" and the chart's name; about a node,
// Kind "Node".
type Target struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Name       string `json:"name,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Container  string `json:"container,omitempty"`
	File       string `json:"file,omitempty"`    // relative to the chart, slash-separated
	Line       int    `json:"line,omitempty"`    // 1-based; 0 unknown
	Column     int    `json:"column,omitempty"`  // in characters, 1-based; 0 unknown
	EndLine    int    `json:"endLine,omitempty"` // the last line, where there are several
}

// Place is a place in a file of the chart, line and column (in characters) counted from 1.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column,omitempty"`
}

// String reads "templates/deployment.yaml:3: Deployment payments/api container "api"".
func (t Target) String() string {
	var b strings.Builder
	if t.File != "" {
		b.WriteString(t.File)
		b.WriteString(": ")
	}
	b.WriteString(t.Object())
	return strings.TrimSuffix(b.String(), ": ")
}

// Object is String without the file: `Deployment payments/api container "api"`.
func (t Target) Object() string {
	var b strings.Builder
	b.WriteString(t.Kind)
	if t.Name != "" {
		b.WriteByte(' ')
		if t.Namespace != "" {
			b.WriteString(t.Namespace)
			b.WriteByte('/')
		}
		b.WriteString(t.Name)
	}
	if t.Container != "" {
		b.WriteString(` container "` + t.Container + `"`)
	}
	return b.String()
}

// Pointer says where in the sealed evidence a finding can be seen.
type Pointer struct {
	Artifact string `json:"artifact"`          // name in evidence.zip: "artifacts/helm/lint.json"
	Digest   Digest `json:"digest"`            // of that artifact
	Pointer  string `json:"pointer,omitempty"` // JSON pointer (RFC 6901) into it
	Lines    string `json:"lines,omitempty"`   // "12" or "12-20", 1-based
}

// Finding is one rule, one target, one outcome. Passes are findings too: they
// say what was looked at.
type Finding struct {
	ID          string      `json:"id"`
	Rule        string      `json:"rule"`
	Controls    []ControlID `json:"controls"`
	Target      Target      `json:"target"`
	Outcome     Outcome     `json:"outcome"`
	Severity    Severity    `json:"severity"`
	Message     string      `json:"message"`
	Remediation string      `json:"remediation,omitempty"`
	// Declared is the reason that the object gives for what fails. It decides nothing by
	// itself: a profile may take it for an answer (ProfileControl.Declared).
	Declared string `json:"declared,omitempty"`
	// Field is the path of the field that the finding is about, in the object of Target:
	// spec.template.spec.containers[0].image. It may be absent from the object: Target's
	// line is then that of what would hold it.
	Field string `json:"field,omitempty"`
	// Definition is where what Target's line calls (a named template, of this chart or
	// another one) makes the field.
	Definition *Place    `json:"definition,omitempty"`
	Evidence   []Pointer `json:"evidence,omitempty"`
}

// FindingID derives the id from rule, target (without line, so that moving a
// block does not make a new finding) and message: the same problem keeps its
// id from run to run.
func FindingID(f Finding) string {
	t := f.Target
	h := sha256.New()
	for _, s := range []string{f.Rule, t.APIVersion, t.Kind, t.Namespace, t.Name, t.Container, t.File, f.Message} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// NormalizeFindings fills in ids, drops exact repetitions (same id) keeping the
// worst outcome, and sorts: the one order in which findings are sealed.
func NormalizeFindings(in []Finding) []Finding {
	out := slices.Clone(in)
	for i := range out {
		out[i].ID = FindingID(out[i])
		out[i].Controls = slices.Clone(out[i].Controls)
		slices.Sort(out[i].Controls)
	}
	slices.SortStableFunc(out, compareFindings)
	seen := make(map[string]bool, len(out))
	return slices.DeleteFunc(out, func(f Finding) bool {
		if seen[f.ID] {
			return true
		}
		seen[f.ID] = true
		return false
	})
}

func compareFindings(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(a.Outcome.Rank(), b.Outcome.Rank()),
		cmp.Compare(a.Severity.Rank(), b.Severity.Rank()),
		slices.Compare(a.Controls, b.Controls),
		cmp.Compare(a.Rule, b.Rule),
		cmp.Compare(a.Target.File, b.Target.File),
		cmp.Compare(a.Target.Line, b.Target.Line),
		cmp.Compare(a.Target.Kind, b.Target.Kind),
		cmp.Compare(a.Target.Namespace, b.Target.Namespace),
		cmp.Compare(a.Target.Name, b.Target.Name),
		cmp.Compare(a.Target.Container, b.Target.Container),
		cmp.Compare(a.Message, b.Message),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.Declared, b.Declared), // of two that are one, that which is declared nowhere
	)
}

// CollectorRun says how one collector ended. A failed collector is data.
type CollectorRun struct {
	Collector  string    `json:"collector"`
	Outcome    Outcome   `json:"outcome"` // pass (it ran), error, or not-applicable
	Error      string    `json:"error,omitempty"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
}

// Runs is the content of runs.json: who looked, with what, and when.
type Runs struct {
	Tool       string         `json:"tool"`              // "helmproof <version>"
	Rules      int            `json:"rules,omitempty"`   // RulesVersion of that program; see Runs.RulesVersion
	Reports    int            `json:"reports,omitempty"` // its ReportsVersion
	LowS       bool           `json:"lowS,omitempty"`    // the bundle's ECDSA signatures have the low-S form, and no other
	Collectors []CollectorRun `json:"collectors"`
	// Repository is the id of the repository that the bundle was sealed for; empty
	// where an older version sealed it.
	Repository string `json:"repository,omitempty"`
	// Formats are the reports that were stored with the bundle.
	Formats []string `json:"formats,omitempty"`
	// OwnProfile says that the profile came from a file of the user's, whatever its name.
	OwnProfile bool `json:"ownProfile,omitempty"`
}

// ProfileName names a profile so that one of the user's own cannot be taken for a
// built-in one of the same name: "chart", or "file:chart@sha256:…" with its whole digest.
func (r *Runs) ProfileName(name string, digest Digest) string {
	if r.OwnProfile {
		return "file:" + name + "@" + string(digest)
	}
	return name
}
