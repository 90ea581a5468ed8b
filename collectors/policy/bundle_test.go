package policy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
)

func TestBundle(t *testing.T) {
	t.Parallel()
	content := map[string]string{
		"b.yaml":           "a: 1",
		"a/z.yml":          "# comment\n--- # first\nb: 1\n---\n# Source: elsewhere:9\nc: 1\n",
		"a/readme.md":      "no policy",
		".hidden.yaml":     "d: 1",
		".git/config.yaml": "d: 1",
		"crlf.yaml":        "\ufeffe: 1\r\n---\r\nf: 1\r\n",
	}
	own, err := Bundle("")
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for range 2 { // another directory, the same bytes
		got, err := Bundle(write(t, content))
		if err != nil {
			t.Fatal(err)
		}
		rest, ok := bytes.CutPrefix(got, own)
		if !ok {
			t.Fatal("the built-in policies are not first")
		}
		want := "---\n# Source: a/z.yml:1\n# comment\n---\n# Source: a/z.yml:2\n # first\nb: 1\n---\n# Source: a/z.yml:4\n\n# Source: elsewhere:9\nc: 1\n" +
			"---\n# Source: b.yaml:1\na: 1\n" +
			"---\n# Source: crlf.yaml:1\ne: 1\r\n---\n# Source: crlf.yaml:2\n\r\nf: 1\r\n"
		if diff := cmp.Diff(want, string(rest)); diff != "" {
			t.Error(diff)
		}
		if first != nil && !bytes.Equal(first, got) {
			t.Error("two directories of one content make different bundles")
		}
		first = got
	}
}

func TestBundleRefuses(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range maxFiles + 1 {
		many[fmt.Sprintf("%d.yaml", i)] = ""
	}
	large := map[string]string{}
	for i := range maxTotalBytes/maxFileBytes + 1 {
		large[fmt.Sprintf("%d.yaml", i)] = strings.Repeat("#", maxFileBytes)
	}
	pipe := t.TempDir()
	if err := os.Mkdir(filepath.Join(pipe, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d", filepath.Join(pipe, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, dir, want string }{
		{"absent", filepath.Join(t.TempDir(), "absent"), "no such file or directory"},
		{"a file", filepath.Join(write(t, map[string]string{"a.yaml": ""}), "a.yaml"), "want a directory of ValidatingAdmissionPolicies"},
		{"empty", t.TempDir(), "no *.yaml file below it"},
		{"large file", write(t, map[string]string{"a.yaml": strings.Repeat("#", maxFileBytes+1)}), "larger than 1048576 bytes"},
		{"large in all", write(t, large), "more than 8388608 bytes"},
		{"many", write(t, many), "more than 1000 files"},
		{"reserved directory", write(t, map[string]string{"builtin/seccomp.yaml": ""}), "the directory name builtin is helmproof's own"},
		{"no regular file", pipe, "link.yaml: not a regular file"},
		{"line break in name", write(t, map[string]string{"a\nb.yaml": ""}), "line break in the name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := Bundle(c.dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	raw := builtin(t)
	if got, err := Changed(own(t, vap("  validations: [{expression: 'true'}]\n"))); err != nil || len(got) != 0 {
		t.Errorf("with own policies: %v, %v", got, err)
	}
	weaker := bytes.Replace(raw, []byte("size(variables.missing) == 0"), []byte("true"), 1)
	if got, err := Changed(weaker); err != nil || !slices.Equal(got, []string{"policy/topology-spread"}) {
		t.Errorf("one weakened: %v, %v", got, err)
	}
	if got, err := Changed(nil); err != nil || len(got) != 18 {
		t.Errorf("all absent: %v, %v", got, err)
	}
}

// TestOnlyWhatIsNeededCompiles counts compiled policies.
func TestOnlyWhatIsNeededCompiles(t *testing.T) {
	t.Parallel()
	set := builtinSet(t)
	compiled := map[string]bool{}
	for _, r := range set.policies {
		compile := r.compile
		r.compile = func() (*program, error) {
			compiled[r.rule] = true
			return compile()
		}
	}
	in := seal(t, builtin(t), object("Job", container("tty: true")))
	objects, err := in.Objects()
	if err != nil {
		t.Fatal(err)
	}
	release, err := in.Release()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.findings(in, release, objects); err != nil {
		t.Fatal(err)
	}
	for _, r := range set.policies {
		rule := strings.TrimPrefix(r.rule, "policy/")
		needless := strings.Contains(rule, "probe") || strings.HasPrefix(rule, "hpa") || strings.HasPrefix(rule, "vpa") || rule == "topology-spread" || rule == "secret-rotation-interval"
		if compiled[r.rule] == needless {
			t.Errorf("%s: compiled %v", rule, compiled[r.rule])
		}
	}
}

func TestFindingsAreSealedDataAlone(t *testing.T) {
	t.Parallel()
	// The policies given to New are not those that are judged by.
	c, err := New(builtin(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := collectors.Findings(seal(t, own(t, vap("  validations: [{expression: 'false', message: sealed}]\n")), configMap), c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"fail ConfigMap/x: sealed"}, summary(got, "policy/own")); diff != "" {
		t.Error(diff)
	}
	if _, err := collectors.Findings(collectors.NewSealed(files{}, config.RuleControls()), c); err == nil || !strings.Contains(err.Error(), "policies.yaml") {
		t.Errorf("without policies.yaml: %v", err)
	}
	broken := bytes.Replace(builtin(t), []byte("size(variables.missing) == 0"), []byte("size(variables.nothing) == 0"), 1)
	if _, err := collectors.Findings(seal(t, broken, spread("[]")), c); err == nil || !strings.Contains(err.Error(), `builtin/topology-spread.yaml:`) || !strings.Contains(err.Error(), "undefined field 'nothing'") {
		t.Errorf("with a policy that does not compile: %v", err)
	}
}

// TestManyObjectsInOrder holds that judging side by side changes nothing.
func TestManyObjectsInOrder(t *testing.T) {
	t.Parallel()
	manifests := deployments(40) + weak
	want := findings(t, builtin(t), manifests)
	for range 3 {
		if diff := cmp.Diff(want, findings(t, builtin(t), manifests)); diff != "" {
			t.Fatal(diff)
		}
	}
	passes := 0
	for _, f := range want {
		if f.Outcome == "pass" && strings.HasPrefix(f.Target.Name, "api-") {
			passes++
		}
	}
	if passes != 40*14 {
		t.Errorf("%d passes of 40 good deployments, want %d", passes, 40*14)
	}
}

func TestSealedObjectsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	in := seal(t, builtin(t), weak+"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\nspec:\n")
	objects, err := in.Objects()
	if err != nil {
		t.Fatal(err)
	}
	before := make([]map[string]any, len(objects.Objects))
	for i := range objects.Objects {
		before[i] = objects.Objects[i].DeepCopy().Object
	}
	if _, err := collectors.Findings(in, collector{}); err != nil {
		t.Fatal(err)
	}
	for i := range objects.Objects {
		if diff := cmp.Diff(before[i], objects.Objects[i].Object); diff != "" {
			t.Error(diff)
		}
	}
}

func TestUnrenderedChartIsNotChecked(t *testing.T) {
	t.Parallel()
	in := collectors.NewSealed(files{
		collectors.PoliciesFile:  string(builtin(t)),
		collectors.ManifestsFile: "",
		collectors.ReleaseFile:   `{"chart": "shop"}`,
		collectors.ChartFile:     `{"renderError": "boom"}`,
	}, config.RuleControls())
	got, err := collectors.Findings(in, collector{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 19 {
		t.Errorf("%d findings, want 18 and that there are no policies of the user's own", len(got))
	}
	for _, f := range got {
		if f.Rule == "policy/own-policies" && f.Outcome == "not-applicable" {
			continue
		}
		if f.Outcome != "not-checked" || f.Message != "the chart did not render" {
			t.Errorf("%s %s: %s", f.Rule, f.Outcome, f.Message)
		}
	}
}

func TestSplitMessage(t *testing.T) {
	t.Parallel()
	names := map[string]bool{"a": true, "b": true}
	for message, want := range map[string][]clause{
		`container "a": x`:                          {{"a", "x"}},
		`container "a": x; container "b": y; z`:     {{"a", "x"}, {"b", "y; z"}},
		`container "a": x; container "c": y`:        {{"", `container "a": x; container "c": y`}},
		`plain`:                                     {{"", "plain"}},
		`first; container "a": x`:                   {{"", `first; container "a": x`}},
		`container "a": `:                           {{"", `container "a": `}},
		`container "a": x, see container "b": y`:    {{"a", `x, see container "b": y`}},
		`container "a": ; container "b": something`: {{"", `container "a": ; container "b": something`}},
	} {
		if diff := cmp.Diff(want, splitMessage(message, names), cmp.AllowUnexported(clause{})); diff != "" {
			t.Errorf("%s: %s", message, diff)
		}
	}
}

// FuzzNew feeds the policies that a user may give.
func FuzzNew(f *testing.F) {
	f.Add(vap("  validations: [{expression: 'true'}]\n") + binding("validationActions: [Deny]"))
	f.Add(vap("  paramKind: {apiVersion: v1, kind: ConfigMap}\n  validations: [{expression: params.a == 1}]\n") + configMap)
	f.Add("---\n--- a\n...\n")
	f.Fuzz(func(t *testing.T, text string) {
		var raw bytes.Buffer
		writeDocuments(&raw, "own.yaml", []byte(text))
		if _, err := New(raw.Bytes()); err != nil {
			return
		}
		if _, err := collectors.Findings(seal(t, raw.Bytes(), configMap+weak), collector{}); err != nil {
			t.Errorf("New accepts what Findings refuses: %v", err)
		}
	})
}
