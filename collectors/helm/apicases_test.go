package helm_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/apicases"
)

// TestAPICases holds CHT-3 to objects of every kind, right ones and wrong ones;
// test/e2e asks a real API server about the same ones.
func TestAPICases(t *testing.T) {
	t.Parallel()
	cases, err := apicases.All()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 400 {
		t.Fatalf("only %d cases", len(cases))
	}
	byKind := map[string][]apicases.Case{}
	for _, c := range cases {
		byKind[c.Kind] = append(byKind[c.Kind], c)
	}
	for kind, cases := range byKind {
		t.Run(strings.ReplaceAll(kind, "/", " "), func(t *testing.T) {
			t.Parallel()
			for _, c := range cases {
				if said := refusals(t, c); c.Right != (len(said) == 0) {
					t.Errorf("%s: right is %t, said is: %s", c.Name, c.Right, strings.Join(said, "; "))
				}
			}
		})
	}
}

// refusals are the findings of CHT-3 that are no pass, without the warnings about what
// the API server creates and Helm 4 cannot apply.
func refusals(t *testing.T, c apicases.Case) []string {
	t.Helper()
	raw, err := json.Marshal(c.Object)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(c.Kind, "cases.example.com") {
		raw = bytes.Join([][]byte{apicases.CRDs(), raw}, []byte("\n---\n"))
	}
	file := filepath.Join(t.TempDir(), "object.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	rel, err := chart.LoadManifests(t.Context(), file, chart.LoadOptions{})
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	art, err := collectRelease(t, rel, helm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := rel.Close(); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range findings(t, art) {
		switch f.Rule {
		case helm.RuleParse, helm.RuleSchema, helm.RuleCRD:
			onlyApplied := f.Outcome == evidence.OutcomeWarn && strings.HasPrefix(f.Message, "the API server creates it, but server-side apply")
			if f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable && !onlyApplied {
				out = append(out, string(f.Outcome)+": "+f.Message)
			}
		}
	}
	return out
}
