package readiness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/readiness"
)

func catalog() *evidence.Catalog {
	_, c := config.Catalog()
	return c
}

// Built-in checklists are read like any other.
func TestBuiltin(t *testing.T) {
	t.Parallel()
	if len(readiness.Names()) == 0 {
		t.Fatal("none")
	}
	for _, name := range readiness.Names() {
		raw, ok := readiness.Builtin(name)
		c, err := readiness.Parse(raw, catalog())
		if !ok || err != nil || c.Name != name {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if _, ok := readiness.Builtin("nothing"); ok {
		t.Error("a checklist that is not there")
	}
}

// A checklist that would ask nothing, or something else than it seems, is refused.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const controls = `{id: a, title: A, controls: [CHT-1], get: do it}`
	for items, want := range map[string]string{
		``:                         "items: 0 of them",
		controls + `, ` + controls: `items[1].controls[0]: "CHT-1": is asked for twice`,
		`{id: a, title: A}`:        "want exactly one of controls, reviews and training",
		`{id: A, title: A, controls: [CHT-1], get: x}`:                                                                   "items[0].id",
		`{id: a, title: "", controls: [CHT-1], get: x}`:                                                                  "items[0].title",
		`{id: a, title: A, controls: [CHT-1]}`:                                                                           "items[0].get",
		`{id: a, title: A, controls: [CHT-99], get: x}`:                                                                  "want a control of the catalog",
		`{id: a, title: A, controls: [CHT-1, CHT-1], get: x}`:                                                            "is asked for twice",
		`{id: a, title: A, controls: [CHT-1], get: x, maxAge: -1h}`:                                                      "must not be negative",
		`{id: a, title: A, controls: [CHT-1], get: x, optional: true}`:                                                   "unknown key",
		`{id: a, title: A, controls: [ADM-6], rules: [helm/lint], get: x}`:                                               "want a rule of one of the item's controls",
		`{id: a, title: A, controls: [CHT-1], reviews: {role: sre, files: [a.md]}, get: x}`:                              "want exactly one of",
		`{id: a, title: A, rules: [controllers/webhook], reviews: {role: sre, files: [a.md]}}`:                           "go with controls",
		`{id: a, title: A, reviews: {role: sre}}`:                                                                        "want files, or evidence: true",
		`{id: a, title: A, reviews: {role: SRE, files: [a.md]}}`:                                                         "reviews.role",
		`{id: a, title: A, reviews: {role: sre, files: [a.md, a.md]}}`:                                                   "is given twice",
		`{id: a, title: A, reviews: {role: sre, files: [../a.md]}}`:                                                      "below the folder of documents",
		`{id: a, title: A, reviews: {role: sre, files: [/etc/passwd]}}`:                                                  "below the folder of documents",
		`{id: a, title: A, reviews: {role: sre, files: ['a\b.md']}}`:                                                     "below the folder of documents",
		`{id: a, title: A, training: {role: sre, file: a.md}}`:                                                           "training.people",
		`{id: a, title: A, training: {role: sre, file: a.md, people: 0}}`:                                                "training.people",
		`{id: a, title: A, training: {role: sre, file: ., people: 1}}`:                                                   "below the folder of documents",
		`{id: a, title: A, reviews: {role: sre, files: [a.md]}}, {id: a, title: B, reviews: {role: sre, files: [b.md]}}`: `items[1].id: "a": is given twice`,
	} {
		_, err := readiness.Parse([]byte("{name: own, title: Own, items: ["+items+"]}"), catalog())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", items, err, want)
		}
	}
	if _, err := readiness.Parse([]byte("{name: Own, title: Own, items: ["+controls+"]}"), catalog()); err == nil || !strings.Contains(err.Error(), "name") {
		t.Error(err)
	}
	if _, err := readiness.Parse([]byte("{name: own, title: Own, items: ["+controls+"]}"), catalog()); err != nil {
		t.Error(err)
	}
}

// The worst outcome counts, none is not done, and one that nobody knows is the worst.
func TestWorst(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		list []readiness.Outcome
		want readiness.Outcome
	}{
		{nil, readiness.Missing},
		{[]readiness.Outcome{readiness.Done, readiness.Done}, readiness.Done},
		{[]readiness.Outcome{readiness.Done, readiness.Missing}, readiness.Missing},
		{[]readiness.Outcome{readiness.Missing, readiness.Unverifiable, readiness.Done}, readiness.Unverifiable},
		{[]readiness.Outcome{readiness.Done, "fine"}, "fine"},
	} {
		if got := readiness.Worst(tt.list...); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.list, got, tt.want)
		}
	}
}

// What stands in a command is one word of it, whatever a chart is called.
func TestCommand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ chart, release, want string }{
		{"shop", "web", "collect shop --release web -n NAMESPACE"},
		{"", "", "collect CHART --release RELEASE -n NAMESPACE"},
		{"a; rm -rf ~", "it's", `collect 'a; rm -rf ~' --release 'it'\''s' -n NAMESPACE`},
		{"{release}", "$(x)", `collect '{release}' --release '$(x)' -n NAMESPACE`},
	} {
		if got := readiness.Command("collect {chart} --release {release} -n {namespace}", tt.chart, tt.release, ""); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

// Whatever is read as a checklist asks something in every item.
func FuzzParse(f *testing.F) {
	for _, name := range readiness.Names() {
		raw, _ := readiness.Builtin(name)
		f.Add(raw)
	}
	f.Add([]byte("{name: a, title: A, items: [{id: a, title: A, training: {role: sre, file: a.md, people: 1}}]}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := readiness.Parse(raw, catalog())
		if err != nil {
			return
		}
		for _, it := range c.Items {
			asks := len(it.Controls)
			if it.Reviews != nil {
				asks += len(it.Reviews.Files)
				if it.Reviews.Evidence {
					asks++
				}
			}
			if it.Training != nil {
				asks += it.Training.People
			}
			if asks == 0 {
				t.Errorf("%q asks nothing", it.ID)
			}
		}
	})
}

// The example of docs/readiness.md is read.
func TestDocsExample(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "readiness.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(raw), "```yaml\nname:")
	if !ok {
		t.Fatal("no example")
	}
	example, _, _ = strings.Cut(example, "```")
	if c, err := readiness.Parse([]byte("name:"+example), catalog()); err != nil || len(c.Items) != 4 {
		t.Errorf("%+v, %v", c, err)
	}
}
