package autoscaling

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

const manifests = `---
# Source: templates/hpa.yaml:1
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
---
# Source: templates/vpa.yaml:1
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: web}
---
# Source: templates/pdb.yaml:1
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
`

func seal(tb testing.TB, artifact []byte) *collectors.Sealed {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	files := map[string][]byte{collectors.ManifestsFile: []byte(manifests), collectors.ReleaseFile: []byte(`{"chart":"test","namespace":"shop"}`)}
	if artifact != nil {
		files["artifacts/autoscaling/autoscaling.json"] = artifact
	}
	for name, b := range files {
		if _, err := art.Put(name, b); err != nil {
			tb.Fatal(err)
		}
	}
	return collectors.NewSealed(art, config.RuleControls())
}

var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func sizes(list ...int) []Rescale {
	var out []Rescale
	for i, n := range list {
		out = append(out, Rescale{at.Add(time.Duration(i-len(list)) * time.Minute), fmt.Sprintf("New size: %d; reason: cpu resource utilization", n), 1})
	}
	return out
}

func TestFindings(t *testing.T) {
	t.Parallel()
	good := func() Seen {
		return Seen{
			At: at,
			HPAs: []HPA{{
				Entry: Entry{Index: 0, Found: true}, Min: 2, Max: 9, Current: 3, Desired: 3, Rescales: sizes(2, 3, 4, 3),
				Conditions: []Condition{{Type: "AbleToScale", Status: "True"}, {Type: "ScalingActive", Status: "True"}, {Type: "ScalingLimited", Status: "False"}},
			}},
			VPAs: []VPA{{
				Entry: Entry{Index: 1, Found: true}, Target: "Deployment web", Requests: map[string]Requests{"app": {"cpu": "100m", "memory": "128Mi"}},
				Recommendations: []Recommendation{{"app", map[string]string{"cpu": "180m", "memory": "100Mi"}}},
			}},
			Budgets: []Budget{{Entry: Entry{Index: 2, Found: true}, Current: 3, Desired: 2, Expected: 3, Allowed: 1}},
		}
	}
	limited := func(since time.Duration) func(*Seen) {
		return func(s *Seen) {
			s.HPAs[0].Conditions[2] = Condition{Type: "ScalingLimited", Status: "True", Reason: "TooManyReplicas", Since: metav1.NewTime(at.Add(-since))}
		}
	}
	for _, tt := range []struct {
		name string
		edit func(*Seen)
		want []string
	}{
		{"all well", func(*Seen) {}, nil},
		{"thrash", func(s *Seen) { s.HPAs[0].Rescales = sizes(2, 4, 2, 4, 2, 4, 2) }, []string{"fail autoscaling/thrash changed direction 5 times within 1h0m0s (7 rescales)"}},
		{"folded events", func(s *Seen) {
			s.HPAs[0].Rescales = sizes(2, 4)
			s.HPAs[0].Rescales[0].Count, s.HPAs[0].Rescales[1].Count = 4, 4
		}, []string{"fail autoscaling/thrash changed direction 6 times"}},
		{"folded events, no more turns than rescales allow", func(s *Seen) {
			s.HPAs[0].Rescales = sizes(4, 2)
			s.HPAs[0].Rescales[0].Count, s.HPAs[0].Rescales[1].Count = 3, 3
		}, nil},
		{"one way", func(s *Seen) { s.HPAs[0].Rescales = sizes(2, 3, 4, 5, 6, 7, 8) }, nil},
		{"a rescale without a size", func(s *Seen) { s.HPAs[0].Rescales[0].Message = "?" }, []string{`error autoscaling/thrash a rescale says "?"`}},
		{"no events", func(s *Seen) { s.HPAs[0].EventsError = "forbidden" }, []string{"not-checked autoscaling/thrash its events could not be read: forbidden"}},
		{"no metrics", func(s *Seen) {
			s.HPAs[0].Conditions[1] = Condition{Type: "ScalingActive", Status: "False", Reason: "FailedGetResourceMetric", Message: "no metrics"}
		}, []string{"fail autoscaling/thrash-conditions does not scale: ScalingActive is False: FailedGetResourceMetric"}},
		{"no conditions", func(s *Seen) { s.HPAs[0].Conditions = nil }, []string{"not-checked autoscaling/thrash-conditions has no condition AbleToScale", "not-checked autoscaling/thrash-conditions has no condition ScalingActive", "not-checked autoscaling/saturation has no condition ScalingLimited"}},
		{"at its maximum", limited(20 * time.Minute), []string{"fail autoscaling/saturation wants more than its maximum of 9 replicas since 20m0s"}},
		{"at its maximum, briefly", limited(time.Minute), []string{"warn autoscaling/saturation wants more than its maximum of 9"}},
		{"at its minimum", func(s *Seen) {
			s.HPAs[0].Conditions[2] = Condition{Type: "ScalingLimited", Status: "True", Reason: "TooFewReplicas"}
		}, nil},
		{"autoscaler missing", func(s *Seen) { s.HPAs[0] = HPA{} }, []string{"fail autoscaling/thrash is not in the cluster"}},
		{"autoscaler not allowed", func(s *Seen) { s.HPAs[0] = HPA{Entry: Entry{Error: "forbidden"}} }, []string{"not-checked autoscaling/thrash could not be looked at: forbidden"}},
		{"autoscaler not asked about", func(s *Seen) { s.HPAs = nil }, []string{"not-checked autoscaling/thrash the cluster was not asked"}},
		{"requests too low", func(s *Seen) { s.VPAs[0].Recommendations[0].Target["cpu"] = "201m" }, []string{"fail autoscaling/recommendation requests 100m of cpu; 201m is recommended"}},
		{"requests too high", func(s *Seen) { s.VPAs[0].Recommendations[0].Target["memory"] = "63Mi" }, []string{"fail autoscaling/recommendation requests 128Mi of memory; 63Mi is recommended"}},
		{"no request", func(s *Seen) { delete(s.VPAs[0].Requests["app"], "cpu") }, []string{"fail autoscaling/recommendation requests no cpu; 180m is recommended"}},
		{"no quantity", func(s *Seen) { s.VPAs[0].Recommendations[0].Target["cpu"] = "much" }, []string{`error autoscaling/recommendation the recommendation of cpu, "much", is no quantity`}},
		{"no recommendation", func(s *Seen) { s.VPAs[0].Recommendations = nil }, []string{"not-checked autoscaling/recommendation recommends nothing yet"}},
		{"no target", func(s *Seen) { s.VPAs[0].Recommendations[0].Target = nil }, []string{"not-checked autoscaling/recommendation recommends nothing for the container"}},
		{"a container that is gone", func(s *Seen) { s.VPAs[0].Recommendations[0].Container = "old" }, []string{"warn autoscaling/recommendation recommends for a container that Deployment web does not have", "not-checked autoscaling/recommendation recommends nothing for the container"}},
		{"no requests", func(s *Seen) { s.VPAs[0].RequestsError = "forbidden" }, []string{"not-checked autoscaling/recommendation the requests of Deployment web could not be read: forbidden"}},
		{"no disruption", func(s *Seen) { s.Budgets[0].Desired, s.Budgets[0].Allowed = 3, 0 }, []string{"fail autoscaling/saturation-budget no node that runs one can be drained"}},
		{"pods missing", func(s *Seen) { s.Budgets[0].Current, s.Budgets[0].Allowed = 1, 0 }, []string{"fail autoscaling/saturation-budget pods are missing"}},
		{"no pods", func(s *Seen) { s.Budgets[0] = Budget{Entry: Entry{Index: 2, Found: true}} }, []string{"warn autoscaling/saturation-budget selects no pods"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := good()
			tt.edit(&s)
			raw, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			found, err := collectors.Findings(seal(t, raw), New())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			controls := map[evidence.ControlID]bool{}
			for _, f := range found {
				controls[f.Controls[0]] = true
				if f.Outcome == evidence.OutcomePass {
					continue
				}
				line := fmt.Sprintf("%s %s %s", f.Outcome, f.Rule, f.Message)
				for _, w := range tt.want {
					p := strings.SplitN(w, " ", 3)
					if string(f.Outcome) == p[0] && f.Rule == p[1] && strings.Contains(f.Message, p[2]) {
						line = w
					}
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if len(controls) != 2 {
				t.Errorf("controls %v", controls)
			}
		})
	}
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", `{"hpas":[`, `{}`, `{"at":"2026-11-01T12:00:00Z","hpas":[{"index":9}]}`, `{"at":"2026-11-01T12:00:00Z","vpas":[{"index":0,"found":true}]}`, `{"at":"2026-11-01T12:00:00Z","budgets":[{"index":-1}]}`} {
		var artifact []byte
		if raw != "" {
			artifact = []byte(raw)
		}
		if found, err := collectors.Findings(seal(t, artifact), New()); err == nil {
			t.Errorf("%q: %d findings and no error", raw, len(found))
		}
	}
}
