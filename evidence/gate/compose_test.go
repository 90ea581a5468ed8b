package gate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
)

var payments = evidence.Release{Chart: "payments", ReleaseName: "payments", Namespace: "prod", Cluster: "c1", ManifestsDigest: evidence.DigestOf([]byte("manifests"))}

// seen is a bundle of that age in which the collectors ran.
func seen(name string, scope evidence.Scope, age time.Duration, collectors []string, fs ...evidence.Finding) Evidence {
	return Evidence{
		Bundle: evidence.DigestOf([]byte(name)), Scope: scope, Release: payments, Findings: fs,
		Runs: ran(collectors...), EvaluatedAt: at.Add(-age),
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	first, second := []string{"first"}, []string{"second"}
	passA := finding(evidence.OutcomePass, evidence.SeverityHigh, "a", "AAA-1")
	failA := finding(evidence.OutcomeFail, evidence.SeverityHigh, "a", "AAA-1")
	passB := finding(evidence.OutcomePass, evidence.SeverityHigh, "node", "BBB-1")
	edit := func(e Evidence, f func(*Evidence)) Evidence { f(&e); return e }
	release := seen("release", evidence.ScopeRelease, time.Hour, first, passA)
	cluster := seen("cluster", evidence.ScopeCluster, 2*time.Hour, second, passB)
	cluster.Release = evidence.Release{Cluster: "c1"}
	withWaiver := func(until time.Time) func(*Evidence) {
		return func(e *Evidence) {
			e.Findings = []evidence.Finding{failA}
			e.Verdict.Waivers = []evidence.WaiverResult{{Waiver: waiver("AAA-1", "a", until), Status: WaiverApplied}}
		}
	}
	type result struct {
		Outcome evidence.ControlOutcome
		Reason  string
		Bundle  string // of the evidence it rests on, by name
	}
	tests := []struct {
		name     string
		evidence []Evidence
		edit     func(*ComposeInput)
		want     evidence.VerdictOutcome
		a, b     result // of AAA-1 and BBB-1
	}{
		{"all there", []Evidence{release, cluster}, nil, evidence.VerdictPass,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"nothing there", nil, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "no evidence from collector first", ""},
			result{evidence.ControlIncomplete, "no evidence from collector second", ""}},
		{"the newest counts, not the best", []Evidence{edit(release, func(e *Evidence) {
			e.Bundle, e.EvaluatedAt, e.Findings = evidence.DigestOf([]byte("newer")), at, []evidence.Finding{failA}
		}), release, cluster}, nil, evidence.VerdictFail,
			result{evidence.ControlFail, "1 finding fails (1 high)", "newer"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"the newest look failed", []Evidence{edit(release, func(e *Evidence) {
			e.Bundle, e.EvaluatedAt, e.Findings = evidence.DigestOf([]byte("newer")), at, nil
			e.Runs = []evidence.CollectorRun{{Collector: "first", Outcome: evidence.OutcomeError, Error: "boom"}}
		}), release, cluster}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "collector first failed: boom", "newer"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"a newer bundle in which the collector did not run changes nothing", []Evidence{edit(release, func(e *Evidence) {
			e.Bundle, e.EvaluatedAt, e.Findings, e.Runs = evidence.DigestOf([]byte("newer")), at, nil, nil
		}), release, cluster}, nil, evidence.VerdictPass,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"a collector of both scopes decides other controls in each", []Evidence{edit(release, func(e *Evidence) {
			e.EvaluatedAt, e.Runs = at, ran("first", "second")
		}), cluster}, nil, evidence.VerdictPass,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"a collector of both scopes failed in the one that decides", []Evidence{edit(release, func(e *Evidence) {
			e.Runs = ran("first", "second")
		}), cluster, edit(cluster, func(e *Evidence) {
			e.Bundle, e.EvaluatedAt, e.Findings = evidence.DigestOf([]byte("newer")), at, nil
			e.Runs = []evidence.CollectorRun{{Collector: "second", Outcome: evidence.OutcomeError, Error: "boom"}}
		})}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlIncomplete, "collector second failed: boom", "newer"}},
		{"exactly as old as allowed", []Evidence{edit(release, func(e *Evidence) { e.EvaluatedAt = at.Add(-24 * time.Hour) }), cluster}, nil, evidence.VerdictPass,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"stale", []Evidence{edit(release, func(e *Evidence) { e.EvaluatedAt = at.Add(-24*time.Hour - 90*time.Minute) }), cluster}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "evidence is 25h30m old, the limit is 24h", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"the control's own maximum age", []Evidence{release, cluster},
			func(in *ComposeInput) { in.Profile.Controls[1].MaxAge = evidence.Duration(time.Hour) }, evidence.VerdictIncomplete,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlIncomplete, "evidence is 2h old, the limit is 1h", "cluster"}},
		{"no maximum age", []Evidence{release, cluster}, func(in *ComposeInput) { in.Profile.MaxAge = 0 }, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "the profile sets no maximum age for evidence", ""},
			result{evidence.ControlIncomplete, "the profile sets no maximum age for evidence", ""}},
		{"dated in the future", []Evidence{edit(release, func(e *Evidence) { e.EvaluatedAt = at.Add(time.Second) }), cluster}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "no evidence from collector first; 1 bundle left out: dated in the future (2026-11-01T12:00:01Z)", ""},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"another cluster", []Evidence{release, edit(cluster, func(e *Evidence) { e.Release.Cluster = "c2" })}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlIncomplete, "no evidence from collector second; 1 bundle left out: about another cluster", ""}},
		{"the release names no cluster", []Evidence{edit(release, func(e *Evidence) { e.Release.Cluster = "" }), cluster}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlIncomplete, "no evidence from collector second; 1 bundle left out: the release's evidence names no cluster to match", ""}},
		{"the cluster is asked for", []Evidence{edit(release, func(e *Evidence) { e.Release.Cluster = "" }), cluster},
			func(in *ComposeInput) { in.Cluster = "c1" }, evidence.VerdictPass,
			result{evidence.ControlPass, "1 check passes", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"a cluster alone", []Evidence{cluster}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "no evidence from collector first", ""},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"several clusters", []Evidence{release, edit(release, func(e *Evidence) {
			e.Bundle, e.Release.Cluster = evidence.DigestOf([]byte("other")), "c2"
		}), cluster}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "no evidence from collector first; 3 bundles left out: evidence is about several clusters and none was named", ""},
			result{evidence.ControlIncomplete, "no evidence from collector second; 3 bundles left out: evidence is about several clusters and none was named", ""}},
		{"a drill of another rendering", []Evidence{edit(release, func(e *Evidence) { e.Findings, e.Runs = nil, nil }), edit(release, func(e *Evidence) {
			e.Bundle, e.Scope, e.Release.ManifestsDigest = evidence.DigestOf([]byte("drill")), evidence.ScopeDrill, evidence.DigestOf([]byte("others"))
		}), cluster}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "no evidence from collector first; 1 bundle left out: about another chart, release, namespace or rendering", ""},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"a drill of the release", []Evidence{edit(release, func(e *Evidence) { e.Findings, e.Runs = nil, nil }), edit(release, func(e *Evidence) {
			e.Bundle, e.Scope = evidence.DigestOf([]byte("drill")), evidence.ScopeDrill
		}), cluster}, nil, evidence.VerdictPass,
			result{evidence.ControlPass, "1 check passes", "drill"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"a drill that names no cluster", []Evidence{edit(release, func(e *Evidence) { e.Findings, e.Runs = nil, nil }), edit(release, func(e *Evidence) {
			e.Bundle, e.Scope, e.Release.Cluster = evidence.DigestOf([]byte("drill")), evidence.ScopeDrill, ""
		}), cluster}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, "no evidence from collector first; 1 bundle left out: a drill that names no cluster", ""},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"a composed verdict is no evidence", []Evidence{edit(release, func(e *Evidence) { e.Scope = evidence.ScopeComposed })}, nil, evidence.VerdictIncomplete,
			result{evidence.ControlIncomplete, `no evidence from collector first; 1 bundle left out: of scope "composed", which is no evidence`, ""},
			result{evidence.ControlIncomplete, `no evidence from collector second; 1 bundle left out: of scope "composed", which is no evidence`, ""}},
		{"the bundle's waiver holds", []Evidence{edit(release, withWaiver(at.Add(time.Hour))), cluster}, nil, evidence.VerdictPass,
			result{evidence.ControlWaived, "1 failing finding, accepted by Ada until 2026-11-01T13:00:00Z", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"the bundle's waiver has expired since", []Evidence{edit(release, withWaiver(at)), cluster}, nil, evidence.VerdictFail,
			result{evidence.ControlFail, "1 finding fails (1 high)", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
		{"the bundle's own verdict and thresholds do not count", []Evidence{edit(release, func(e *Evidence) {
			e.Findings = []evidence.Finding{failA}
			e.Verdict = evidence.Verdict{Outcome: evidence.VerdictPass, Results: []evidence.ControlResult{{Control: "AAA-1", Outcome: evidence.ControlWarn}}}
		}), cluster}, nil, evidence.VerdictFail,
			result{evidence.ControlFail, "1 finding fails (1 high)", "release"},
			result{evidence.ControlPass, "1 check passes", "cluster"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := ComposeInput{Profile: testProfile("AAA-1", "BBB-1"), Catalog: testCatalog(), Evidence: tt.evidence, At: at}
			if tt.edit != nil {
				tt.edit(&in)
			}
			v := Compose(in)
			if v.Outcome != tt.want {
				t.Errorf("verdict %s (%s), want %s", v.Outcome, v.Reason, tt.want)
			}
			got := map[evidence.ControlID]result{}
			for _, r := range v.Results {
				x := result{Outcome: r.Outcome, Reason: r.Reason}
				for _, ref := range r.Evidence {
					for _, name := range []string{"release", "cluster", "newer", "drill", "other"} {
						if ref.Bundle == evidence.DigestOf([]byte(name)) {
							x.Bundle += name
						}
					}
				}
				got[r.Control] = x
			}
			if diff := cmp.Diff(map[evidence.ControlID]result{"AAA-1": tt.a, "BBB-1": tt.b}, got); diff != "" {
				t.Error(diff)
			}
			reversed := in
			reversed.Evidence = nil
			for _, e := range in.Evidence {
				reversed.Evidence = append([]Evidence{e}, reversed.Evidence...)
			}
			if diff := cmp.Diff(v, Compose(reversed)); diff != "" {
				t.Errorf("the order of the evidence shows:\n%s", diff)
			}
		})
	}
}

func TestComposeShowsEachWaiverOnce(t *testing.T) {
	t.Parallel()
	failing := finding(evidence.OutcomeFail, evidence.SeverityHigh, "a", "AAA-1")
	w := waiver("AAA-1", "a", at.Add(time.Hour))
	carry := func(e Evidence) Evidence {
		e.Verdict.Waivers = []evidence.WaiverResult{{Waiver: w}, {Waiver: waiver("ZZZ-1", "a", at.Add(time.Hour))}}
		return e
	}
	release := carry(seen("release", evidence.ScopeRelease, 2*time.Hour, []string{"first"}, failing))
	drill := carry(seen("drill", evidence.ScopeDrill, time.Hour, []string{"second"}, finding(evidence.OutcomePass, evidence.SeverityHigh, "b", "BBB-1")))
	v := Compose(ComposeInput{Profile: testProfile("AAA-1", "BBB-1"), Catalog: testCatalog(), Evidence: []Evidence{release, drill}, At: at})
	if v.Outcome != evidence.VerdictPass || len(v.Waivers) != 2 {
		t.Fatalf("verdict %s (%s) with %d waivers, want PASS with 2", v.Outcome, v.Reason, len(v.Waivers))
	}
	if got := v.Waivers[0]; got.Status != WaiverApplied || len(got.Findings) != 1 {
		t.Errorf("the waiver that applied reads %+v", got)
	}
	if got := v.Waivers[1]; got.Status != WaiverUnused || got.Reason != "control ZZZ-1 is not in profile test" {
		t.Errorf("the waiver of a control outside the profile reads %+v", got)
	}
	if v := Compose(ComposeInput{At: at}); v.Outcome != evidence.VerdictIncomplete {
		t.Errorf("nothing to judge by gives %s", v.Outcome)
	}
}

// A control that needs several families of rules takes the newest evidence of each.
func TestComposeNeeds(t *testing.T) {
	t.Parallel()
	catalog := testCatalog()
	catalog.Controls = append(catalog.Controls, evidence.Control{
		ID: "CCC-1", Group: "AAA", Collector: "drill", Rules: []string{"drill/kill*", "drill/evict*", "drill/restart*"}, Needs: []string{"drill/kill*", "drill/evict*"},
	})
	about := func(rule string, o evidence.Outcome) evidence.Finding {
		f := finding(o, evidence.SeverityHigh, "a", "CCC-1")
		f.Rule = rule
		f.ID = evidence.FindingID(f)
		return f
	}
	drill := func(name string, age time.Duration, fs ...evidence.Finding) Evidence {
		e := seen(name, evidence.ScopeDrill, age, []string{"drill"}, fs...)
		e.Verdict.Results = []evidence.ControlResult{{Control: "CCC-1"}}
		return e
	}
	const pass, fail = evidence.OutcomePass, evidence.OutcomeFail
	kill, evict := drill("kill", 2*time.Hour, about("drill/kill", pass)), drill("evict", time.Hour, about("drill/evict", pass))
	broken := drill("broken", time.Minute)
	broken.Runs[0].Outcome, broken.Runs[0].Error = evidence.OutcomeError, "no API"
	release := seen("release", evidence.ScopeRelease, time.Hour, []string{"first"}, finding(pass, evidence.SeverityHigh, "a", "AAA-1"))
	own := release
	own.Findings = append([]evidence.Finding{about("own/policy", fail)}, own.Findings...)
	for _, tt := range []struct {
		name    string
		drills  []Evidence
		want    evidence.ControlOutcome
		reason  string
		bundles int
	}{
		{"both", []Evidence{release, kill, evict}, evidence.ControlPass, "1 check passes", 2},
		{"one", []Evidence{release, kill}, evidence.ControlIncomplete, "no evidence of drill/evict", 1},
		{"none", []Evidence{release}, evidence.ControlIncomplete, "no evidence of drill/kill, drill/evict", 0},
		{"a newer one fails", []Evidence{release, kill, evict, drill("newer", 0, about("drill/kill/budget", fail))}, evidence.ControlFail, "1 finding fails (1 high)", 2},
		{"an older one failed", []Evidence{release, kill, evict, drill("older", 3*time.Hour, about("drill/kill", fail))}, evidence.ControlPass, "1 check passes", 2},
		{"one is too old", []Evidence{release, evict, drill("old", 30*time.Hour, about("drill/kill", pass))}, evidence.ControlIncomplete, "drill/kill: evidence is 30h old, the limit is 24h", 2},
		{"one that nobody asked for fails", []Evidence{release, kill, evict, drill("restart", time.Hour, about("drill/restart", fail))}, evidence.ControlFail, "1 finding fails (1 high)", 3},
		{"one that nobody asked for is too old", []Evidence{release, kill, evict, drill("restart", 30*time.Hour, about("drill/restart", pass))}, evidence.ControlPass, "1 check passes", 2},
		{"one that nobody asked for showed nothing", []Evidence{release, kill, evict, drill("restart", time.Hour, about("drill/restart", evidence.OutcomeNotChecked))}, evidence.ControlPass, "1 check passes", 2},
		{"one that nobody asked for failed, and then showed nothing", []Evidence{
			release, kill, evict, drill("restart", 2*time.Hour, about("drill/restart", fail)), drill("later", time.Hour, about("drill/restart", evidence.OutcomeError)),
		}, evidence.ControlFail, "1 finding fails (1 high)", 3},
		{"the newest could not be made", []Evidence{release, kill, evict, broken}, evidence.ControlIncomplete, "collector drill failed: no API", 1},
		{"one that could not be made, repeated", []Evidence{release, broken, drill("again", 0, about("drill/kill", pass)), drill("too", 0, about("drill/evict", pass))}, evidence.ControlPass, "1 check passes", 2},
		{"an own policy is against it", []Evidence{own, kill, evict}, evidence.ControlFail, "1 finding fails (1 high); collector drill did not run", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := Compose(ComposeInput{Profile: testProfile("CCC-1"), Catalog: catalog, Evidence: tt.drills, At: at})
			r := v.Results[0]
			if r.Outcome != tt.want || r.Reason != tt.reason || len(r.Evidence) != tt.bundles {
				t.Errorf("%s (%s) by %d bundles, want %s (%s) by %d", r.Outcome, r.Reason, len(r.Evidence), tt.want, tt.reason, tt.bundles)
			}
		})
	}
}
