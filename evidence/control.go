package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ControlID is a control's stable name, "SEC-1". A retired id is never used again.
type ControlID string

// Control is one requirement of the catalog.
type Control struct {
	ID          ControlID `json:"id"`
	Group       string    `json:"group"` // "SEC"
	Title       string    `json:"title"`
	Statement   string    `json:"statement"`
	Severity    Severity  `json:"severity"`
	Collector   string    `json:"collector"` // the collector that decides it
	Rules       []string  `json:"rules"`     // the rules whose findings count for it; "*" at the end matches a prefix, see RuleControls
	Remediation string    `json:"remediation"`
	// Needs are rules ("*" at the end matches a prefix) whose evidence comes from bundles
	// of their own: a composed verdict takes the newest of each, and without one of
	// them the control is incomplete. Empty: the newest evidence decides.
	Needs      []string            `json:"needs,omitempty"`
	Frameworks map[string][]string `json:"frameworks,omitempty"` // framework id → references in it
}

// Group is a family of controls.
type Group struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// Framework is an outside standard that controls map to.
type Framework struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// Catalog is the whole set of controls.
type Catalog struct {
	Version    string      `json:"version"`
	Groups     []Group     `json:"groups"`
	Frameworks []Framework `json:"frameworks"`
	Controls   []Control   `json:"controls"`
}

// Control returns the control with that id.
func (c *Catalog) Control(id ControlID) (Control, bool) {
	for _, x := range c.Controls {
		if x.ID == id {
			return x, true
		}
	}
	return Control{}, false
}

// RuleControls says which controls a rule's findings count for: the one place
// is the catalog. It is made once for a catalog and safe for concurrent use.
type RuleControls struct {
	exact    map[string][]ControlID
	prefixes []rulePrefix // longest first
}

type rulePrefix struct {
	prefix   string
	controls []ControlID
}

// NewRuleControls reads the rules of the catalog's controls.
func NewRuleControls(c *Catalog) *RuleControls {
	r := &RuleControls{exact: map[string][]ControlID{}}
	byPrefix := map[string][]ControlID{}
	for _, x := range c.Controls {
		for _, rule := range x.Rules {
			to := r.exact
			prefix, open := strings.CutSuffix(rule, "*")
			if open {
				to = byPrefix
			}
			if !slices.Contains(to[prefix], x.ID) {
				to[prefix] = append(to[prefix], x.ID)
			}
		}
	}
	for p, ids := range byPrefix {
		r.prefixes = append(r.prefixes, rulePrefix{p, ids})
	}
	slices.SortFunc(r.prefixes, func(a, b rulePrefix) int {
		return cmp.Or(cmp.Compare(len(b.prefix), len(a.prefix)), cmp.Compare(a.prefix, b.prefix))
	})
	return r
}

// Of returns the controls that name the rule. Where none does, those with its
// longest prefix: kubebench/node-covered is a rule of CIS-2 alone, though CIS-1
// has all of kubebench/*. The caller may not change the list; nil: no control
// has the rule.
func (r *RuleControls) Of(rule string) []ControlID {
	if ids, ok := r.exact[rule]; ok {
		return ids
	}
	for _, p := range r.prefixes {
		if strings.HasPrefix(rule, p.prefix) {
			return p.controls
		}
	}
	return nil
}

// Scope is what a bundle, or a profile, is about.
type Scope string

// The scopes. A profile of scope ScopeComposed is decided by `gate` over
// bundles of the other three.
const (
	ScopeRelease  Scope = "release"
	ScopeCluster  Scope = "cluster"
	ScopeDrill    Scope = "drill"
	ScopeComposed Scope = "composed"
)

// Profile names the controls that must hold, and how strictly.
type Profile struct {
	Name        string           `json:"name"`
	Title       string           `json:"title"`
	Description string           `json:"description,omitempty"`
	Scope       Scope            `json:"scope"`
	FailOn      Severity         `json:"failOn"` // the lowest severity of a failing finding that fails its control
	MaxAge      Duration         `json:"maxAge"` // how old evidence may be when gated on
	Controls    []ProfileControl `json:"controls"`
	// Waivers bounds the waivers that count when it is gated on; nil: as its zero value does.
	Waivers *WaiverBounds `json:"waivers,omitempty"`
	// Baseline accepts what failed when the release's baseline was written.
	Baseline bool `json:"baseline,omitempty"`
}

// WaiverBounds says which waivers count.
type WaiverBounds struct {
	// MaxAge is how far ahead a waiver may end, at collect and check too; 0:
	// DefaultWaiverAge, at the gate alone.
	MaxAge Duration `json:"maxAge,omitempty"`
	// Wildcards accepts waivers whose target has a wildcard, or names neither an object
	// nor a rule narrower than those of the control in the catalog.
	Wildcards bool `json:"wildcards,omitempty"`
	// Annotations accepts exceptions that objects declare by annotations of theirs.
	Annotations bool `json:"annotations,omitempty"`
	// Chart accepts waivers that the chart brings, in its file .helmproof/waivers.yaml.
	Chart bool `json:"chart,omitempty"`
}

// DefaultWaiverAge is how far ahead a waiver may end where the profile does not say.
const DefaultWaiverAge = Duration(365 * 24 * time.Hour)

// ProfileControl is one control of a profile; zero fields take the profile's.
type ProfileControl struct {
	ID       ControlID `json:"id"`
	Optional bool      `json:"optional,omitempty"` // shown, but decides nothing
	FailOn   Severity  `json:"failOn,omitempty"`
	MaxAge   Duration  `json:"maxAge,omitempty"`
	// Declared takes a failing finding whose object declares it on purpose, with a reason,
	// for a warning that is shown with that reason.
	Declared bool `json:"declared,omitempty"`
	// Added says that the profile does not ask for it by itself: what was given to
	// judge by, such as an allow-list, does.
	Added bool `json:"added,omitempty"`
}

// Added returns the controls that were added to the profile, or made required,
// by what was given to judge by; in the profile's order.
func (p *Profile) Added() []ControlID {
	var out []ControlID
	for _, c := range p.Controls {
		if c.Added {
			out = append(out, c.ID)
		}
	}
	return out
}

// Text names the profile for people: "chart", or "chart, with IMG-4, IMG-5 added".
func (p *Profile) Text() string {
	added := p.Added()
	if len(added) == 0 {
		return p.Name
	}
	text := p.Name + ", with "
	for i, id := range added {
		if i > 0 {
			text += ", "
		}
		text += string(id)
	}
	return text + " added"
}

// Duration is a time.Duration that reads and writes as "168h0m0s".
type Duration time.Duration

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON accepts what time.ParseDuration accepts; never negative.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration %s: want a string like \"168h\"", b)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("duration %q: want a number and a unit, like \"168h\" or \"30m\"", s)
	}
	if v < 0 {
		return fmt.Errorf("duration %q: must not be negative", s)
	}
	*d = Duration(v)
	return nil
}

// Selector picks targets; an empty field matches all. Name, Namespace, Kind,
// Container and Rule may hold "*" wildcards (path.Match syntax).
type Selector struct {
	Rule      string `json:"rule,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Container string `json:"container,omitempty"`
}

// Waiver accepts the failing findings of one control on some targets until it
// expires. It changes the control's result and is shown; it never removes a finding.
type Waiver struct {
	Control    ControlID `json:"control"`
	Target     Selector  `json:"target"`
	Reason     string    `json:"reason"`
	ApprovedBy string    `json:"approvedBy"`
	ExpiresAt  time.Time `json:"expiresAt"`
	// Source says where it was found; empty: in the caller's own file.
	Source WaiverSource `json:"source,omitempty"`
}

// WaiverSource is where a waiver was found, if not in the caller's own file.
type WaiverSource string

// Where waivers come from that the chart's author writes. They count only where the
// profile says so.
const (
	WaiverOfAnnotation WaiverSource = "annotation" // of the object that it is about
	WaiverOfChart      WaiverSource = "chart"      // the chart's .helmproof/waivers.yaml
)
