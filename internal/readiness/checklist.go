// Package readiness answers a checklist from evidence and reviews: item by item, what is
// there, what is missing, and the command that gets it. It reads nothing itself.
package readiness

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/strictyaml"
	templates "github.com/companyos/helmproof/templates/readiness"
)

// MaxChecklist bounds a checklist that is read, in bytes.
const MaxChecklist = 1 << 20

// Checklist is what has to be there before a release is operated.
type Checklist struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Items []Item `json:"items"`
}

// Item is one question. Exactly one of Controls, Reviews and Training answers it.
type Item struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Controls that have to hold by the newest evidence about the release, its cluster
	// and its drills, as the gate decides them by the thresholds of profile release.
	Controls []evidence.ControlID `json:"controls"`
	// Rules that have to have passed besides, of those that decide Controls: what does
	// not apply, since nothing needs it, is not there.
	Rules    []string  `json:"rules"`
	Reviews  *Reviews  `json:"reviews"`
	Training *Training `json:"training"`
	// MaxAge is how old evidence, reviews and trainings may be; 0: what profile release
	// says of the controls, and any age of what people signed.
	MaxAge evidence.Duration `json:"maxAge"`
	Get    string            `json:"get"` // the command that gets what is missing, for controls
}

// Reviews are documents, and the evidence itself, that a role has to have reviewed.
type Reviews struct {
	Role     string   `json:"role"`
	Files    []string `json:"files"`    // below the folder of documents
	Evidence bool     `json:"evidence"` // the bundle that the answers rest on first of all
}

// Training is how many people have to have completed one.
type Training struct {
	Role   string `json:"role"` // that records it
	File   string `json:"file"`
	People int    `json:"people"`
}

// Builtin returns a built-in checklist; ok is false where there is none of that name.
func Builtin(name string) (raw []byte, ok bool) {
	raw, err := templates.FS.ReadFile(name + ".yaml")
	return raw, err == nil
}

// Names are those of the built-in checklists.
func Names() []string {
	var out []string
	files, err := fs.Glob(templates.FS, "*.yaml")
	if err != nil {
		panic("embedded checklists: " + err.Error()) // the pattern is a constant
	}
	for _, f := range files {
		out = append(out, strings.TrimSuffix(f, ".yaml"))
	}
	return out
}

var idPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

const (
	maxItems = 200
	maxTitle = 200
)

// Parse reads a checklist strictly: unknown keys, controls and rules that the catalog
// does not have, and items that ask nothing are errors that name their place.
func Parse(raw []byte, catalog *evidence.Catalog) (*Checklist, error) {
	c := new(Checklist)
	if err := strictyaml.Unmarshal(raw, MaxChecklist, c); err != nil {
		return nil, err
	}
	if !idPattern.MatchString(c.Name) {
		return nil, &strictyaml.Error{Path: "name", Value: c.Name, Problem: "want lower-case letters, digits and -, at most 63"}
	}
	if err := checkLine("title", c.Title, maxTitle); err != nil {
		return nil, err
	}
	if n := len(c.Items); n == 0 || n > maxItems {
		return nil, &strictyaml.Error{Path: "items", Problem: fmt.Sprintf("%d of them: want 1 to %d", n, maxItems)}
	}
	ids, asked := map[string]bool{}, map[evidence.ControlID]bool{}
	for i := range c.Items {
		it, at := &c.Items[i], fmt.Sprintf("items[%d]", i)
		if err := it.check(at, catalog, asked); err != nil {
			return nil, err
		}
		if ids[it.ID] {
			return nil, &strictyaml.Error{Path: at + ".id", Value: it.ID, Problem: "is given twice"}
		}
		ids[it.ID] = true
	}
	return c, nil
}

// checkLine refuses what is no line of plain text.
func checkLine(at, s string, limit int) error {
	if strings.TrimSpace(s) == "" || len(s) > limit || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return &strictyaml.Error{Path: at, Value: s, Problem: fmt.Sprintf("want a line of text of at most %d bytes", limit)}
	}
	return nil
}

func (it *Item) check(at string, catalog *evidence.Catalog, asked map[evidence.ControlID]bool) error {
	bad := func(key, value, problem string) error {
		return &strictyaml.Error{Path: at + key, Value: value, Problem: problem}
	}
	kinds := 0
	for _, there := range []bool{len(it.Controls) > 0, it.Reviews != nil, it.Training != nil} {
		if there {
			kinds++
		}
	}
	switch {
	case !idPattern.MatchString(it.ID):
		return bad(".id", it.ID, "want lower-case letters, digits and -, at most 63")
	case kinds != 1:
		return bad("", it.ID, "want exactly one of controls, reviews and training")
	case len(it.Controls) == 0 && (len(it.Rules) > 0 || it.Get != ""):
		return bad("", it.ID, "rules and get go with controls")
	case it.MaxAge < 0:
		return bad(".maxAge", "", "want an age of more than nothing, such as 168h")
	}
	if err := checkLine(at+".title", it.Title, maxTitle); err != nil {
		return err
	}
	switch {
	case it.Reviews != nil:
		return it.Reviews.check(at + ".reviews")
	case it.Training != nil:
		return it.Training.check(at + ".training")
	}
	if err := checkLine(at+".get", it.Get, maxTitle); err != nil {
		return err
	}
	for i, id := range it.Controls {
		where := fmt.Sprintf(".controls[%d]", i)
		if _, ok := catalog.Control(id); !ok {
			return bad(where, string(id), "want a control of the catalog: `helmproof controls` lists them")
		}
		if asked[id] {
			return bad(where, string(id), "is asked for twice: an age limit could not say of which")
		}
		asked[id] = true
	}
	counts := evidence.NewRuleControls(catalog)
	for i, rule := range it.Rules {
		if !slices.ContainsFunc(counts.Of(rule), func(id evidence.ControlID) bool { return slices.Contains(it.Controls, id) }) {
			return bad(fmt.Sprintf(".rules[%d]", i), rule, "want a rule of one of the item's controls")
		}
	}
	return nil
}

func (r *Reviews) check(at string) error {
	if err := checkRole(at, r.Role); err != nil {
		return err
	}
	if len(r.Files) == 0 && !r.Evidence {
		return &strictyaml.Error{Path: at, Problem: "want files, or evidence: true"}
	}
	for i, f := range r.Files {
		if err := checkFile(fmt.Sprintf("%s.files[%d]", at, i), f); err != nil {
			return err
		}
		if slices.Contains(r.Files[:i], f) {
			return &strictyaml.Error{Path: fmt.Sprintf("%s.files[%d]", at, i), Value: f, Problem: "is given twice"}
		}
	}
	return nil
}

func (t *Training) check(at string) error {
	if err := checkRole(at, t.Role); err != nil {
		return err
	}
	if t.People < 1 || t.People > 1000 {
		return &strictyaml.Error{Path: at + ".people", Problem: "want a number from 1 to 1000"}
	}
	return checkFile(at+".file", t.File)
}

func checkRole(at, role string) error {
	if !idPattern.MatchString(role) {
		return &strictyaml.Error{Path: at + ".role", Value: role, Problem: "want lower-case letters, digits and -, at most 63"}
	}
	return nil
}

// checkFile refuses names that lead out of the folder of documents.
func checkFile(at, name string) error {
	if !fs.ValidPath(name) || name == "." || path.Clean(name) != name || strings.Contains(name, `\`) {
		return &strictyaml.Error{Path: at, Value: name, Problem: "want a file below the folder of documents, like docs/runbook.md"}
	}
	return checkLine(at, name, 900)
}
