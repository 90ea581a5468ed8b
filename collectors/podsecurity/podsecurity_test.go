package podsecurity_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/podsecurity"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// findings runs the collector on manifests as they would be sealed.
func findings(tb testing.TB, kube string, manifests []byte) []evidence.Finding {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	for name, b := range map[string][]byte{
		collectors.ManifestsFile: manifests,
		collectors.ReleaseFile:   fmt.Appendf(nil, `{"chart":"test","namespace":"default","kubeVersion":%q}`, kube),
	} {
		if _, err := art.Put(name, b); err != nil {
			tb.Fatal(err)
		}
	}
	found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), podsecurity.New())
	if err != nil {
		tb.Fatal(err)
	}
	return evidence.NormalizeFindings(found)
}

// TestFixtures holds agreement with every fixture that Kubernetes itself tests
// Pod Security admission by: each level, each version, pass and fail.
func TestFixtures(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "test", "testdata")
	var files []string
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".yaml") {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var agreed, pass, fail atomic.Int64
	var wg sync.WaitGroup
	for part := range slices.Chunk(files, len(files)/8+1) {
		wg.Go(func() {
			for _, file := range part {
				rel, err := filepath.Rel(root, file)
				if err != nil {
					t.Error(err)
					return
				}
				part := strings.Split(filepath.ToSlash(rel), "/") // level, version, pass or fail, name
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Error(err)
					return
				}
				refused := false
				for _, f := range findings(t, strings.TrimPrefix(part[1], "v"), append([]byte("---\n# Source: pod.yaml:1\n"), raw...)) {
					counts := f.Rule == podsecurity.RuleBaseline || part[0] == "restricted"
					refused = refused || counts && f.Outcome == evidence.OutcomeFail
					if f.Outcome == evidence.OutcomeError || f.Outcome == evidence.OutcomeNotApplicable {
						t.Errorf("%s: not judged: %s", rel, f.Message)
					}
				}
				if want := part[2] == "fail"; refused != want {
					t.Errorf("%s: refused %v, want %v", rel, refused, want)
					continue
				}
				agreed.Add(1)
				if refused {
					fail.Add(1)
				} else {
					pass.Add(1)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d fixtures agree: %d allowed, %d refused", agreed.Load(), pass.Load(), fail.Load())
	if agreed.Load() < 4500 {
		t.Errorf("%d fixtures agree, want more than 4,500", agreed.Load())
	}
}

func doc(lines ...string) []byte {
	return []byte("---\n# Source: templates/a.yaml:1\n" + strings.Join(lines, "\n") + "\n")
}

func TestContainerReasons(t *testing.T) {
	t.Parallel()
	raw := doc("apiVersion: apps/v1", "kind: Deployment", "metadata: {name: api}", "spec:", "  selector: {matchLabels: {a: b}}", "  template:",
		"    metadata: {labels: {a: b}}", "    spec:", "      hostNetwork: true",
		"      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}",
		"      initContainers:", "      - {name: init, image: x, securityContext: {privileged: true, allowPrivilegeEscalation: true, capabilities: {drop: [ALL]}}}",
		"      containers:", "      - {name: good, image: x, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}",
		"      - {name: bad, image: x, securityContext: {allowPrivilegeEscalation: false}}")
	var got []string
	for _, f := range findings(t, "1.37", raw) {
		reason, _, _ := strings.Cut(f.Message, ":")
		got = append(got, fmt.Sprintf("%s %q %s %s", f.Rule, f.Target.Container, f.Outcome, reason))
		if f.Outcome == evidence.OutcomeFail && (f.Remediation == "" || len(f.Evidence) != 1 || f.Target.File != "templates/a.yaml") {
			t.Errorf("%s: no remediation, evidence or file: %+v", f.Message, f)
		}
	}
	slices.Sort(got)
	want := []string{
		`podsecurity/baseline "" fail host namespaces`,
		`podsecurity/baseline "init" fail privileged`,
		`podsecurity/restricted "bad" fail unrestricted capabilities`,
		`podsecurity/restricted "init" fail allowPrivilegeEscalation != false`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("findings (-want +got):\n%s", d)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		raw  []byte
		want evidence.Outcome
		text string
	}{
		"no pods":          {doc("apiVersion: v1", "kind: ConfigMap", "metadata: {name: c}"), evidence.OutcomeNotApplicable, "runs no pods"},
		"broken template":  {doc("apiVersion: v1", "kind: Pod", "metadata: {name: p}", "spec: {containers: nonsense}"), evidence.OutcomeNotChecked, "pod template"},
		"missing template": {doc("apiVersion: apps/v1", "kind: Deployment", "metadata: {name: p}", "spec: {}"), evidence.OutcomeNotChecked, "no pod template"},
		"broken document":  {doc("a: [", ""), evidence.OutcomeNotChecked, "no Kubernetes object: see CHT-3"},
		"naked pod":        {doc("apiVersion: v1", "kind: Pod", "metadata: {name: p}", "spec: {containers: [{name: c, image: i}]}"), evidence.OutcomeFail, "must set"},
		"cron job": {doc("apiVersion: batch/v1", "kind: CronJob", "metadata: {name: p}",
			"spec: {jobTemplate: {spec: {template: {spec: {hostPID: true, containers: [{name: c, image: i}]}}}}}"), evidence.OutcomeFail, "host namespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := findings(t, "1.37", tt.raw)
			if !slices.ContainsFunc(found, func(f evidence.Finding) bool { return f.Outcome == tt.want && strings.Contains(f.Message, tt.text) }) {
				t.Errorf("no finding %s with %q in %+v", tt.want, tt.text, found)
			}
			if tt.want != evidence.OutcomePass && slices.ContainsFunc(found, func(f evidence.Finding) bool { return f.Outcome == evidence.OutcomePass }) {
				t.Error("something reads as a pass")
			}
		})
	}
}

func BenchmarkFindings(b *testing.B) {
	var raw bytes.Buffer
	for i := range 20 {
		fmt.Fprintf(&raw, "---\n# Source: templates/a.yaml:1\napiVersion: v1\nkind: Pod\nmetadata: {name: p%d}\nspec: {containers: [{name: c, image: i}]}\n", i)
	}
	for b.Loop() {
		findings(b, "1.37", raw.Bytes())
	}
}
