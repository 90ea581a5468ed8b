package kubebench

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

// folder is the collector's ArtifactWriter over a set of artifacts.
type folder struct{ a *collectors.Artifacts }

func (f folder) Write(name string, content []byte) error {
	_, err := f.a.Put(collectors.Artifact(Name, name), content)
	return err
}

// ran is one node of a made-up run: what it printed, or why it printed nothing.
type ran struct {
	NodeRun
	printed []byte
}

func worker(name string, printed []byte) ran {
	return ran{NodeRun{Node: name, UID: "uid-" + name, Role: "worker", OS: "linux", Ready: true, Benchmark: "cis-1.12", Targets: []string{"node"}}, printed}
}

func plane(name string, printed []byte) ran {
	n := worker(name, printed)
	n.Role, n.Targets = "control-plane", targetsFor("control-plane", "kubernetes", "cis-1.12")
	return n
}

// seal writes what a run over these nodes would have sealed.
func seal(t testing.TB, platform string, nodes ...ran) *collectors.Artifacts {
	t.Helper()
	a := collectors.NewArtifacts(nil)
	r := &run{out: folder{a}, files: map[string]int{}, overview: Overview{Platform: platform, Version: "v1.34.0", Benchmark: "cis-1.12", BenchmarkReason: "made up"}}
	if managed(platform) {
		r.overview.Benchmark = platform + "-1.0"
	}
	var targets []*target
	for _, n := range nodes {
		tg := &target{NodeRun: n.NodeRun}
		if n.printed != nil {
			sum := sha256.Sum256(n.printed)
			o := &jobrun.Output{Bytes: int64(len(n.printed)), SHA256: fmt.Sprintf("%x", sum), Raw: n.printed}
			tg.Outcome, tg.Bytes, tg.SHA256 = OutcomeResult, o.Bytes, evidence.Digest("sha256:"+o.SHA256)
			if err := r.sealNode(tg, o); err != nil {
				tg.Outcome, tg.Reason = OutcomeBadOutput, err.Error()
			}
		}
		targets = append(targets, tg)
	}
	if err := r.seal(targets); err != nil {
		t.Fatal(err)
	}
	return a
}

func findings(t testing.TB, a *collectors.Artifacts) []evidence.Finding {
	t.Helper()
	found, err := collectors.Findings(collectors.NewSealed(a, config.RuleControls()), New(Options{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if len(f.Controls) != 1 || f.Rule == "" || f.Target.Kind == "" || f.Message == "" || len(f.Evidence) == 0 || f.Outcome.Validate() != nil || f.Severity.Validate() != nil {
			t.Errorf("incomplete finding %+v", f)
		}
		for _, p := range f.Evidence {
			if p.Digest == "" {
				t.Errorf("%s points to %s, which is not sealed", f.Rule, p.Artifact)
			}
		}
	}
	return found
}

// want is a finding that must be there.
type want struct {
	rule    string
	target  string
	outcome evidence.Outcome
	message string // part of it
}

func hold(t *testing.T, found []evidence.Finding, list ...want) {
	t.Helper()
	for _, w := range list {
		ok := false
		for _, f := range found {
			ok = ok || f.Rule == rulePrefix+w.rule && f.Target.Object() == w.target && f.Outcome == w.outcome && strings.Contains(f.Message, w.message)
		}
		if !ok {
			t.Errorf("no finding %+v in", w)
			for _, f := range found {
				if f.Rule == rulePrefix+w.rule {
					t.Logf("  %s %s %s: %s", f.Rule, f.Target.Object(), f.Outcome, f.Message)
				}
			}
		}
	}
}

// passes counts the passing findings of the controls that have a rule: what is
// wrong must leave none.
func passes(found []evidence.Finding, rules ...string) (n int) {
	for _, f := range found {
		if slices.ContainsFunc(rules, func(r string) bool { return slices.Equal(f.Controls, config.RuleControls().Of(r)) }) && f.Outcome == evidence.OutcomePass {
			n++
		}
	}
	return n
}

func node(statuses string) record {
	return record{benchmark: "cis-1.12", targets: map[string]string{"node": statuses}}
}

func master(statuses string) record {
	return record{benchmark: "cis-1.12", targets: map[string]string{"node": "PASS", "master": statuses, "etcd": "PASS", "controlplane": ""}}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	bare := node("PASS FAIL WARN INFO")
	bare.noTotals = true
	found := findings(t, seal(t, "kubernetes", plane("cp", master("PASS FAIL").bytes(t)), worker("a", node("PASS FAIL WARN INFO").bytes(t)), worker("b", bare.bytes(t))))
	hold(t, found,
		want{"4.1.1", "Node a", "pass", "Thing 1 of the node is closed (Automated)"},
		want{"4.1.2", "Node a", "fail", "expected: permissions has permissions 644"},
		want{"4.2.1", "Node b", "not-checked", "to be judged by hand: Thing 1"},
		want{"4.3.1", "Node b", "not-applicable", "skipped by the benchmark"},
		want{"1.1.1", "Node cp", "pass", ""},
		want{"1.2.1", "Node cp", "fail", ""},
		want{"policies", "Cluster", "not-checked", "were not run"},
		want{"node-covered", "Node cp", "pass", "targets controlplane, etcd, master, node"},
		want{"node-covered", "Node a", "pass", "targets node"},
		want{"nodes-agree", "NodeRole worker", "pass", "2 nodes agree on 4 checks"},
		want{"nodes-agree", "NodeRole control-plane", "not-applicable", "one node"},
	)
	for _, f := range found {
		if f.Rule == "kubebench/4.1.2" && f.Target.Name == "b" {
			if p := f.Evidence[0]; p.Artifact != "artifacts/kubebench/nodes/b.json" || p.Pointer != "/0/tests/0/results/1" {
				t.Errorf("pointer into a bare array: %+v", p)
			}
			if f.Remediation != "Run chmod 600 on /etc/thing." || f.Severity != evidence.SeverityHigh {
				t.Errorf("%+v", f)
			}
		}
		if f.Rule == "kubebench/4.1.2" && f.Target.Name == "a" && f.Evidence[0].Pointer != "/Controls/0/tests/0/results/1" {
			t.Errorf("pointer into an object: %+v", f.Evidence[0])
		}
	}
	if len(found) != 3+4+4+4+1+2 {
		t.Errorf("%d findings", len(found))
	}
}

func TestNodesWithoutResult(t *testing.T) {
	t.Parallel()
	good := node("PASS PASS").bytes(t)
	lost := func(name, outcome, reason string) ran {
		n := worker(name, nil)
		n.Outcome, n.Reason = outcome, reason
		return n
	}
	late := lost("late", OutcomeNotReached, "the node came while the last ones were looked at")
	late.Added = true
	gone := lost("gone", OutcomeTimeout, "no result within the Job's deadline")
	gone.Removed = true
	down := lost("down", OutcomeNotStarted, "untolerated taint")
	down.Ready = false
	came := worker("came", good)
	came.Added = true
	found := findings(t, seal(t, "kubernetes", worker("good", good), late, gone, down, came, worker("broken", []byte(`{"Controls":[`)),
		lost("evicted", OutcomeFailed, "BackoffLimitExceeded"), lost("mute", OutcomeNoOutput, "the log is not whole"), lost("win", OutcomeUnsupported, "kube-bench does not run on windows")))
	hold(t, found,
		want{"node-covered", "Node good", "pass", ""},
		want{"node-covered", "Node came", "pass", "came during the run"},
		want{"node-covered", "Node late", "not-checked", "came while the last ones"},
		want{"node-covered", "Node gone", "not-applicable", "left the cluster"},
		want{"node-covered", "Node down", "fail", "untolerated taint; the node was not ready"},
		want{"node-covered", "Node broken", "fail", "bad-output"},
		want{"node-covered", "Node evicted", "fail", "BackoffLimitExceeded"},
		want{"node-covered", "Node mute", "fail", "not whole"},
		want{"node-covered", "Node win", "not-checked", "does not run on windows"},
		want{"result", "Node evicted", "not-checked", "no check of the benchmark could be made: failed"},
		want{"result", "Node late", "not-checked", ""},
		want{"control-plane", "Cluster", "not-checked", "no node has the role control-plane"},
		want{"nodes-agree", "NodeRole worker", "not-checked", "6 of 8 nodes gave no result"},
	)
	if n := passes(found, ruleCovered); n != 2 {
		t.Errorf("%d nodes pass as covered", n)
	}
}

// Nothing of a result that cannot be relied on counts: no pass comes out of it.
func TestUnreliableResults(t *testing.T) {
	t.Parallel()
	base := string(node("PASS FAIL WARN").bytes(t))
	edit := func(old, new string) string {
		if !strings.Contains(base, old) {
			t.Fatalf("%s is not in the record", old)
		}
		return strings.Replace(base, old, new, 1)
	}
	prefix := node("PASS")
	prefix.benchmark = "cis-1"
	none := record{benchmark: "cis-1.12", targets: map[string]string{"node": "", "policies": "PASS"}}
	tests := []struct{ name, printed, want string }{
		{"Totals", edit(`"Totals":{"total_fail":1,"total_info":0,"total_pass":1`, `"Totals":{"total_fail":0,"total_info":0,"total_pass":2`), "Totals say 2 pass, 0 fail, 1 warn, 0 info; the checks are 1 pass, 1 fail"},
		{"section", edit(`"fail":1`, `"fail":0`), "section 4.1 says 1 pass, 0 fail"},
		{"control", edit(`"total_warn":1`, `"total_warn":4`), "section 4 says"},
		{"status", edit(`"status":"FAIL"`, `"status":"GOOD"`), `status "GOOD", which kube-bench does not have`},
		{"status in lower case", edit(`"status":"FAIL"`, `"status":"fail"`), `status "fail"`},
		{"name of another rule", edit(`"test_number":"4.1.2"`, `"test_number":"node-covered"`), `a check of section 4.1 is named "node-covered"`},
		{"twice", edit(`"test_number":"4.1.2"`, `"test_number":"4.1.1"`), "check 4.1.1 is there twice"},
		{"no name", edit(`"test_number":"4.1.2"`, `"test_number":""`), `is named ""`},
		{"strange name", edit(`"test_number":"4.1.2"`, `"test_number":"node-covered; \u001b[2J"`), "is named"},
		{"other benchmark", edit(`"version":"cis-1.12"`, `"version":"cis-1.5"`), `of benchmark "cis-1.5", not of cis-1.12`},
		{"beginning of the name", string(prefix.bytes(t)), `of benchmark "cis-1", not of cis-1.12`},
		{"target without checks", string(none.bytes(t)), "target node was asked for, and no check of it is there"},
	}
	for _, tt := range tests {
		found := findings(t, seal(t, "kubernetes", worker("a", []byte(tt.printed))))
		hold(t, found, want{"node-covered", "Node a", "error", "cannot be relied on"}, want{"result", "Node a", "error", tt.want})
		for _, c := range []string{ruleResult, ruleCovered, ruleAgree} {
			if n := passes(found, c); n != 0 {
				t.Errorf("%s: %d findings of %s pass", tt.name, n, c)
			}
		}
	}
	for name, printed := range map[string]string{
		"empty": `{}`, "no checks": `{"Controls":[],"Totals":{}}`, "no totals": `{"Controls":[]}`, "null": `null`, "text": `"PASS"`, "other": `{"Controls":7,"Totals":{}}`, "array": `[]`,
	} {
		found := findings(t, seal(t, "kubernetes", worker("a", []byte(printed))))
		hold(t, found, want{"node-covered", "Node a", "error", "cannot be relied on"}, want{"result", "Node a", "error", ""})
		if passes(found, ruleResult, ruleCovered) != 0 {
			t.Errorf("%s passes", name)
		}
	}
}

func TestNodesDisagree(t *testing.T) {
	t.Parallel()
	same, other, fewer := node("PASS PASS FAIL").bytes(t), node("PASS FAIL FAIL").bytes(t), node("PASS PASS").bytes(t)
	found := findings(t, seal(t, "kubernetes", plane("cp", master("FAIL").bytes(t)), worker("a", same), worker("b", same), worker("c", other), worker("d", same), worker("e", same)))
	hold(t, found, want{"nodes-agree", "NodeRole worker", "fail", "check 4.1.2: FAIL on 1 (c), PASS on 4 (a, b, d and 1 more)"})
	if n := passes(found, ruleAgree); n != 0 {
		t.Errorf("%d pass", n)
	}
	found = findings(t, seal(t, "kubernetes", worker("a", same), worker("b", fewer)))
	hold(t, found, want{"nodes-agree", "NodeRole worker", "fail", "check 4.1.2: PASS on 1 (a), missing on 1"})
}

func TestManagedControlPlane(t *testing.T) {
	t.Parallel()
	gke := record{benchmark: "gke-1.0", targets: map[string]string{"node": "PASS", "master": "PASS FAIL"}}
	n := worker("a", gke.bytes(t))
	n.Benchmark = "gke-1.0"
	found := findings(t, seal(t, "gke", n))
	hold(t, found,
		want{"control-plane", "Cluster", "not-applicable", "run by the provider (gke)"},
		want{"1.1.1", "Node a", "not-checked", "section master was not asked for"},
		want{"1.2.1", "Node a", "not-checked", "section master was not asked for"},
		want{"4.1.1", "Node a", "pass", ""})
	a := seal(t, "eks", worker("a", node("PASS").bytes(t)))
	var o Overview
	raw, err := a.Read(collectors.Artifact(Name, overviewFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	o.Benchmark = "cis-1.12"
	hold(t, findings(t, replaced(t, a, o)), want{"control-plane", "Cluster", "not-checked", "its checks in cis-1.12 cannot be made"})
}

// replaced is the artifacts with another overview.
func replaced(t *testing.T, a *collectors.Artifacts, o Overview) *collectors.Artifacts {
	t.Helper()
	out := collectors.NewArtifacts(nil)
	for name, b := range a.Files() {
		if name == collectors.Artifact(Name, overviewFile) {
			raw, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			b = raw
		}
		if _, err := out.Put(name, b); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// The run is held to the nodes that were there when the cluster was identified,
// and each file to the digest of what its node printed.
func TestHeldToWhatWasSeen(t *testing.T) {
	t.Parallel()
	a := seal(t, "kubernetes", worker("a", node("PASS").bytes(t)))
	info, err := json.Marshal(cluster.Info{Nodes: []cluster.Node{{Name: "a"}, {Name: "hidden"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Put(collectors.ClusterFile, info); err != nil {
		t.Fatal(err)
	}
	hold(t, findings(t, a), want{"node-covered", "Node hidden", "not-checked", "was not looked at"})

	b := collectors.NewArtifacts(nil)
	for name, raw := range a.Files() {
		if strings.HasSuffix(name, "/a.json") {
			raw = node("PASS PASS").bytes(t)
		}
		if _, err := b.Put(name, raw); err != nil {
			t.Fatal(err)
		}
	}
	hold(t, findings(t, b), want{"result", "Node a", "error", "and no redaction is declared"})

	var o Overview
	raw, err := a.Read(collectors.Artifact(Name, overviewFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	o.NodesError, o.Nodes[0].File = "connection refused", "nodes/other.json"
	hold(t, findings(t, replaced(t, a, o)), want{"node-covered", "Cluster", "not-checked", "is not known: connection refused"},
		want{"node-covered", "Node a", "error", `"nodes/other.json" is not there`})

	o.Nodes = nil
	if _, err := collectors.Findings(collectors.NewSealed(replaced(t, a, o), config.RuleControls()), New(Options{})); err == nil || !strings.Contains(err.Error(), "no node was looked at") {
		t.Errorf("no nodes: %v", err)
	}
	if _, err := collectors.Findings(collectors.NewSealed(collectors.NewArtifacts(nil), config.RuleControls()), New(Options{})); err == nil {
		t.Error("nothing sealed gives findings")
	}
}

func TestRedactionIsDeclared(t *testing.T) {
	t.Parallel()
	env := strings.Replace(string(node("PASS").bytes(t)), `"AuditEnv":""`, `"AuditEnv":"environ"`, 1)
	env = strings.Replace(env, `"actual_value":"permissions=644"`, `"actual_value":"TOKEN=made-up-token"`, 1)
	a := seal(t, "kubernetes", worker("a", []byte(env)))
	raw, err := a.Read("artifacts/kubebench/redactions.json")
	if err != nil || string(raw) != `{"values":1,"checks":[{"node":"a","file":"nodes/a.json","check":"4.1.1","values":1}]}` {
		t.Errorf("%s, %v", raw, err)
	}
	for name, b := range a.Files() {
		if strings.Contains(string(b), "made-up") {
			t.Errorf("%s holds the value", name)
		}
	}
	hold(t, findings(t, a), want{"4.1.1", "Node a", "pass", ""}, want{"node-covered", "Node a", "pass", ""})
}

// A node that was replaced by one of the same name is two nodes.
func TestReplacedNode(t *testing.T) {
	t.Parallel()
	old, fresh := worker("a", node("FAIL").bytes(t)), worker("a", node("PASS").bytes(t))
	old.UID, old.Removed, fresh.UID, fresh.Added = "1", true, "2", true
	a := seal(t, "kubernetes", old, fresh)
	found := findings(t, a)
	hold(t, found, want{"node-covered", "Node a", "not-applicable", "left"}, want{"node-covered", "Node a", "pass", "came during the run"},
		want{"4.1.1", "Node a", "pass", ""}, want{"4.1.1", "Node a", "fail", ""},
		want{"nodes-agree", "NodeRole worker", "not-applicable", "one node"})
	if _, err := a.Read("artifacts/kubebench/nodes/a@2.json"); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(node("PASS FAIL WARN INFO").bytes(f))
	f.Add([]byte(`[{"tests":null}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// It may be anything, but must not pass unread.
		clean, _, err := redact(raw)
		if err != nil {
			return
		}
		r, err := parse(clean)
		if err != nil || len(r.faults("cis-1.12")) > 0 {
			return
		}
		for _, c := range r.controls {
			for _, g := range c.Tests {
				for _, k := range g.Results {
					if (checkFinding(k).Outcome == evidence.OutcomePass) != (k.Status == "PASS") {
						t.Fatalf("status %q gives %s", k.Status, checkFinding(k).Outcome)
					}
				}
			}
		}
	})
}
