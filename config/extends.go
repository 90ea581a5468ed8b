package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/internal/strictyaml"
)

// maxExtends is how many profiles may extend one another.
const maxExtends = 8

// extension is the file of a profile that extends another: what it leaves out is as
// there.
type extension struct {
	Name        string                 `json:"name"`
	Title       string                 `json:"title"`
	Description string                 `json:"description,omitempty"`
	Extends     string                 `json:"extends"` // a built-in name, or a file, relative to this one
	FailOn      evidence.Severity      `json:"failOn,omitempty"`
	MaxAge      evidence.Duration      `json:"maxAge,omitempty"`
	Waivers     *evidence.WaiverBounds `json:"waivers,omitempty"`
	Baseline    *bool                  `json:"baseline,omitempty"`
	Controls    []lineChange           `json:"controls,omitempty"` // lines that are added, or changed in what they say
	Without     []evidence.ControlID   `json:"without,omitempty"`  // lines that are taken out
}

// lineChange is one line of a profile; what is nil is as it was.
type lineChange struct {
	ID       evidence.ControlID `json:"id"`
	Optional *bool              `json:"optional,omitempty"`
	FailOn   *evidence.Severity `json:"failOn,omitempty"`
	MaxAge   *evidence.Duration `json:"maxAge,omitempty"`
	Declared *bool              `json:"declared,omitempty"`
}

// extended returns the profile of a file with what it extends filled in; one that
// extends nothing is returned as it is. by are the files that led to this one.
func extended(raw []byte, file string, by []string) ([]byte, error) {
	root, err := strictyaml.Parse(raw, gate.MaxPolicyBytes)
	if err != nil || !hasKey(root, "extends") {
		return raw, hintExtends(raw)
	}
	var x extension
	if err := strictyaml.Unmarshal(raw, gate.MaxPolicyBytes, &x); err != nil {
		return nil, fmt.Errorf("parse profile: %w", err)
	}
	base, err := extendedFrom(x.Extends, file, by)
	if err != nil {
		return nil, err
	}
	p, err := x.over(base)
	if err != nil {
		return nil, fmt.Errorf("parse profile: %w", err)
	}
	out, err := sigsyaml.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", p.Name, err)
	}
	return out, nil
}

// hasKey reports whether a node is a mapping with that key.
func hasKey(n *yaml.Node, key string) bool {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

// hintExtends refuses a key that no profile has on its own and says what one that extends
// another has besides; whatever else is wrong, ParseProfile says.
func hintExtends(raw []byte) error {
	var wrong *strictyaml.Error
	err := strictyaml.Unmarshal(raw, gate.MaxPolicyBytes, new(evidence.Profile))
	if !errors.As(err, &wrong) || strings.ContainsAny(wrong.Path, ".[") || !strings.HasPrefix(wrong.Problem, "unknown key") {
		return nil
	}
	wrong.Problem += "; or extends, and with it without, in one that extends another"
	return fmt.Errorf("parse profile: %w", wrong)
}

// extendedFrom reads what file extends.
func extendedFrom(name, file string, by []string) (*evidence.Profile, error) {
	at, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("parse profile: extends: %w", err)
	}
	bad := func(problem string) error {
		return fmt.Errorf("parse profile: %w", &strictyaml.Error{Path: "extends", Value: name, Problem: problem})
	}
	switch by = append(by, at); {
	case name == "":
		return nil, bad("empty: want " + wantProfile())
	case len(by) > maxExtends:
		return nil, bad(fmt.Sprintf("more than %d profiles extend one another", maxExtends))
	case !isProfileFile(name):
		if !slices.Contains(Profiles(), name) {
			return nil, bad("want " + wantProfile())
		}
		_, p, err := Profile(name)
		return p, err
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(at), filepath.FromSlash(name))
	}
	name = filepath.Clean(name)
	if slices.Contains(by, name) {
		return nil, bad("a circle: " + strings.Join(append(by, name), " extends "))
	}
	raw, err := readBounded(name, gate.MaxPolicyBytes)
	if err != nil {
		return nil, &Error{Problem: "read profile: " + err.Error()}
	}
	if raw, err = extended(raw, name, by); err != nil {
		return nil, inFile(name, err)
	}
	p, err := gate.ParseProfile(raw)
	if err == nil && len(p.Added()) > 0 {
		err = fmt.Errorf("controls: %s is marked as added: helmproof does that, where a flag asks for a control", p.Added()[0])
	}
	if err != nil {
		return nil, inFile(name, err)
	}
	return p, nil
}

// over is the profile that comes of the extension and what it extends.
func (x *extension) over(base *evidence.Profile) (*evidence.Profile, error) {
	p := *base
	p.Name, p.Title, p.Description = x.Name, x.Title, x.Description
	p.Controls = slices.Clone(base.Controls)
	if x.FailOn != "" {
		p.FailOn = x.FailOn
	}
	if x.MaxAge != 0 {
		p.MaxAge = x.MaxAge
	}
	if x.Waivers != nil {
		w := *x.Waivers
		if w.MaxAge == 0 && base.Waivers != nil { // a bound that nobody lifted stays
			w.MaxAge = base.Waivers.MaxAge
		}
		p.Waivers = &w
	}
	if x.Baseline != nil {
		p.Baseline = *x.Baseline
	}
	place := func(id evidence.ControlID) int {
		return slices.IndexFunc(p.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == id })
	}
	for i, id := range x.Without {
		at := place(id)
		if at < 0 {
			return nil, &strictyaml.Error{Path: fmt.Sprintf("without[%d]", i), Value: string(id), Problem: fmt.Sprintf("profile %s has no such line", base.Name)}
		}
		p.Controls = slices.Delete(p.Controls, at, at+1)
	}
	seen := map[evidence.ControlID]bool{}
	for i, c := range x.Controls {
		if seen[c.ID] || slices.Contains(x.Without, c.ID) {
			return nil, &strictyaml.Error{Path: fmt.Sprintf("controls[%d].id", i), Value: string(c.ID), Problem: "is named twice"}
		}
		seen[c.ID] = true
		at := place(c.ID)
		if at < 0 {
			at = len(p.Controls)
			p.Controls = append(p.Controls, evidence.ProfileControl{ID: c.ID})
		}
		c.change(&p.Controls[at])
	}
	return &p, nil
}

func (c lineChange) change(pc *evidence.ProfileControl) {
	if c.Optional != nil {
		pc.Optional = *c.Optional
	}
	if c.FailOn != nil {
		pc.FailOn = *c.FailOn
	}
	if c.MaxAge != nil {
		pc.MaxAge = *c.MaxAge
	}
	if c.Declared != nil {
		pc.Declared = *c.Declared
	}
}
