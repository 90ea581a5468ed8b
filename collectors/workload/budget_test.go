package workload_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/workload"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// controller computes disruptionsAllowed as the disruption controller does,
// pod by pod: getExpectedPodCount and updatePdbStatus of Kubernetes. scales is
// the scale of each controller, 0 for a pod of its own.
func controller(pods []int, scales map[int]int, field string, value int, percent bool) int {
	expectedScale, counted := 0, map[int]bool{}
	for _, owner := range pods {
		if owner != 0 && !counted[owner] {
			counted[owner] = true
			expectedScale += scales[owner]
		}
	}
	resolved := value
	if percent {
		resolved = 0
		for resolved*100 < value*expectedScale { // the least whole number that is not below
			resolved++
		}
	}
	expected := expectedScale
	var desired int
	switch {
	case field == "maxUnavailable":
		if desired = expected - resolved; desired < 0 {
			desired = 0
		}
	case percent:
		desired = resolved
	default:
		expected, desired = len(pods), resolved
	}
	allowed := len(pods) - desired
	if expected <= 0 || allowed <= 0 {
		return 0
	}
	return allowed
}

// TestBudgetArithmetic draws workloads of several kinds under one budget, and
// compares AVL-2 with a model of the disruption controller.
func TestBudgetArithmetic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.SampledFrom([]string{"minAvailable", "maxUnavailable"}).Draw(t, "field")
		percent := rapid.Bool().Draw(t, "percent")
		value := rapid.IntRange(0, 12).Draw(t, "value")
		text := fmt.Sprint(value)
		if percent {
			value = rapid.IntRange(0, 100).Draw(t, "percentage")
			text = fmt.Sprintf("%d%%", value)
		}
		var owners []int
		scales := map[int]int{}
		list := []string{pdb("all", fmt.Sprintf("%s: %s, selector: {}", field, text))}
		smallest := 0
		for i := range rapid.IntRange(1, 3).Draw(t, "workloads") {
			kind := rapid.SampledFrom([]string{"Deployment", "StatefulSet", "ReplicaSet", "Pod"}).Draw(t, "kind")
			if kind == "Pod" {
				owners = append(owners, 0)
				list = append(list, pods("Pod", fmt.Sprint("p", i), -1, "app: p", ""))
				continue
			}
			n := rapid.IntRange(0, 9).Draw(t, "replicas")
			scales[i+1] = n
			owners = append(owners, slices.Repeat([]int{i + 1}, n)...)
			list = append(list, pods(kind, fmt.Sprint("w", i), n, "app: w", ""))
			if n > 1 && (smallest == 0 || n < smallest) {
				smallest = n
			}
		}
		allowed := controller(owners, scales, field, value, percent)
		want := evidence.OutcomePass
		switch {
		case len(owners) == 0:
			want = evidence.OutcomeNotApplicable
		case allowed == 0, smallest > 0 && allowed >= smallest:
			want = evidence.OutcomeFail
		}
		f := one(t, docs(list...), workload.RulePDBAllows)
		if f.Outcome != want {
			t.Fatalf("%s: %s of %v: %s (%s), want %s: the controller allows %d", field, text, scales, f.Outcome, f.Message, want, allowed)
		}
		if want == evidence.OutcomePass && !strings.HasSuffix(f.Message, fmt.Sprintf("allows %d at once", allowed)) {
			t.Fatalf("%q, want %d", f.Message, allowed)
		}
	})
}

// TestFloorIsTheHardest holds what the rule rests on: a budget that is right at
// an autoscaler's minimum is right at every count up to its maximum.
func TestFloorIsTheHardest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.IntRange(2, 12).Draw(t, "minReplicas")
		high := low + rapid.IntRange(0, 30).Draw(t, "more")
		field := rapid.SampledFrom([]string{"minAvailable", "maxUnavailable"}).Draw(t, "field")
		percent := rapid.Bool().Draw(t, "percent")
		value := rapid.IntRange(0, 100).Draw(t, "value")
		text := fmt.Sprint(value)
		if percent {
			text += "%"
		}
		manifests := docs(pods("Deployment", "web", rapid.IntRange(1, 50).Draw(t, "replicas"), "app: web", ""),
			strings.Replace(hpa("web", "web", fmt.Sprintf(", minReplicas: %d", low)), "maxReplicas: 9", fmt.Sprintf("maxReplicas: %d", high), 1),
			pdb("web", fmt.Sprintf("%s: %s, selector: {}", field, text)))
		passed := one(t, manifests, workload.RulePDBAllows).Outcome == evidence.OutcomePass
		right := true
		for n := low; n <= high; n++ {
			allowed := controller(slices.Repeat([]int{1}, n), map[int]int{1: n}, field, value, percent)
			right = right && allowed > 0 && allowed < n
		}
		if passed != right {
			t.Fatalf("%s: %s with %d to %d pods: passed %v, right at every count %v", field, text, low, high, passed, right)
		}
	})
}

// one is the only finding of a rule.
func one(t *rapid.T, manifests, rule string) evidence.Finding {
	t.Helper()
	art := collectors.NewArtifacts(nil)
	for name, text := range map[string]string{collectors.ManifestsFile: manifests, collectors.ReleaseFile: `{"chart":"test","namespace":"shop"}`} {
		if _, err := art.Put(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), workload.New())
	if err != nil {
		t.Fatal(err)
	}
	found = slices.DeleteFunc(found, func(f evidence.Finding) bool { return f.Rule != rule })
	if len(found) != 1 {
		t.Fatalf("%d findings of %s: %+v", len(found), rule, found)
	}
	return found[0]
}

// TestManyOfEach: what many objects have to do with each of many others is said in a
// few words, and found without comparing everything with everything.
func TestManyOfEach(t *testing.T) {
	t.Parallel()
	const n = 200
	var all, hooks strings.Builder
	for i := range n {
		name := fmt.Sprintf("w%d", i)
		all.WriteString(docs(pods("Deployment", name, 2, "app: shop", ""), pdb(name, "maxUnavailable: 1, selector: {matchLabels: {app: shop}}"), hpa(name, name, ", minReplicas: 2")))
		hooks.WriteString(docs(strings.Replace(pdb(name, "maxUnavailable: 1, selector: {matchLabels: {app: shop}}"), "metadata: {", "metadata: {annotations: {helm.sh/hook: never}, ", 1)))
	}
	for name, tt := range map[string]struct {
		manifests, rule, want string
	}{
		"budgets":   {all.String(), workload.RulePDBSelects, "… (180 more)"},
		"workloads": {all.String(), workload.RulePDBAllows, "… (180 more)"},
		"hooks":     {docs(pods("Deployment", "web", 2, "app: shop", "")) + hooks.String(), workload.RulePDBSelects, "; … (180 more)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := 0
			for _, f := range findings(t, tt.manifests) {
				if len(f.Message) > 4000 || len(f.Evidence) > 50 {
					t.Fatalf("%s: %d bytes, %d places", f.Rule, len(f.Message), len(f.Evidence))
				}
				if f.Rule == tt.rule && strings.Contains(f.Message, tt.want) {
					found++
				}
			}
			if found == 0 {
				t.Errorf("no finding of %s says %q", tt.rule, tt.want)
			}
		})
	}
}
