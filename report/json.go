package report

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/companyos/helmproof/evidence"
)

// OutputJSON is what `-o json` prints for collect and check, and what the JSON
// report holds: docs/schemas/report.schema.json. It may only grow.
type OutputJSON struct {
	Releases []ReleaseJSON `json:"releases"`
}

// ReleaseJSON is one release of OutputJSON.
type ReleaseJSON struct {
	Chart     string          `json:"chart"`
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

	// Of a drill: what it measured, or why its record does not say.
	Drill       *DrillJSON `json:"drill,omitempty"`
	DrillUnread string     `json:"drillUnread,omitempty"`

	Error   string            `json:"error,omitempty"` // why there is no verdict: the release could not be loaded
	Verdict *evidence.Verdict `json:"verdict,omitempty"`
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

// JSON renders d as an OutputJSON of one release.
func JSON(d *Document) ([]byte, error) {
	r := NewReleaseJSON(d.in)
	list := r.Findings
	r.Findings = []evidence.Finding{}
	return marshalWith(OutputJSON{Releases: []ReleaseJSON{r}}, "findings", list)
}

// marshalWith is MarshalOutput of v with the elements of list in the list of that name,
// empty in v, of the only element of v's own list. They are written one by one: all of
// them can be most of what is in memory.
func marshalWith[T any](v any, name string, list []T) ([]byte, error) {
	raw, err := MarshalOutput(v)
	if err != nil || len(list) == 0 {
		return raw, err
	}
	const indent = "\n      " // of a member of that element
	before, after, ok := bytes.Cut(raw, []byte(indent+`"`+name+`": []`))
	if !ok {
		return nil, fmt.Errorf("write json: no empty list %q", name)
	}
	b := bytes.NewBuffer(append(before[:len(before):len(before)], indent+`"`+name+`": [`...))
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.SetIndent(indent[1:]+"  ", "  ")
	for i := range list {
		if i > 0 {
			b.Truncate(b.Len() - 1) // the line break after the one before
			b.WriteByte(',')
		}
		b.WriteString(indent + "  ")
		if err := e.Encode(&list[i]); err != nil {
			return nil, fmt.Errorf("write json: %w", err)
		}
	}
	b.WriteString(indent[1:] + "]")
	b.Write(after)
	return b.Bytes(), nil
}

// MarshalOutput writes v as `-o json` does: indented by two spaces, with a final line break.
func MarshalOutput(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write json: %w", err)
	}
	return b.Bytes(), nil
}
