package pipeline

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/accesslog"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/collectors/signatures"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
)

// Rules is what releases are judged by, raw as sealed and parsed.
type Rules struct {
	ProfileRaw, CatalogRaw, WaiversRaw []byte
	Policies                           []byte // what is sealed as policies.yaml

	Profile *evidence.Profile
	Catalog *evidence.Catalog
	Waivers []evidence.Waiver
	// Baseline is what was known when judging began; nil: none was given.
	Baseline *evidence.Baseline
	// Counting is what the exit code goes by, where it is not the verdict.
	Counting gate.Counting

	From RulesOptions // where they were read from

	limit   time.Duration // of LimitAge; 0: none
	altered bool          // see Accept
}

// files are the rules by their names in evidence.zip.
func (r Rules) files() map[string][]byte {
	return map[string][]byte{
		bundle.ProfileFile: r.ProfileRaw, bundle.CatalogFile: r.CatalogRaw, bundle.WaiversFile: r.WaiversRaw, bundle.PoliciesFile: r.Policies,
	}
}

// RulesOptions says where rules come from.
type RulesOptions struct {
	Profile  string // a built-in name or a YAML file
	Waivers  string // a YAML file; empty: none
	Policies string // a directory of policies of one's own; empty: none
}

// own reports whether the profile is none that is built in: a file of the user's, or
// one that was made to accept more.
func (r Rules) own() bool { return r.file() || r.altered }

// file reports whether the profile is a file of the user's.
func (r Rules) file() bool { return !slices.Contains(config.Profiles(), r.From.Profile) }

// What a profile may be made to accept; see Accept.
const (
	AcceptBaseline    = "baseline"
	AcceptChart       = "chart"
	AcceptAnnotations = "annotations"
)

// Accept returns rules whose profile accepts more: what a baseline knows, waivers that
// the chart brings, exceptions in annotations. A profile that did not accept it shows as
// one of the user's own from then on.
func (r Rules) Accept(what ...string) (Rules, error) {
	var b evidence.WaiverBounds
	if r.Profile.Waivers != nil {
		b = *r.Profile.Waivers
	}
	was, baseline := b, r.Profile.Baseline
	for _, w := range what {
		switch w {
		case AcceptBaseline:
			baseline = true
		case AcceptChart:
			b.Chart = true
		case AcceptAnnotations:
			b.Annotations = true
		default:
			return r, inputErr("accept %q: want %s, %s or %s", w, AcceptBaseline, AcceptChart, AcceptAnnotations)
		}
	}
	if b == was && baseline == r.Profile.Baseline {
		return r, nil
	}
	r.altered = true
	return r.changed(func(p *evidence.Profile) {
		p.Baseline = baseline
		if b != (evidence.WaiverBounds{}) {
			p.Waivers = &b
		}
	})
}

// builtinProfile reports whether a profile asks for all that the built-in profile of
// its name does, as strictly: what was given to judge by may have added controls, and
// a limit may have made evidence age faster. That of a drill is a part of profile drill.
func builtinProfile(p *evidence.Profile) bool {
	name, part := p.Name, false
	if strings.HasPrefix(name, drillProfile+"-") {
		name, part = drillProfile, true
	}
	if !slices.Contains(config.Profiles(), name) {
		return false
	}
	_, like, err := config.Profile(name)
	if err != nil || p.Scope != like.Scope || p.FailOn != like.FailOn || p.MaxAge > like.MaxAge || !reflect.DeepEqual(p.Waivers, like.Waivers) || p.Baseline != like.Baseline {
		return false
	}
	for _, pc := range like.Controls {
		i := indexControl(p, pc.ID)
		if i < 0 {
			if !part {
				return false
			}
			continue
		}
		if got := p.Controls[i]; got.FailOn != pc.FailOn || got.MaxAge > pc.MaxAge || (got.MaxAge == 0) != (pc.MaxAge == 0) || got.Optional && !pc.Optional || got.Declared && !pc.Declared {
			return false
		}
	}
	return true
}

// Digests are those of the profile as it is sealed: as it was written, and with the
// controls that whatever may be given to judge by adds. The first is the profile's own.
func (r Rules) Digests() ([]evidence.Digest, error) {
	out := []evidence.Digest{evidence.DigestOf(r.ProfileRaw)}
	for i := range 1 << 6 {
		g := Given{Registries: i&1 != 0, Signatures: i&2 != 0, Scans: i&4 != 0, Resolve: i&8 != 0, Policies: i&16 != 0, AccessLogs: i&32 != 0}
		with, err := r.With(g.Controls()...)
		if err != nil {
			return nil, err
		}
		if d := evidence.DigestOf(with.ProfileRaw); !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out, nil
}

// VerdictName is how a verification summary names the profile.
func (r Rules) VerdictName(digest evidence.Digest) string {
	return (&evidence.Runs{OwnProfile: r.own()}).ProfileName(r.Profile.Name, digest)
}

// LoadRules reads the rules. An error is one of the user's input.
func LoadRules(o RulesOptions) (Rules, error) {
	r := Rules{From: o}
	var err error
	r.CatalogRaw, r.Catalog = config.Catalog()
	if r.ProfileRaw, r.Profile, err = config.Profile(o.Profile); err != nil {
		return r, err
	}
	if r.WaiversRaw, r.Waivers, err = config.Waivers(o.Waivers); err != nil {
		return r, err
	}
	if r.Policies, err = policy.Bundle(o.Policies); err != nil {
		return r, &InputError{err}
	}
	return r, nil
}

// sealedRules parses the profile and catalog of a bundle.
func sealedRules(profile, catalog []byte) (Rules, error) {
	r := Rules{ProfileRaw: profile, CatalogRaw: catalog}
	var err error
	if r.Profile, err = gate.ParseProfile(profile); err != nil {
		return r, err
	}
	r.Catalog, err = parseCatalog(catalog)
	return r, err
}

// Asks reports whether the profile names the control.
func (r Rules) Asks(id evidence.ControlID) bool {
	return indexControl(r.Profile, id) >= 0
}

// AsksFor reports whether a control of the profile is that collector's.
func (r Rules) AsksFor(collector string) bool {
	return slices.ContainsFunc(r.Profile.Controls, func(pc evidence.ProfileControl) bool {
		c, ok := r.Catalog.Control(pc.ID)
		return ok && c.Collector == collector
	})
}

// CheckScope refuses a profile for something else than what is collected.
func (r Rules) CheckScope(cluster bool) error {
	switch s := r.Profile.Scope; {
	case cluster && s != evidence.ScopeCluster:
		return inputErr("profile %s is of scope %s: collect --cluster judges profiles of scope cluster, such as cluster", r.Profile.Name, s)
	case !cluster && s == evidence.ScopeCluster:
		return inputErr("profile %s is of scope cluster: collect it with --cluster", r.Profile.Name)
	case !cluster && s != evidence.ScopeRelease:
		return inputErr("profile %s is of scope %s: collect judges profiles of scope release, such as chart; helmproof gate composes the others", r.Profile.Name, s)
	}
	return nil
}

// LimitAge returns stricter rules: no control accepts older evidence than max.
func (r Rules) LimitAge(max time.Duration) (Rules, error) {
	r.limit = max
	return r.changed(func(p *evidence.Profile) {
		limit := func(d *evidence.Duration) {
			if *d == 0 || time.Duration(*d) > max {
				*d = evidence.Duration(max)
			}
		}
		limit(&p.MaxAge)
		for i := range p.Controls {
			if p.Controls[i].MaxAge != 0 {
				limit(&p.Controls[i].MaxAge)
			}
		}
	})
}

// With returns rules that require the controls as well, and say so: those that
// the profile lacks are added, optional ones become required. An added control of
// a built-in profile is as the profile images has it; one of the user's own
// profile is held to that profile's own threshold and age. Rules that require all
// of them already are returned as they are, to the byte. A control that the catalog
// lacks is added too: nothing can show that it holds.
func (r Rules) With(ids ...evidence.ControlID) (Rules, error) {
	var missing []evidence.ControlID
	for _, id := range ids {
		if !r.requires(id) {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return r, nil
	}
	like := &evidence.Profile{}
	if !r.file() {
		var err error
		if _, like, err = config.Profile("images"); err != nil {
			return r, err
		}
	}
	slices.Sort(missing)
	return r.changed(func(p *evidence.Profile) {
		for _, id := range slices.Compact(missing) {
			pc := evidence.ProfileControl{ID: id}
			if i := indexControl(like, id); i >= 0 {
				pc = like.Controls[i]
			}
			i := indexControl(p, id)
			if i < 0 {
				i = len(p.Controls)
				p.Controls = append(p.Controls, pc)
				if pc.MaxAge != 0 && r.limit > 0 {
					p.Controls[i].MaxAge = min(pc.MaxAge, evidence.Duration(r.limit))
				}
			}
			p.Controls[i].Optional, p.Controls[i].Added = false, true
		}
	})
}

func indexControl(p *evidence.Profile, id evidence.ControlID) int {
	return slices.IndexFunc(p.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == id })
}

func (r Rules) requires(id evidence.ControlID) bool {
	i := indexControl(r.Profile, id)
	return i >= 0 && !r.Profile.Controls[i].Optional
}

// Given says what there is to judge by. A flag that asks is a flag that counts:
// each member has controls that it asks for.
type Given struct {
	Registries bool // an allow-list of registries
	Signatures bool // signature policies
	Scans      bool // scanners, or their reports
	Resolve    bool // the registries are asked
	Policies   bool // policies of the user's own
	AccessLogs bool // access logs of the secret manager
}

// Controls are those that what was given asks for.
func (g Given) Controls() []evidence.ControlID {
	var ids []evidence.ControlID
	for _, x := range []struct {
		given bool
		rules []string
	}{
		{g.Scans, []string{images.RuleScanned, images.RuleScanFresh}},
		{g.Signatures, []string{signatures.RuleVerified}},
		{g.Registries, []string{images.RuleRegistry}},
		{g.Resolve, []string{images.RulePin}},
		{g.Policies, []string{policy.RuleOwn}}, // also where their annotations name others
		{g.AccessLogs, []string{accesslog.RuleReaders}},
	} {
		if !x.given {
			continue
		}
		for _, rule := range x.rules {
			ids = append(ids, config.RuleControls().Of(rule)...)
		}
	}
	return ids
}

// changed returns rules with another profile, whose raw form says so: what is
// sealed is what was judged by.
func (r Rules) changed(change func(*evidence.Profile)) (Rules, error) {
	p := *r.Profile
	p.Controls = slices.Clone(p.Controls)
	change(&p)
	raw, err := yaml.Marshal(p)
	if err != nil {
		return r, fmt.Errorf("profile %s: %w", p.Name, err)
	}
	r.Profile, r.ProfileRaw = &p, raw
	return r, nil
}
