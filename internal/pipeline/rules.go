package pipeline

import (
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/policy"
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

	From RulesOptions // where they were read from
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
	return slices.ContainsFunc(r.Profile.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == id })
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
