// Package images judges the images that a release runs: where they come from,
// what their digests name in the registry, and what vulnerability scanners
// report about them.
//
// Collect seals what it judges by (policy, lists, statements) and what was seen
// (scan reports, answers of the registry), raw; Findings derives everything from
// those bytes. The one clock is the time of collection, which is sealed.
package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name.
const Name = "images"

// The rules.
const (
	// RuleRegistry holds for an image that a pattern of the allow-list matches.
	RuleRegistry = "images/registry"
	// RulePin holds for an image whose digest is in the registry, and is what its tag names.
	RulePin = "images/pin"
	// RuleScanned holds for an image that a scanner has looked at, whole, with a fresh database.
	RuleScanned = "images/scanned"
	// RuleScanFresh and RuleDatabaseFresh hold for a scan and a database that are no older than allowed.
	RuleScanFresh     = "images/scan-fresh"
	RuleDatabaseFresh = "images/database-fresh"
	// RuleVulnerability is followed by the vulnerability's id.
	RuleVulnerability = "images/vulnerability/"
)

var rules = collectors.Rules{
	RuleRegistry: evidence.SeverityMedium, RulePin: evidence.SeverityMedium, RuleScanned: evidence.SeverityHigh,
	RuleScanFresh: evidence.SeverityMedium, RuleDatabaseFresh: evidence.SeverityMedium,
	RuleVulnerability + "*": evidence.SeverityHigh, // where no scanner knows its severity
}

const (
	folder     = "artifacts/" + Name + "/"
	policyFile = "policy.json"
	recordFile = "collected.json"
)

// Options is what images are judged by. The zero value is enough to derive
// findings again: all of it is sealed.
type Options struct {
	Policy Policy
	// Gathered is what was read and seen of images before; nil: nothing.
	Gathered *Gathered
}

// Policy says what images have to be. It is sealed as policy.json.
type Policy struct {
	// Controls are those that are judged: a rule is, if one of them has it.
	Controls []evidence.ControlID `json:"controls"`
	// At is when the release was judged; Collect sets it.
	At time.Time `json:"at"`
	// Registries are the patterns of the allow-list, as Allowed takes them.
	Registries []string `json:"registries,omitempty"`
	// Fields are further fields that name images, as collectors.ParseImageField takes them.
	Fields []string `json:"fields,omitempty"`
	// Platforms are those that the release runs on: "linux/amd64".
	Platforms []string `json:"platforms"`
	// FixableOnly lets vulnerabilities without a fixed version warn only.
	FixableOnly bool `json:"fixableOnly,omitempty"`
	// Grace is how long after its publication a vulnerability only warns.
	Grace evidence.Duration `json:"grace,omitempty"`
	// MaxScanAge and MaxDatabaseAge are how old scans and vulnerability databases may be.
	MaxScanAge     evidence.Duration `json:"maxScanAge"`
	MaxDatabaseAge evidence.Duration `json:"maxDatabaseAge"`
	// EPSSAbove is the probability of exploitation, 0 to 1, from which on a vulnerability
	// counts as high at least, without grace and fixed or not; 0: none is.
	EPSSAbove float64 `json:"epssAbove,omitempty"`
}

// DefaultPolicy allows scans of a week, with databases that were five days old, for linux/amd64.
func DefaultPolicy() Policy {
	return Policy{Platforms: []string{"linux/amd64"}, MaxScanAge: evidence.Duration(7 * 24 * time.Hour), MaxDatabaseAge: evidence.Duration(5 * 24 * time.Hour)}
}

// check says what is wrong with the policy.
func (p *Policy) check() error {
	for _, r := range p.Registries {
		if err := checkPattern(r); err != nil {
			return err
		}
	}
	if _, err := p.fields(); err != nil {
		return err
	}
	for _, platform := range p.Platforms {
		if err := checkPlatform(platform); err != nil {
			return err
		}
	}
	if p.EPSSAbove < 0 || p.EPSSAbove > 1 {
		return fmt.Errorf("EPSS threshold %v: want a probability from 0 to 1", p.EPSSAbove)
	}
	return nil
}

func (p *Policy) fields() ([]manifest.ImageField, error) {
	var out []manifest.ImageField
	for _, s := range p.Fields {
		f, err := manifest.ParseImageField(s)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

type collector struct{ o Options }

// New returns the collector; the error says what is wrong with the policy.
func New(o Options) (collectors.Collector, error) {
	if err := o.Policy.check(); err != nil {
		return nil, err
	}
	return &collector{o: o}, nil
}

func (*collector) Name() string { return Name }

func (*collector) Rules() []string { return rules.Names() }

// Collect seals the policy, and what was gathered about the release's images.
func (c *collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	pol := c.o.Policy
	pol.At = in.Now().UTC().Truncate(time.Second)
	if err := collectors.WriteJSON(out, policyFile, pol); err != nil {
		return err
	}
	rec := &record{}
	if c.o.Gathered != nil {
		var err error
		if rec, err = c.o.Gathered.seal(ctx, in.Release.Info.Images, out); err != nil {
			return err
		}
	}
	return collectors.WriteJSON(out, recordFile, rec)
}

// Findings derives all findings from what was sealed.
func (*collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	j, err := newJudge(in)
	if err != nil {
		return nil, err
	}
	if j.judges(RuleRegistry) {
		j.registries()
	}
	if j.judges(RulePin) {
		j.pins()
	}
	if j.judges(RuleScanned) || j.judges(RuleScanFresh) {
		if err := j.scans(); err != nil {
			return nil, err
		}
	}
	return j.Out, nil
}

// judge derives the findings of one release.
type judge struct {
	*collectors.Derivation
	policy Policy
	rec    record
	name   string // the chart's
	uses   []use
	broken []manifest.BrokenDocument
	images []string // distinct, sorted
}

type use struct {
	manifest.ImageUse
	object *manifest.Object
}

func newJudge(in *collectors.Sealed) (*judge, error) {
	j := &judge{Derivation: collectors.NewDerivation(in, Name, rules)}
	if err := errors.Join(j.Parse(policyFile, &j.policy), j.Parse(recordFile, &j.rec)); err != nil {
		return nil, err
	}
	if err := j.policy.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", policyFile, err)
	}
	if len(j.policy.Controls) == 0 || len(j.policy.Platforms) == 0 || j.policy.At.IsZero() {
		return nil, fmt.Errorf("%s: controls, platforms and time of judgement have to be there", policyFile)
	}
	fields, err := j.policy.fields()
	if err != nil {
		return nil, err
	}
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	workloads, err := in.Workloads()
	if err != nil {
		return nil, err
	}
	workloads = slices.Clone(workloads)
	// Before release.json had pod templates, they stood among the fields alone.
	for _, f := range fields {
		if f.PodTemplate && len(rel.PodTemplates) == 0 {
			for i := range set.Objects {
				workloads[i] = set.Objects[i].Workloads(fields)
			}
			break
		}
	}
	j.name, j.broken = rel.Chart, set.Broken
	for i := range set.Objects {
		o := &set.Objects[i]
		for _, u := range manifest.ImageUses(o, workloads[i], fields) {
			j.uses = append(j.uses, use{u, o})
			if u.Image != "" {
				j.images = append(j.images, u.Image)
			}
		}
	}
	slices.Sort(j.images)
	j.images = slices.Compact(j.images)
	return j, nil
}

// judges reports whether a control that the policy names has the rule.
func (j *judge) judges(rule string) bool {
	return slices.ContainsFunc(j.Controls(rule), func(id evidence.ControlID) bool { return slices.Contains(j.policy.Controls, id) })
}

func (j *judge) chart() evidence.Target { return evidence.Target{Kind: "Chart", Name: j.name} }

// image is an image as a target: with the template that first names it.
func (j *judge) image(image string) evidence.Target {
	t := evidence.Target{Kind: "Image", Name: image}
	for _, u := range j.uses {
		if u.Image == image {
			t.File, t.Line = u.object.File, u.object.Line
			break
		}
	}
	return t
}
