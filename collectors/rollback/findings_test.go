package rollback

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/internal/helmop"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
)

func at(s float64) time.Time { return drilltest.Began.Add(drilltest.Second(s)) }

// good is a drill that went well in every respect.
func good() (*drilltest.Drill, *Seen) {
	d := drilltest.New(drill.Rollback)
	d.Plan.Rollback = &drill.RollbackPlan{Fault: BadImage, Detect: evidence.Duration(30 * time.Second), Back: evidence.Duration(time.Minute)}
	d.Drop(func(e drill.Event) bool { return e.Action != nil })
	d.Add(12, drill.Action{Verb: "upgrade", Object: "Release shop/web", Code: 200, Took: 2 * time.Second})
	d.Add(12, drill.Action{Verb: "rollback", Object: "Release shop/web", Code: 200, Took: time.Second})
	bad := drilltest.Pod("x")
	bad.Ready, bad.Reason = false, "ImagePullBackOff"
	d.Add(11, bad)
	bad.Gone = true
	d.Add(13, bad)
	before, whole := helmop.Revision{Revision: 3, Status: "deployed", Digest: "sha256:aa"}, Workload{Template: "sha256:bb", Deadline: 600}
	superseded := before
	superseded.Status = "superseded"
	return d, &Seen{
		Fault: BadImage, From: 3, Change: &Change{"Deployment", "shop", "web", "web", "image web" + noDigest},
		Before: []helmop.Revision{before}, Manifests: "sha256:cc", Pods: []PodSeen{{Name: "web-x", Reason: "ImagePullBackOff"}},
		After: []helmop.Revision{superseded, {Revision: 4, Status: "failed", Drill: true, Digest: "sha256:dd"},
			{Revision: 5, Status: "deployed", Digest: "sha256:aa", RollbackTo: 3}},
		Upgrade: &Operation{Began: at(10), Took: 2 * time.Second, Error: "context deadline exceeded"}, Rollback: &Operation{Began: at(12), Took: time.Second},
		Live: [3]Workload{whole, {Template: "sha256:ee", Marked: true, Deadline: 600}, whole},
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	hooked := func(s *Seen, phase string) {
		h := helmop.Hook{Name: "migrate", Kind: "Job", Events: []string{"pre-rollback", "post-upgrade"}}
		s.Before[0].Hooks, s.After[1].Hooks = []helmop.Hook{h}, []helmop.Hook{h}
		if h.Phase = phase; phase != "" {
			started := at(12.5)
			h.Started = &started
		}
		s.After[2].Hooks = []helmop.Hook{h}
	}
	for _, tt := range []struct {
		name  string
		spoil func(d *drilltest.Drill, s *Seen)
		want  map[string]string // rule: outcome and words; the others pass
	}{
		{"good", func(*drilltest.Drill, *Seen) {}, map[string]string{
			RuleDetected:  "pass Helm said after 2s (of 30s) that it failed; pod web-x was ImagePullBackOff, seen after 1s; the Deployment itself would have said so after its progressDeadlineSeconds, 600",
			RuleManifests: "pass revision 5, rolled back to 3 after 4 failed",
			RuleHooks:     "not-applicable no hook runs"}},
		{"called done", func(_ *drilltest.Drill, s *Seen) { s.Upgrade.Error = "" }, map[string]string{RuleDetected: "fail Helm called it done"}},
		{"late", func(_ *drilltest.Drill, s *Seen) { s.Upgrade.Took = 31 * time.Second }, map[string]string{RuleDetected: "fail only after 31s"}},
		{"another reason", func(_ *drilltest.Drill, s *Seen) { s.Pods, s.Upgrade.Error = nil, "admission webhook denied it" }, map[string]string{
			RuleDetected: "error for another reason, before any pod of it showed the fault: admission webhook denied it"}},
		{"pods that are well", func(_ *drilltest.Drill, s *Seen) { s.Pods[0].Ready = true }, map[string]string{RuleDetected: "error for another reason"}},
		{"pods unread", func(_ *drilltest.Drill, s *Seen) { s.PodsError = "forbidden" }, map[string]string{RuleDetected: "error is not known: forbidden"}},
		{"other manifests", func(_ *drilltest.Drill, s *Seen) { s.After[2].Digest = "sha256:ff" }, map[string]string{RuleManifests: "fail revision 5 applies other manifests"}},
		{"another digest than sealed", func(_ *drilltest.Drill, s *Seen) { s.Manifests = "sha256:ff" }, map[string]string{RuleManifests: "fail applies other manifests"}},
		{"digest unread", func(_ *drilltest.Drill, s *Seen) { s.Manifests, s.ManifestsError = "", "forbidden" }, map[string]string{RuleManifests: "error could not be read: forbidden"}},
		{"left over", func(_ *drilltest.Drill, s *Seen) { s.Live[2].Marked = true }, map[string]string{RuleManifests: "fail the rollback left something of the upgrade in it"}},
		{"live is another", func(_ *drilltest.Drill, s *Seen) { s.Live[2].Template = "sha256:ee" }, map[string]string{RuleManifests: "fail the live Deployment/web is not"}},
		{"live unread", func(_ *drilltest.Drill, s *Seen) { s.Live[2] = Workload{Error: "forbidden"} }, map[string]string{RuleManifests: "error could not be read: forbidden"}},
		{"not the rollback", func(_ *drilltest.Drill, s *Seen) { s.After[2].RollbackTo = 0 }, map[string]string{RuleManifests: "fail is deployed, and not the rollback to 3"}},
		{"no failed revision", func(_ *drilltest.Drill, s *Seen) { s.After[1].Status = "superseded" }, map[string]string{RuleManifests: "fail history does not show the failed upgrade"}},
		{"limits", func(_ *drilltest.Drill, s *Seen) { s.CRDs, s.Claims = []string{"crds/a.yaml"}, []string{"data"} }, map[string]string{
			RuleManifests: "pass Not proven: that data goes back as well (migrations, queues, formats); volumes keep what the new version wrote (data); Helm rolls back no CRDs (crds/a.yaml)"}},
		{"hopeless", func(_ *drilltest.Drill, s *Seen) { s.Rollback.Error = "not ready" }, map[string]string{
			RuleManifests: "fail the rollback to revision 3 failed: not ready", RuleHealthy: "fail hopeless: revision 3 does not come up again either: not ready"}},
		{"slow", func(_ *drilltest.Drill, s *Seen) { s.Rollback.Took = 61 * time.Second }, map[string]string{RuleHealthy: "fail the rollback took 1m1s, 1m0s is allowed"}},
		{"not whole again", func(d *drilltest.Drill, _ *Seen) {
			d.Drop(func(e drill.Event) bool { return e.Workload != nil && e.At > drilltest.Second(14) })
		}, map[string]string{RuleHealthy: "fail not all was ready and answering"}},
		{"whole again too late", func(d *drilltest.Drill, _ *Seen) { d.Plan.Phases.Recover = evidence.Duration(time.Second) }, map[string]string{
			RuleHealthy: "fail only 2.1s later, 1s is allowed"}},
		{"hook failed", func(_ *drilltest.Drill, s *Seen) { hooked(s, "Failed"); s.Rollback.Error = "job failed" }, map[string]string{
			RuleManifests: "fail job failed", RuleHealthy: "fail stopped at hook Job/migrate: job failed", RuleHooks: "fail failed: Job/migrate in the rollback; not run: Job/migrate (post-upgrade: the upgrade failed before): job failed"}},
		{"hook cut off", func(_ *drilltest.Drill, s *Seen) { hooked(s, "Running"); s.Rollback.Error = "job failed" }, map[string]string{
			RuleManifests: "fail ", RuleHealthy: "fail stopped at hook Job/migrate", RuleHooks: "fail failed: Job/migrate in the rollback"}},
		{"hook ran", func(_ *drilltest.Drill, s *Seen) { hooked(s, "Succeeded") }, map[string]string{
			RuleHooks: "pass succeeded: Job/migrate in the rollback; not run: Job/migrate (post-upgrade: the upgrade failed before). What hooks changed elsewhere"}},
		{"hook did not run", func(_ *drilltest.Drill, s *Seen) { hooked(s, "") }, map[string]string{RuleHooks: "fail Job/migrate in the rollback (not run)"}},
		{"history without the drill", func(_ *drilltest.Drill, s *Seen) {
			hooked(s, "")
			s.After = s.After[:1]
			s.After[0].Status = "deployed"
		}, map[string]string{
			RuleManifests: "fail and not the rollback", RuleHooks: "error does not hold the drill's revisions"}},
		{"no history", func(_ *drilltest.Drill, s *Seen) { s.After, s.ManifestsError = nil, "forbidden" }, map[string]string{
			RuleManifests: "error forbidden", RuleHooks: "error could not be read: forbidden"}},
		{"over budget", func(d *drilltest.Drill, _ *Seen) { d.Fail(10, 14, "refused") }, map[string]string{RuleBudget: "fail of the error budget spent"}},
		{"samples missing", func(d *drilltest.Drill, _ *Seen) {

			d.End.Lost = []drill.Gap{{What: "watch of pods", From: drilltest.Second(10), To: drilltest.Second(12)}}
		}, map[string]string{
			RuleBudget: "error not measured", RuleHealthy: "error not measured"}},
		{"aborted", func(d *drilltest.Drill, s *Seen) { d.End.Aborted = "the prober was lost"; s.Rollback = nil }, map[string]string{
			RuleDetected: "error aborted: the prober was lost", RuleManifests: "error aborted", RuleHealthy: "error aborted", RuleBudget: "error aborted", RuleHooks: "not-applicable "}},
		{"not begun", func(_ *drilltest.Drill, s *Seen) { s.Upgrade = nil }, map[string]string{
			RuleDetected: "error the release was not upgraded", RuleManifests: "error ", RuleHealthy: "error ", RuleBudget: "error ", RuleHooks: "error "}},
		{"refused", func(d *drilltest.Drill, _ *Seen) {
			d.Checks, d.Events = []drill.Check{{Name: "steady", OK: true}, {Name: "opt-in", Reason: "no label"}}, nil
		}, map[string]string{RuleDetected: "not-checked the drill did not begin: opt-in: no label", RuleManifests: "not-checked ", RuleHealthy: "not-checked ", RuleBudget: "not-checked ", RuleHooks: "not-checked "}},
		{"not restored", func(d *drilltest.Drill, s *Seen) {
			d.End.NotRestored = []string{"roll shop/web back to revision 3"}
			s.Rollback.Error = "x"
		}, map[string]string{
			RuleManifests: "fail ", RuleHealthy: "fail not put back: roll shop/web back"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, s := good()
			tt.spoil(d, s)
			files := d.Files(Name)
			for name, v := range map[string]any{collectors.Artifact(Name, file): s, collectors.ReleaseFile: evidence.Release{Chart: "shop", ReleaseName: "web", Namespace: "shop", ManifestsDigest: "sha256:cc"}} {
				raw, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				files[name] = raw
			}
			found, err := collectors.Findings(collectors.NewSealed(files, config.RuleControls()), New(Options{}))
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, f := range found {
				want, ok := tt.want[f.Rule]
				if !ok && f.Rule == RuleHooks {
					continue
				}
				outcome, words, _ := strings.Cut(want, " ")
				if !ok {
					outcome = "pass"
				}
				if string(f.Outcome) == outcome && strings.Contains(f.Message, words) {
					seen[f.Rule] = true
				} else if !seen[f.Rule] {
					t.Errorf("%s: %s: %s; want %s %q", f.Rule, f.Outcome, f.Message, outcome, words)
				}
			}
			for rule := range tt.want {
				if !seen[rule] {
					t.Errorf("%s: nothing was found", rule)
				}
			}
		})
	}
}

// Without what only this collector seals nothing passes.
func TestFindingsWithoutFile(t *testing.T) {
	t.Parallel()
	d, _ := good()
	files := d.Files(Name)
	files[collectors.ReleaseFile] = []byte("{}")
	if _, err := New(Options{}).Findings(collectors.NewSealed(files, config.RuleControls())); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v, want that %s is missing", err, file)
	}
}
