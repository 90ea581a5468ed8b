package pipeline

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
	"github.com/companyos/helmproof/evidence/review"
	"github.com/companyos/helmproof/internal/readiness"
)

// readyWorld is a release for which all of the built-in checklist is done.
type readyWorld struct {
	t       *testing.T
	at      time.Time
	docs    string
	repo    *repository.Repository
	signers map[string]attest.Signer // by role
	roles   review.Roles
	judged  *Judged
	bad     error // why evidence cannot be verified
}

func newReadyWorld(t *testing.T) *readyWorld {
	t.Helper()
	w := &readyWorld{t: t, at: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC), docs: t.TempDir(), repo: repository.New(dir.Open(t.TempDir())),
		signers: map[string]attest.Signer{}, roles: review.Roles{}}
	for _, role := range []string{"security", "sre", "eve"} {
		private, public, err := attest.GeneratePlainKeyPair()
		w.must(err)
		name := filepath.Join(t.TempDir(), role+".key")
		w.must(os.WriteFile(name, private, 0o600))
		w.signers[role], err = attest.LoadSigner(name, nil)
		w.must(err)
		trust := new(attest.Trust)
		w.must(trust.Add(public))
		if role != "eve" {
			w.roles[role] = []review.Holder{{Name: role + ".pub", Trust: trust}}
		}
	}
	w.write("docs/architecture.md", "# Architecture\n")
	w.write("docs/runbook.md", "# Runbook\n")
	w.write("docs/training.md", "# Training\n")
	id := evidence.DigestOf([]byte("cluster"))
	w.judged = &Judged{
		Release: evidence.Release{Chart: "shop", ReleaseName: "shop", Namespace: "prod"}, Inputs: []evidence.BundleRef{{Bundle: id, Scope: evidence.ScopeCluster}},
		found: map[evidence.Digest][]evidence.Finding{id: {
			{Rule: "controllers/external-secrets", Outcome: evidence.OutcomePass, Message: "it runs"},
			{Rule: "controllers/resource-metrics", Outcome: evidence.OutcomePass, Message: "it runs"},
		}},
	}
	for _, it := range w.checklist().Items {
		for _, c := range it.Controls {
			w.judged.Verdict.Results = append(w.judged.Verdict.Results, evidence.ControlResult{Control: c, Outcome: evidence.ControlPass, Reason: "all checks pass", Evidence: []evidence.BundleRef{{Bundle: id}}})
		}
	}
	return w
}

func (w *readyWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *readyWorld) write(name, text string) {
	w.t.Helper()
	name = filepath.Join(w.docs, name)
	w.must(os.MkdirAll(filepath.Dir(name), 0o755))
	w.must(os.WriteFile(name, []byte(text), 0o600))
}

func (w *readyWorld) checklist() *readiness.Checklist {
	w.t.Helper()
	raw, ok := readiness.Builtin("operational")
	if !ok {
		w.t.Fatal("no built-in checklist")
	}
	_, catalog := config.Catalog()
	c, err := readiness.Parse(raw, catalog)
	w.must(err)
	return c
}

// attest signs a review of a document as it is now, by a role's key.
func (w *readyWorld) attest(role, file string, change func(*review.Review), by ...string) {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.docs, file))
	w.must(err)
	r := review.Review{Role: role, Kind: review.File, Reason: "read", ReviewedAt: w.at.Add(-time.Hour), Repository: "here", Tool: "test"}
	if change != nil {
		change(&r)
	}
	s := w.signers[role]
	if len(by) > 0 {
		s = w.signers[by[0]]
	}
	_, err = Attest(w.t.Context(), w.repo, s, attest.Subject{Name: file, Digest: evidence.DigestOf(raw)}, r)
	w.must(err)
}

func people(names ...string) func(*review.Review) {
	return func(r *review.Review) { r.Completed = names }
}

// reviewAll signs all that the checklist wants to be reviewed, but what skip names.
func (w *readyWorld) reviewAll(skip string) {
	for _, role := range []string{"security", "sre"} {
		for _, f := range []string{"docs/architecture.md", "docs/runbook.md"} {
			if skip != role+" "+f {
				w.attest(role, f, nil)
			}
		}
	}
	if skip != "training" {
		w.attest("sre", "docs/training.md", people("ann", "bob"))
	}
}

func (w *readyWorld) control(id evidence.ControlID) *evidence.ControlResult {
	i := slices.IndexFunc(w.judged.Verdict.Results, func(r evidence.ControlResult) bool { return r.Control == id })
	return &w.judged.Verdict.Results[i]
}

func (w *readyWorld) answer() readiness.Report {
	w.t.Helper()
	root, err := os.OpenRoot(w.docs)
	w.must(err)
	defer root.Close()
	by, err := LoadRules(RulesOptions{Profile: readinessProfile})
	w.must(err)
	r := &ready{ctx: w.t.Context(), repo: w.repo, rules: by, docs: root, req: ReadinessRequest{
		Checklist: w.checklist(), Documents: w.docs, Gate: GateRequest{At: w.at}, Reviews: &review.Reader{Roles: w.roles, Repository: "here", At: w.at},
	}}
	rep, err := r.report(w.judged, w.bad, "")
	w.must(err)
	return rep
}

// With everything done the built-in checklist says so; with each thing missing in turn
// exactly its item is not done, for the reason that it is.
func TestReadinessEachMissing(t *testing.T) {
	t.Parallel()
	fail := func(id evidence.ControlID, o evidence.ControlOutcome, why string) func(*readyWorld) {
		return func(w *readyWorld) { w.reviewAll(""); w.control(id).Outcome, w.control(id).Reason = o, why }
	}
	for name, tt := range map[string]struct {
		change func(*readyWorld)
		item   string // that is not done; empty: all are
		want   readiness.Outcome
		reason string
	}{
		"everything":          {change: func(w *readyWorld) { w.reviewAll("") }},
		"waived":              {change: fail("CIS-1", evidence.ControlWaived, "accepted")},
		"lint":                {fail("CHT-1", evidence.ControlFail, "1 of 2 checks fail"), "charts", readiness.Missing, "fail: 1 of 2 checks fail"},
		"validation":          {fail("CHT-3", evidence.ControlIncomplete, "no evidence"), "charts", readiness.Missing, "incomplete: no evidence"},
		"CIS is stale":        {fail("CIS-2", evidence.ControlIncomplete, "evidence is 200h old, the limit is 168h"), "cis", readiness.Missing, "the limit is 168h"},
		"an outcome of later": {fail("SEC-1", "approved", "by a version to come"), "pod-security", readiness.Missing, "approved: by a version"},
		"drill over budget":   {fail("RSL-1", evidence.ControlFail, "beyond the error budget"), "drills", readiness.Missing, "beyond the error budget"},
		"policies":            {fail("ADM-4", evidence.ControlFail, "not in force"), "controllers", readiness.Missing, "not in force"},
		"not judged": {func(w *readyWorld) {
			w.reviewAll("")
			w.judged.Verdict.Results = slices.DeleteFunc(w.judged.Verdict.Results, func(r evidence.ControlResult) bool { return r.Control == "SEC-1" })
		}, "pod-security", readiness.Missing, "it was not judged"},
		"nothing needs the controller": {func(w *readyWorld) {
			w.reviewAll("")
			w.judged.found[w.judged.Inputs[0].Bundle][0].Outcome = evidence.OutcomeNotApplicable
		}, "controllers", readiness.Missing, "not-applicable: it runs"},
		"no word of the controller": {func(w *readyWorld) {
			w.reviewAll("")
			w.judged.found[w.judged.Inputs[0].Bundle] = w.judged.found[w.judged.Inputs[0].Bundle][1:]
		}, "controllers", readiness.Missing, "nothing in the evidence shows that it is there"},
		"security read half": {func(w *readyWorld) { w.reviewAll("security docs/runbook.md") }, "reviewed-by-security", readiness.Missing, "not reviewed by security as it is"},
		"sre read half":      {func(w *readyWorld) { w.reviewAll("sre docs/architecture.md") }, "reviewed-by-sre", readiness.Missing, "not reviewed by sre as it is"},
		"changed since": {func(w *readyWorld) {
			w.reviewAll("training")
			w.attest("sre", "docs/training.md", people("ann", "bob"))
			w.write("docs/training.md", "# Other\n")
		}, "training", readiness.Missing, "0 of 2 people"},
		"read by nobody's key": {func(w *readyWorld) {
			w.reviewAll("sre docs/runbook.md")
			w.attest("sre", "docs/runbook.md", nil, "eve")
		}, "reviewed-by-sre", readiness.Missing, "no review by sre counts"},
		"read by the wrong role": {func(w *readyWorld) {
			w.reviewAll("sre docs/runbook.md")
			w.attest("sre", "docs/runbook.md", nil, "security")
		}, "reviewed-by-sre", readiness.Missing, "no review by sre counts"},
		"expired": {func(w *readyWorld) {
			w.reviewAll("sre docs/runbook.md")
			w.attest("sre", "docs/runbook.md", func(r *review.Review) { e := w.at; r.ExpiresAt = &e })
		}, "reviewed-by-sre", readiness.Missing, "no review by sre counts"},
		"of the future": {func(w *readyWorld) {
			w.reviewAll("sre docs/runbook.md")
			w.attest("sre", "docs/runbook.md", func(r *review.Review) { r.ReviewedAt = w.at.Add(time.Hour) })
		}, "reviewed-by-sre", readiness.Missing, "no review by sre counts"},
		"of another repository": {func(w *readyWorld) {
			w.reviewAll("sre docs/runbook.md")
			w.attest("sre", "docs/runbook.md", func(r *review.Review) { r.Repository = "there" })
		}, "reviewed-by-sre", readiness.Missing, "no review by sre counts"},
		"long ago": {func(w *readyWorld) {
			w.reviewAll("sre docs/runbook.md")
			w.attest("sre", "docs/runbook.md", func(r *review.Review) { r.ReviewedAt = w.at.Add(-8761 * time.Hour) })
		}, "reviewed-by-sre", readiness.Missing, "no review by sre counts"},
		"training as review": {func(w *readyWorld) {
			w.reviewAll("sre docs/runbook.md")
			w.attest("sre", "docs/runbook.md", people("ann"))
		}, "reviewed-by-sre", readiness.Missing, "not reviewed by sre"},
		"no training": {func(w *readyWorld) { w.reviewAll("training") }, "training", readiness.Missing, "0 of 2 people"},
		"one person twice": {func(w *readyWorld) {
			w.reviewAll("training")
			w.attest("sre", "docs/training.md", people("ann"))
			w.attest("sre", "docs/training.md", people("ANN"))
		}, "training", readiness.Missing, "1 of 2 people"},
		"training by another key": {func(w *readyWorld) {
			w.reviewAll("training")
			w.attest("sre", "docs/training.md", people("ann", "bob"), "security")
		}, "training", readiness.Missing, "0 of 2 people"},
		"no document": {func(w *readyWorld) {
			w.reviewAll("")
			w.must(os.Remove(filepath.Join(w.docs, "docs/training.md")))
		}, "training", readiness.Missing, "there is no such document"},
		"an empty document": {func(w *readyWorld) { w.reviewAll(""); w.write("docs/training.md", "") }, "training", readiness.Missing, "there is nothing to review"},
		"a link in the place of its reviews": {func(w *readyWorld) {
			w.reviewAll("training")
			w.must(os.Symlink(w.t.TempDir(), filepath.Join(w.repo.URL(), "reviews", evidence.DigestOf([]byte("# Training\n")).Hex())))
		}, "training", readiness.Unverifiable, "0 of 2 people"},
		"altered": {func(w *readyWorld) {
			w.reviewAll("training")
			_, err := w.repo.PutReview(w.t.Context(), evidence.DigestOf([]byte("# Training\n")), []byte("nothing"))
			w.must(err)
		}, "training", readiness.Unverifiable, "0 of 2 people"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newReadyWorld(t)
			tt.change(w)
			rep := w.answer()
			want := tt.want
			if tt.item == "" {
				want = readiness.Done
			}
			if rep.Outcome != want {
				t.Errorf("%s, want %s", rep.Outcome, want)
			}
			for _, a := range rep.Items {
				if (a.Outcome != readiness.Done) != (a.ID == tt.item) {
					t.Errorf("%s is %s: %+v", a.ID, a.Outcome, a.Parts)
				}
				if a.ID != tt.item {
					continue
				}
				bad := slices.IndexFunc(a.Parts, func(p readiness.Part) bool { return p.Outcome != readiness.Done })
				if bad < 0 || !strings.Contains(a.Parts[bad].Reason, tt.reason) || a.Parts[bad].Get == "" {
					t.Errorf("want %q and a command: %+v", tt.reason, a.Parts)
				}
			}
		})
	}
}

// Evidence that cannot be verified answers nothing, and no item about it is done.
func TestReadinessUnverifiable(t *testing.T) {
	t.Parallel()
	w := newReadyWorld(t)
	w.reviewAll("")
	w.bad = integrityErr("bundle 1234 is not verified")
	rep := w.answer()
	if rep.Outcome != readiness.Unverifiable {
		t.Error(rep.Outcome)
	}
	for i, it := range w.checklist().Items {
		want := readiness.Done
		if len(it.Controls) > 0 {
			want = readiness.Unverifiable
		}
		if rep.Items[i].Outcome != want {
			t.Errorf("%s is %s", it.ID, rep.Items[i].Outcome)
		}
	}
}
