// Package platform holds tests of charts/platform and of the guides in docs.
package platform

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
)

var update = flag.Bool("update", false, "write what is generated: copied policies, the README's table, output in the guides")

const (
	root     = "../.."
	chartDir = "charts/platform" // below root
)

// binary is helmproof, built once.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	code := func() int {
		dir, err := os.MkdirTemp("", "helmproof-platform")
		if err != nil {
			log.Print(err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "helmproof")
		cmd := exec.Command("go", "build", "-o", binary, "./cmd/helmproof")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			log.Printf("build helmproof: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}()
	os.Exit(code)
}

// helmproof runs the command in the root of the repository.
func helmproof(tb testing.TB, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(tb.Context(), binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		tb.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func examples(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(root, chartDir, "examples", "*.yaml"))
	if err != nil || len(files) < 6 {
		tb.Fatalf("only %d examples: %v", len(files), err)
	}
	for i, f := range files {
		if files[i], err = filepath.Rel(root, f); err != nil {
			tb.Fatal(err)
		}
	}
	return files
}

// TestPass holds that the defaults and each example pass with nothing waived,
// warned of or unchecked. What is about workloads is not applicable.
func TestPass(t *testing.T) {
	t.Parallel()
	for _, file := range append([]string{""}, examples(t)...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			args := []string{"check", "-o", "json", "--profile", "chart", chartDir}
			if file != "" {
				args = append(args, "-f", file)
			}
			out, errs, code := helmproof(t, args...)
			var got report.OutputJSON
			if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Releases) != 1 {
				t.Fatalf("exit %d, %v: %s", code, err, errs)
			}
			r := got.Releases[0]
			if code != 0 || r.Verdict.Outcome != evidence.VerdictPass || len(r.Verdict.Waivers) > 0 {
				t.Errorf("exit %d, %s: %s", code, r.Verdict.Outcome, r.Verdict.Reason)
			}
			for _, f := range r.Findings {
				begun := f.Rule == "podsecurity/policies" && strings.HasSuffix(file, "vault.yaml") // which shows the first step, without Deny
				if f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable && !begun {
					t.Errorf("%s %s: %s: %s", f.Outcome, f.Rule, f.Target, f.Message)
				}
			}
		})
	}
}

// TestLint holds that helm lint --strict, by Helm itself, says nothing above
// info and logs nothing. It listens to the process's loggers, so it runs alone.
func TestLint(t *testing.T) {
	lint := func(v map[string]any) (bad []string, logged string) {
		var b bytes.Buffer
		out, flags, def := log.Writer(), log.Flags(), slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
		log.SetOutput(&b)
		defer func() {
			slog.SetDefault(def)
			log.SetOutput(out)
			log.SetFlags(flags)
		}()
		l := action.NewLint()
		l.Strict, l.Namespace = true, "default"
		kube, err := common.ParseKubeVersion("v" + chart.DefaultKubeVersion)
		if err != nil {
			t.Fatal(err)
		}
		l.KubeVersion = kube
		result := l.Run([]string{filepath.Join(root, chartDir)}, v)
		for _, m := range result.Messages {
			if m.Severity > support.InfoSev {
				bad = append(bad, m.Error())
			}
		}
		for _, err := range result.Errors {
			bad = append(bad, err.Error())
		}
		return bad, b.String()
	}
	for _, file := range append([]string{""}, examples(t)...) {
		v := map[string]any{}
		if file != "" {
			raw := read(t, file)
			if err := yaml.UnmarshalStrict([]byte(raw), &v); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
		if bad, logged := lint(v); len(bad) > 0 || logged != "" {
			t.Errorf("%s: %s\nlogged: %s", file, strings.Join(bad, "\n"), logged)
		}
	}
	if bad, _ := lint(map[string]any{"unknown": true}); len(bad) == 0 {
		t.Error("an unknown value lints without a message")
	}
}

func read(tb testing.TB, file string) string {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		tb.Fatal(err)
	}
	return string(raw)
}

// TestPolicies holds that the chart's policies are those that charts are judged by.
func TestPolicies(t *testing.T) {
	t.Parallel()
	files := func(dir string) map[string]string {
		names, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no policies: %v", dir, err)
		}
		out := map[string]string{}
		for _, n := range names {
			out[filepath.Base(n)] = read(t, filepath.Join(dir, filepath.Base(n)))
		}
		return out
	}
	const from, to = "templates/policies", chartDir + "/files/policies"
	want := files(from)
	if *update {
		if err := os.RemoveAll(filepath.Join(root, to)); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(root, to), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if err := os.WriteFile(filepath.Join(root, to, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d := cmp.Diff(want, files(to)); d != "" {
		t.Errorf("%s is not %s; go test ./test/platform -update copies it (-want +got):\n%s", to, from, d)
	}

	// What is rendered is the same policy, and each is bound as the values say.
	rel, err := chart.Load(t.Context(), filepath.Join(root, chartDir), chart.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	rendered := map[string]map[string]any{}
	for doc := range strings.SplitSeq(string(rel.Manifests), "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if m, ok := o["metadata"].(map[string]any); ok {
			rendered[fmt.Sprint(o["kind"], " ", m["name"])] = o
		}
	}
	for name, text := range want {
		policy, _, _ := strings.Cut(text, "\n---\n")
		var o map[string]any
		if err := yaml.Unmarshal([]byte(policy), &o); err != nil {
			t.Fatal(err)
		}
		id := "helmproof-" + strings.TrimSuffix(name, ".yaml")
		if d := cmp.Diff(o, rendered["ValidatingAdmissionPolicy "+id]); d != "" {
			t.Errorf("%s is rendered as another one (-want +got):\n%s", name, d)
		}
		wantSpec := map[string]any{
			"policyName": id, "validationActions": []any{"Deny", "Audit"},
			"matchResources": map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"helmproof.companyos.github.io/policies": "enforced"}}},
		}
		if d := cmp.Diff(wantSpec, rendered["ValidatingAdmissionPolicyBinding "+id]["spec"]); d != "" {
			t.Errorf("binding of %s (-want +got):\n%s", name, d)
		}
	}
}

// TestReadme holds the table of values to the schema and the defaults.
func TestReadme(t *testing.T) {
	t.Parallel()
	var schema, defaults map[string]any
	if err := json.Unmarshal([]byte(read(t, chartDir+"/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, chartDir+"/values.yaml")), &defaults); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| value | default | meaning |\n|---|---|---|\n")
	table(t, &b, "", schema, defaults)
	replaceBetween(t, chartDir+"/README.md", "<!-- values -->", "<!-- end of values -->", b.String())
}

// table writes one line per value of an object, sorted; items of lists follow as name[].
func table(tb testing.TB, b *strings.Builder, at string, schema map[string]any, value any) {
	props, _ := schema["properties"].(map[string]any)
	have, _ := value.(map[string]any)
	if props != nil && schema["additionalProperties"] != false {
		tb.Errorf("%s: additional properties are not refused", at)
	}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		p := props[name].(map[string]any)
		def := "–"
		if v, ok := have[name]; ok {
			raw, err := json.Marshal(v)
			if err != nil {
				tb.Fatal(err)
			}
			def = "`" + string(raw) + "`"
		}
		meaning, _ := p["description"].(string)
		if meaning == "" {
			tb.Errorf("%s%s has no description", at, name)
		}
		if p["properties"] == nil {
			fmt.Fprintf(b, "| %s%s | %s | %s |\n", at, name, def, strings.ReplaceAll(meaning, "|", "\\|"))
		}
		table(tb, b, at+name+".", p, have[name])
		if items, ok := p["items"].(map[string]any); ok {
			table(tb, b, at+name+"[].", items, nil)
		}
	}
}

// replaceBetween holds, or with -update writes, what stands between two marks of a file.
func replaceBetween(tb testing.TB, file, start, end, want string) {
	tb.Helper()
	text := read(tb, file)
	before, rest, ok := strings.Cut(text, start+"\n")
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		tb.Fatalf("%s: no %s … %s", file, start, end)
	}
	if got == want {
		return
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, file), []byte(before+start+"\n"+want+end+after), 0o644); err != nil {
			tb.Fatal(err)
		}
		return
	}
	tb.Errorf("%s has drifted; go test ./test/platform -update writes it (-want +got):\n%s", file, cmp.Diff(want, got))
}
