package pipeline

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
)

// masks replaces one text.
type masks struct{ secret, by string }

func (m masks) Redact(b []byte) ([]byte, int) {
	n := bytes.Count(b, []byte(m.secret))
	return bytes.ReplaceAll(b, []byte(m.secret), []byte(m.by)), n
}

func TestSnippets(t *testing.T) {
	t.Parallel()
	rel := &chart.Release{Files: []chart.File{{Name: "templates/a.yaml", Data: []byte("one\r\ntwo\nsesame\nfour\nfive\n")}}}
	at := func(id, rule string, line, end int, o evidence.Outcome) evidence.Finding {
		return evidence.Finding{ID: id, Rule: rule, Outcome: o, Target: evidence.Target{File: "templates/a.yaml", Line: line, Column: 1, EndLine: end}}
	}
	const image, data = "policy/image-digest", "secrets/secret-data"
	for name, tc := range map[string]struct {
		findings []evidence.Finding
		by       string
		want     string // ID:NUMBER:TEXT, > before the line itself
	}{
		"three lines":       {[]evidence.Finding{at("x", image, 2, 0, evidence.OutcomeFail)}, "***", "x:1:one x:>2:two x:3:***"},
		"at the start":      {[]evidence.Finding{at("x", image, 1, 0, evidence.OutcomeWarn)}, "***", "x:>1:one x:2:two"},
		"past the end":      {[]evidence.Finding{at("x", image, 99, 0, evidence.OutcomeFail)}, "***", ""},
		"a pass":            {[]evidence.Finding{at("x", image, 2, 0, evidence.OutcomePass)}, "***", ""},
		"a secret has none": {[]evidence.Finding{at("x", data, 2, 0, evidence.OutcomeFail)}, "***", ""},
		"beside a secret that nothing masks": {[]evidence.Finding{at("x", image, 2, 0, evidence.OutcomeFail), at("y", data, 3, 4, evidence.OutcomeFail)}, "sesame",
			"x:1:one x:>2:two x:3:" + maskedLine},
		"lines of a secret": {[]evidence.Finding{at("x", image, 4, 0, evidence.OutcomeFail), at("y", data, 3, 4, evidence.OutcomeFail)}, "***",
			"x:3:" + maskedLine + " x:>4:" + maskedLine + " x:5:five"},
		"a mask that takes lines away": {[]evidence.Finding{at("x", image, 4, 0, evidence.OutcomeFail)}, "a\nb", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range tc.findings {
				for _, l := range snippets(tc.findings, rel, masks{"sesame", tc.by})[f.ID] {
					mark := ""
					if l.Here {
						mark = ">"
					}
					got = append(got, fmt.Sprintf("%s:%s%d:%s", f.ID, mark, l.Number, l.Text))
				}
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("have %q, want %q", s, tc.want)
			}
		})
	}
}
