package platform

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/admission"
	"github.com/companyos/helmproof/collectors/chart"
)

// TestExemptions holds that each policy has the exemptions that are for it, by the
// conditions that helmproof compares with what is declared, and is otherwise as without.
func TestExemptions(t *testing.T) {
	t.Parallel()
	render := func(files ...string) map[string]*admissionv1.ValidatingAdmissionPolicy {
		rel, err := chart.Load(t.Context(), filepath.Join(root, chartDir), chart.LoadOptions{ValueFiles: files})
		if err != nil {
			t.Fatal(err)
		}
		defer rel.Close()
		out := map[string]*admissionv1.ValidatingAdmissionPolicy{}
		for doc := range strings.SplitSeq(string(rel.Manifests), "\n---\n") {
			if strings.Contains(doc, "kind: ValidatingAdmissionPolicy\n") {
				p := new(admissionv1.ValidatingAdmissionPolicy)
				if err := yaml.UnmarshalStrict([]byte(doc), p); err != nil {
					t.Fatal(err)
				}
				out[p.Name] = p
			}
		}
		return out
	}
	without, with := render(), render(filepath.Join(root, chartDir, "examples/exemptions.yaml"))
	if len(with) != len(without) {
		t.Fatalf("%d policies with exemptions, %d without", len(with), len(without))
	}
	const annotation = "helmproof.companyos.github.io/exemptions"
	all := 0
	for name, p := range with {
		var declared []admission.Exemption
		if err := json.Unmarshal([]byte(p.Annotations[annotation]), &declared); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var want []admissionv1.MatchCondition
		for _, e := range declared {
			want = append(want, admissionv1.MatchCondition{Name: "exempt-" + e.Name, Expression: e.Condition()})
		}
		all += len(declared)
		if len(declared) < 2 || len(declared) > 3 || (len(declared) == 3) != (declared[0].Name == "acme-solver") {
			t.Errorf("%s declares %+v", name, declared)
		}
		if d := cmp.Diff(append(want, without[name].Spec.MatchConditions...), p.Spec.MatchConditions); d != "" {
			t.Errorf("conditions of %s (-want +got):\n%s", name, d)
		}
		p.Spec.MatchConditions = without[name].Spec.MatchConditions
		delete(p.Annotations, annotation)
		if d := cmp.Diff(without[name], p); d != "" {
			t.Errorf("%s is another with exemptions:\n%s", name, d)
		}
	}
	if all != 2*len(with)+5 {
		t.Errorf("%d exemptions in all", all)
	}
}

// TestDefaultDenyOfOneNamespace holds that a namespace that is taken over while it runs can do
// without default-deny, for a reason, and that the others have it.
func TestDefaultDenyOfOneNamespace(t *testing.T) {
	t.Parallel()
	rel, err := chart.Load(t.Context(), filepath.Join(root, chartDir), chart.LoadOptions{Set: []string{
		"namespaces[0].name=a", "namespaces[1].name=b", "namespaces[1].create=false", "namespaces[1].networkPolicy.defaultDeny=false", "namespaces[1].networkPolicy.reason=its traffic is not known",
		"namespaces[2].name=c", "namespaces[2].create=false",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	got := map[string]int{}
	for doc := range strings.SplitSeq(string(rel.Manifests), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Namespace string }
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if o.Metadata.Namespace != "" {
			got[o.Metadata.Namespace+" "+o.Kind]++
		}
	}
	want := map[string]int{"a NetworkPolicy": 2, "a ResourceQuota": 1, "a LimitRange": 1, "c NetworkPolicy": 2}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
