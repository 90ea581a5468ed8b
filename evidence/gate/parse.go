package gate

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/strictyaml"
)

// MaxPolicyBytes is the largest catalog, profile or waiver file that is read.
const MaxPolicyBytes = 1 << 20

const (
	maxName = 200
	maxText = 4000
)

var (
	controlPattern   = regexp.MustCompile(`^[A-Z]{3}-[1-9][0-9]{0,2}$`)
	groupPattern     = regexp.MustCompile(`^[A-Z]{3}$`)
	namePattern      = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	rulePattern      = regexp.MustCompile(`^[a-z0-9]+/([A-Za-z0-9._-]+|\*|[A-Za-z0-9._-]+\*)$`)
	collectorPattern = regexp.MustCompile(`^[a-z0-9]+$`)
)

const severities = "want critical, high, medium, low or info"

// ParseProfile reads a profile, strictly. ValidateProfile checks it against a catalog.
func ParseProfile(data []byte) (*evidence.Profile, error) {
	p := new(evidence.Profile)
	if err := strictyaml.Unmarshal(data, MaxPolicyBytes, p); err != nil {
		return nil, fmt.Errorf("parse profile: %w", err)
	}
	if err := checkProfile(p); err != nil {
		return nil, fmt.Errorf("parse profile: %w", err)
	}
	return p, nil
}

func checkProfile(p *evidence.Profile) error {
	switch {
	case !namePattern.MatchString(p.Name):
		return invalid("name", p.Name, "want lower-case letters, digits, - and ., at most 63")
	case p.Title == "":
		return missing("title")
	case p.MaxAge == 0:
		return invalid("maxAge", "", "missing: how old evidence may be when it is gated on, like \"168h\"")
	case len(p.Controls) == 0:
		return missing("controls")
	}
	switch p.Scope {
	case evidence.ScopeRelease, evidence.ScopeCluster, evidence.ScopeDrill, evidence.ScopeComposed:
	default:
		return invalid("scope", string(p.Scope), "want release, cluster, drill or composed")
	}
	if p.FailOn.Validate() != nil {
		return invalid("failOn", string(p.FailOn), severities)
	}
	seen := map[evidence.ControlID]bool{}
	required := 0
	for i, c := range p.Controls {
		at := fmt.Sprintf("controls[%d]", i)
		switch {
		case !controlPattern.MatchString(string(c.ID)):
			return invalid(at+".id", string(c.ID), "want a control id like SEC-1")
		case seen[c.ID]:
			return invalid(at+".id", string(c.ID), "is named twice")
		case c.FailOn != "" && c.FailOn.Validate() != nil:
			return invalid(at+".failOn", string(c.FailOn), severities)
		}
		seen[c.ID] = true
		if !c.Optional {
			required++
		}
	}
	if required == 0 {
		return invalid("controls", "", "all are optional: a profile that requires nothing decides nothing")
	}
	return nil
}

// ValidateProfile checks that the catalog has every control of the profile.
func ValidateProfile(p *evidence.Profile, c *evidence.Catalog) error {
	for i, pc := range p.Controls {
		if _, ok := c.Control(pc.ID); !ok {
			return fmt.Errorf("profile %s: %w", p.Name, invalid(fmt.Sprintf("controls[%d].id", i), string(pc.ID),
				"unknown control: `helmproof controls` lists them"))
		}
	}
	return nil
}

// ParseCatalog reads a control catalog, strictly.
func ParseCatalog(data []byte) (*evidence.Catalog, error) {
	c := new(evidence.Catalog)
	if err := strictyaml.Unmarshal(data, MaxPolicyBytes, c); err != nil {
		return nil, fmt.Errorf("parse catalog: %w", err)
	}
	if err := checkCatalog(c); err != nil {
		return nil, fmt.Errorf("parse catalog: %w", err)
	}
	return c, nil
}

func checkCatalog(c *evidence.Catalog) error {
	switch {
	case c.Version == "":
		return missing("version")
	case len(c.Controls) == 0:
		return missing("controls")
	}
	groups := map[string]bool{}
	for i, g := range c.Groups {
		at := fmt.Sprintf("groups[%d]", i)
		switch {
		case !groupPattern.MatchString(g.ID):
			return invalid(at+".id", g.ID, "want three capital letters")
		case groups[g.ID]:
			return invalid(at+".id", g.ID, "is named twice")
		case g.Title == "":
			return missing(at + ".title")
		}
		groups[g.ID] = true
	}
	frameworks := map[string]bool{}
	for i, f := range c.Frameworks {
		at := fmt.Sprintf("frameworks[%d]", i)
		switch {
		case !namePattern.MatchString(f.ID):
			return invalid(at+".id", f.ID, "want lower-case letters and digits")
		case frameworks[f.ID]:
			return invalid(at+".id", f.ID, "is named twice")
		case f.Title == "":
			return missing(at + ".title")
		case !strings.HasPrefix(f.URL, "https://"):
			return invalid(at+".url", f.URL, "want an https:// address")
		}
		frameworks[f.ID] = true
	}
	seen := map[evidence.ControlID]bool{}
	for i, x := range c.Controls {
		at := fmt.Sprintf("controls[%d]", i)
		if seen[x.ID] {
			return invalid(at+".id", string(x.ID), "is named twice")
		}
		seen[x.ID] = true
		if err := checkControl(at, x, groups, frameworks); err != nil {
			return err
		}
	}
	return nil
}

func checkControl(at string, x evidence.Control, groups, frameworks map[string]bool) error {
	switch {
	case !controlPattern.MatchString(string(x.ID)):
		return invalid(at+".id", string(x.ID), "want a control id like SEC-1")
	case !groups[x.Group]:
		return invalid(at+".group", x.Group, "want one of the catalog's groups")
	case !strings.HasPrefix(string(x.ID), x.Group+"-"):
		return invalid(at+".id", string(x.ID), "want an id of its group "+x.Group)
	case x.Title == "":
		return missing(at + ".title")
	case x.Statement == "":
		return missing(at + ".statement")
	case x.Remediation == "":
		return missing(at + ".remediation")
	case x.Severity.Validate() != nil:
		return invalid(at+".severity", string(x.Severity), severities)
	case !collectorPattern.MatchString(x.Collector):
		return invalid(at+".collector", x.Collector, "want a collector's name, lower-case letters and digits")
	case len(x.Rules) == 0:
		return missing(at + ".rules")
	}
	for j, r := range x.Rules {
		if !rulePattern.MatchString(r) {
			return invalid(fmt.Sprintf("%s.rules[%d]", at, j), r, "want collector/rule; a * may stand at the end")
		}
	}
	for f, refs := range x.Frameworks {
		if !frameworks[f] {
			return invalid(at+".frameworks."+f, "", "want one of the catalog's frameworks")
		}
		if len(refs) == 0 {
			return missing(at + ".frameworks." + f)
		}
	}
	return nil
}

// waiverFile is the layout of waivers.yaml.
type waiverFile struct {
	Waivers []evidence.Waiver `json:"waivers"`
}

// ParseWaivers reads a waiver file ("waivers:" and a list), strictly. Every
// waiver needs a control, a target that names something, a reason, an approver
// and an expiry. An empty file holds no waivers.
func ParseWaivers(data []byte) ([]evidence.Waiver, error) {
	var f waiverFile
	if err := strictyaml.Unmarshal(data, MaxPolicyBytes, &f); err != nil {
		return nil, fmt.Errorf("parse waivers: %w", err)
	}
	for i, w := range f.Waivers {
		if err := checkWaiver(fmt.Sprintf("waivers[%d]", i), w); err != nil {
			return nil, fmt.Errorf("parse waivers: %w", err)
		}
	}
	return f.Waivers, nil
}

// CheckWaiver refuses a waiver that a file of waivers could not hold.
func CheckWaiver(w evidence.Waiver) error { return checkWaiver("waiver", w) }

func checkWaiver(at string, w evidence.Waiver) error {
	switch {
	case !controlPattern.MatchString(string(w.Control)):
		return invalid(at+".control", string(w.Control), "want a control id like SEC-1")
	case w.Target == (evidence.Selector{}):
		return invalid(at+".target", "", `missing: name what is waived, by rule, kind, name, namespace or container; name: "*" means every target`)
	case evidence.Visible(w.Reason) == 0:
		return invalid(at+".reason", "", "missing: say why the risk is accepted")
	case len(w.Reason) > maxText:
		return invalid(at+".reason", "", fmt.Sprintf("want at most %d bytes", maxText))
	case evidence.Visible(w.ApprovedBy) == 0:
		return invalid(at+".approvedBy", "", "missing: name who accepted the risk")
	case len(w.ApprovedBy) > maxName:
		return invalid(at+".approvedBy", "", fmt.Sprintf("want at most %d bytes", maxName))
	case w.Source != "" && w.Source != evidence.WaiverOfAnnotation && w.Source != evidence.WaiverOfChart:
		return invalid(at+".source", string(w.Source), "want nothing: helmproof says where a waiver was found")
	case w.ExpiresAt.IsZero():
		return invalid(at+".expiresAt", "", "missing: a date like 2026-12-31; a waiver without an end is not one")
	}
	for _, f := range []struct{ key, pattern string }{
		{"rule", w.Target.Rule}, {"kind", w.Target.Kind}, {"name", w.Target.Name},
		{"namespace", w.Target.Namespace}, {"container", w.Target.Container},
	} {
		if len(f.pattern) > maxName {
			return invalid(at+".target."+f.key, "", fmt.Sprintf("want at most %d bytes", maxName))
		}
		if _, err := path.Match(f.pattern, ""); err != nil {
			return invalid(at+".target."+f.key, f.pattern, `bad wildcard: want * for any text without "/", ? for one character, [a-z] for one of a set`)
		}
	}
	return nil
}

func missing(path string) error { return &strictyaml.Error{Path: path, Problem: "missing"} }

func invalid(path, value, problem string) error {
	return &strictyaml.Error{Path: path, Value: value, Problem: problem}
}
