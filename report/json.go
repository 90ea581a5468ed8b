package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
)

// OutputJSON is what `-o json` prints for collect and check, and what the JSON
// report holds: docs/schemas/report.schema.json. It may only grow.
type OutputJSON struct {
	Releases []ReleaseJSON `json:"releases"`
}

// ReleaseJSON is one release of OutputJSON.
type ReleaseJSON struct {
	Chart string `json:"chart"`
	// Source is what check and collect were given: a path, a reference or a release. It
	// tells charts of one name apart; reports, which are of what was sealed, have none.
	Source    string          `json:"source,omitempty"`
	Version   string          `json:"version"`
	Namespace string          `json:"namespace"`
	Bundle    evidence.Digest `json:"bundle"` // "" when nothing was sealed
	// Of a composed verdict: what it is bound to, and what of.
	Bound           evidence.Bound  `json:"bound,omitempty"`
	BoundImage      evidence.Digest `json:"boundImage,omitempty"`
	Release         string          `json:"release,omitempty"`
	ChartDigest     evidence.Digest `json:"chartDigest,omitempty"`
	ArchiveDigest   evidence.Digest `json:"archiveDigest,omitempty"`
	ValuesDigest    evidence.Digest `json:"valuesDigest,omitempty"`
	ManifestsDigest evidence.Digest `json:"manifestsDigest,omitempty"`
	// What gate adds: the bundles that it composed (about the release, newest first,
	// then its cluster), and all reasons.
	Inputs  []evidence.BundleRef `json:"inputs,omitempty"`
	Reasons []string             `json:"reasons,omitempty"`
	// EvidenceLists are what images were judged by that was taken from the evidence, as
	// the gate was asked to. IgnoredLists is what the evidence was collected with that
	// did not count.
	EvidenceLists []string `json:"evidenceLists,omitempty"`
	IgnoredLists  []string `json:"ignoredLists,omitempty"`

	// Of a drill: what it measured, or why its record does not say.
	Drill       *DrillJSON `json:"drill,omitempty"`
	DrillUnread string     `json:"drillUnread,omitempty"`

	Error   string            `json:"error,omitempty"` // why there is no verdict: the release could not be loaded
	Verdict *evidence.Verdict `json:"verdict,omitempty"`
	// Counted is what the exit code goes by, where flags make it another than the verdict's.
	Counted *gate.Counted `json:"counted,omitempty"`
	// Added are the controls that what was given to judge by added to the profile.
	Added    []evidence.ControlID    `json:"added,omitempty"`
	Findings []evidence.Finding      `json:"findings"`
	Runs     []evidence.CollectorRun `json:"runs"`
}

// NewReleaseJSON is the JSON form of what was judged; lists are never null.
func NewReleaseJSON(in Input) ReleaseJSON {
	v := in.Verdict
	v.Profile = in.Runs.ProfileName(v.Profile, v.ProfileDigest)
	if v.Results == nil {
		v.Results = []evidence.ControlResult{}
	}
	r := ReleaseJSON{
		Chart: in.Release.Chart, Version: in.Release.Version, Namespace: in.Release.Namespace, Bundle: in.BundleID,
		Verdict: &v, Findings: in.Findings, Runs: in.Runs.Collectors,
	}
	if rel := in.Release; rel.Bound != "" {
		r.Bound, r.BoundImage, r.Release = rel.Bound, rel.BoundImage, rel.ReleaseName
		r.ChartDigest, r.ArchiveDigest, r.ValuesDigest, r.ManifestsDigest = rel.ChartDigest, rel.ArchiveDigest, rel.ValuesDigest, rel.ManifestsDigest
	}
	if in.DrillUnread == "" {
		r.Drill = newDrillJSON(in.Drill)
	}
	r.DrillUnread = in.DrillUnread
	if in.Profile != nil {
		r.Added = in.Profile.Added()
	}
	if r.Findings == nil {
		r.Findings = []evidence.Finding{}
	}
	if r.Runs == nil {
		r.Runs = []evidence.CollectorRun{}
	}
	return r
}

// JSON writes d as an OutputJSON of one release.
func JSON(w io.Writer, d *Document) error { return WriteOutput(w, []ReleaseJSON{NewReleaseJSON(d.in)}) }

const (
	outputBegin = "{\n  \"releases\": [\n"
	outputEnd   = "\n  ]\n}\n"
)

// WriteOutput writes an OutputJSON of these releases, as MarshalOutput has it, always
// whole characters at a time.
func WriteOutput(w io.Writer, list []ReleaseJSON) error {
	if len(list) == 0 {
		return writeOutput(w, OutputJSON{Releases: list})
	}
	begin := outputBegin
	for _, r := range list {
		found := slices.Values(r.Findings)
		r.Findings = []evidence.Finding{}
		raw, err := MarshalOutput(OutputJSON{Releases: []ReleaseJSON{r}})
		if err != nil {
			return err
		}
		raw = raw[len(outputBegin) : len(raw)-len(outputEnd)]
		if err := writeWith(w, append([]byte(begin), raw...), "findings", found); err != nil {
			return err
		}
		begin = ",\n"
	}
	if _, err := io.WriteString(w, outputEnd); err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	return nil
}

// writeWith writes raw, which MarshalOutput made, with the elements of list in its list
// of that name, which is empty in it, of the only element of its own list. They are
// encoded one by one: all of them can be more than all else that is in memory.
func writeWith[T any](w io.Writer, raw []byte, name string, list iter.Seq[T]) error {
	const indent = "\n      " // of a member of that element
	const piece = 64 << 10    // bytes that are written at once
	before, after, ok := bytes.Cut(raw, []byte(indent+`"`+name+`": []`))
	if !ok {
		return fmt.Errorf("write json: no empty list %q", name)
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(indent + `"` + name + `": [`)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent(indent[1:]+"  ", "  ")
	end := "]"
	for x := range list {
		if end != "]" {
			b.WriteByte(',')
		}
		end = indent + "]"
		b.WriteString(indent + "  ")
		if err := e.Encode(x); err != nil {
			return fmt.Errorf("write json: %w", err)
		}
		b.Truncate(b.Len() - 1) // the line break
		if b.Len() < piece {
			continue
		}
		if _, err := b.WriteTo(w); err != nil {
			return fmt.Errorf("write json: %w", err)
		}
	}
	b.WriteString(end)
	b.Write(after)
	if _, err := b.WriteTo(w); err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	return nil
}

// MarshalOutput returns v as `-o json` writes it: indented by two spaces, with a final line break.
func MarshalOutput(v any) ([]byte, error) {
	var b bytes.Buffer
	err := writeOutput(&b, v)
	return b.Bytes(), err
}

func writeOutput(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	return nil
}
