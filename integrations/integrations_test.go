// Package integrations holds what other tools run helmproof by. Its scripts are run by
// testdata/script/integrations.txtar of cmd/helmproof.
package integrations

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// parse reads a document into a type that names every key that it may have.
func parse(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(raw, into); err != nil {
		t.Fatal(err)
	}
}

type step struct {
	Name  string            `json:"name"`
	ID    string            `json:"id"`
	If    string            `json:"if"`
	Shell string            `json:"shell"`
	Run   string            `json:"run"`
	Uses  string            `json:"uses"`
	Env   map[string]string `json:"env"`
	With  map[string]string `json:"with"`
}

// TestAction: every key is one that GitHub has, every input that is asked for exists, and
// none is a part of a script's text.
func TestAction(t *testing.T) {
	t.Parallel()
	var a struct {
		Name, Description, Author string
		Branding                  map[string]string
		Inputs                    map[string]struct {
			Description string
			Required    bool
			Default     *string
		}
		Outputs map[string]struct{ Description, Value string }
		Runs    struct {
			Using string
			Steps []step
		}
	}
	raw := read(t, "../action.yml")
	parse(t, raw, &a)
	if a.Runs.Using != "composite" || len(a.Runs.Steps) != 3 {
		t.Fatalf("%+v", a.Runs)
	}
	for _, m := range regexp.MustCompile(`inputs\.([a-z0-9-]+)`).FindAllSubmatch(raw, -1) {
		if _, ok := a.Inputs[string(m[1])]; !ok {
			t.Errorf("there is no input %s", m[1])
		}
	}
	for name, in := range a.Inputs {
		if in.Required == (in.Default != nil) || in.Description == "" || !bytes.Contains(raw, []byte("inputs."+name)) {
			t.Errorf("input %s: required %t, %v", name, in.Required, in.Default)
		}
	}
	ids := map[string]bool{}
	for _, s := range a.Runs.Steps {
		ids[s.ID] = true
		if strings.Contains(s.Run, "${{") {
			t.Errorf("step %s has an expression in its script: %s", s.Name, s.Run)
		}
		if (s.Run == "") == (s.Uses == "") || s.Run != "" && s.Shell == "" {
			t.Errorf("step %s: %+v", s.Name, s)
		}
		if m := regexp.MustCompile(`\$GITHUB_ACTION_PATH/([a-z/.]+)`).FindStringSubmatch(s.Run); s.Run != "" && (m == nil || !exists("../"+m[1])) {
			t.Errorf("step %s runs what is not there: %s", s.Name, s.Run)
		}
		// What the script reads is what the step hands to it.
		for name := range s.Env {
			script := string(read(t, map[bool]string{true: "install.sh", false: "github/check.sh"}[strings.HasPrefix(name, "HELMPROOF_")]))
			if !strings.Contains(script, name) {
				t.Errorf("no script reads %s", name)
			}
		}
	}
	for _, m := range regexp.MustCompile(`steps\.([a-z]+)\.`).FindAllSubmatch(raw, -1) {
		if !ids[string(m[1])] {
			t.Errorf("there is no step %s", m[1])
		}
	}
}

func exists(name string) bool {
	_, err := os.Stat(filepath.FromSlash(name))
	return err == nil
}

// TestPreCommit: the hooks have what pre-commit asks for, their entries are there, and
// they are asked about the files that make a chart.
func TestPreCommit(t *testing.T) {
	t.Parallel()
	var hooks []struct {
		ID, Name, Description, Entry, Language, Files string
		RequireSerial                                 bool  `json:"require_serial"`
		PassFilenames                                 *bool `json:"pass_filenames"`
	}
	parse(t, read(t, "../.pre-commit-hooks.yaml"), &hooks)
	for _, h := range hooks {
		if h.ID == "" || h.Name == "" || h.Language != "script" && h.Language != "system" {
			t.Errorf("%+v", h)
		}
		if h.Language == "script" && !exists("../"+h.Entry) {
			t.Errorf("%s: there is no %s", h.ID, h.Entry)
		}
	}
	files := regexp.MustCompile(hooks[0].Files)
	for name, want := range map[string]bool{
		"Chart.yaml": true, "charts/a/values-prod.yaml": true, "a/templates/x.tpl": true, "values.schema.json": true, "a/charts/b.tgz": true,
		"README.md": false, "a/chart.yaml": false, "docs/templating.md": false, "myvalues.yaml": false,
	} {
		if files.MatchString(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

// TestHelmPlugin installs and runs the plugin by Helm itself where HELMPROOF_TEST_HELM
// names it, with a helmproof that says how it was called.
func TestHelmPlugin(t *testing.T) {
	t.Parallel()
	var p struct {
		Name, Version, Usage, Description string
		PlatformCommand                   []struct{ OS, Command string } `json:"platformCommand"`
	}
	parse(t, read(t, "helm-plugin/plugin.yaml"), &p)
	for _, c := range p.PlatformCommand {
		if name, ok := strings.CutPrefix(c.Command, "$HELM_PLUGIN_DIR/"); !ok || !exists("helm-plugin/"+name) {
			t.Errorf("%s runs %s, which is not there", c.OS, c.Command)
		}
	}
	helm := os.Getenv("HELMPROOF_TEST_HELM")
	if helm == "" {
		t.Skip("HELMPROOF_TEST_HELM is not set: `make test` builds Helm and sets it")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "helmproof"), []byte("#!/bin/sh\necho \"called: $*\"\nexit 3\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	run := func(args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), helm, args...)
		cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+dir, "HELM_DATA_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_CACHE_HOME="+dir,
			"HELM_PLUGINS="+filepath.Join(dir, "plugins"), "HELM_NAMESPACE=", "KUBECONFIG="+filepath.Join(dir, "none"))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	here, err := filepath.Abs("helm-plugin")
	if err != nil {
		t.Fatal(err)
	}
	if out, code := run("plugin", "install", here); code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	for _, c := range []struct{ args, want string }{
		{"proof check . -n prod --fail-on high", "called: check --namespace prod . --fail-on high"},
		{"proof check .", "called: check --namespace default ."},
		{"proof gate . --kube-context=green -n=prod", "called: gate --namespace prod --context green ."},
		{"proof check --all-releases", "called: check --all-releases"},
		{"proof version", "called: version"},
	} {
		if out, code := run(strings.Fields(c.args)...); code != 3 || !strings.Contains(out, c.want+"\n") {
			t.Errorf("helm %s: exit code %d, want 3\n%s", c.args, code, out)
		}
	}
}

// TestHelmPluginHandsOn: whatever command has --namespace or --context, by its help, gets
// Helm's; no other does.
func TestHelmPluginHandsOn(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join("..", "docs", "cli", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "helmproof"), []byte("#!/bin/sh\necho \" $* \"\n"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"helm-plugin/proof.sh"}, args...)...)
		cmd.Env = []string{"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH"), "HELM_NAMESPACE=prod", "HELM_KUBECONTEXT=green"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v %s", args, err, out)
		}
		return string(out)
	}
	n := 0
	for _, page := range pages {
		words := strings.Split(strings.TrimSuffix(filepath.Base(page), ".md"), "_")[1:]
		if len(words) == 0 || words[0] == "config" { // whose flags are but shown
			continue
		}
		help, out := string(read(t, filepath.ToSlash(page))), run(append(words, "x")...)
		for flag, value := range map[string]string{" --namespace ": "prod ", " --context ": "green "} {
			has := regexp.MustCompile(`(?m)^ +(-n,)? *` + flag[1:]).MatchString(help)
			if given := strings.Contains(out, flag+value); given != has {
				t.Errorf("%v: has%s%t, was given it %t: %s", words, flag, has, given, out)
			}
			if has {
				n++
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d flags were found", n)
	}
	for _, all := range []string{"--cluster", "--all-releases"} {
		if out := run("check", all); strings.Contains(out, "--namespace") {
			t.Errorf("%s is narrowed: %s", all, out)
		}
	}
	if out := run("drill", "restore", "--", "x"); out != " drill restore --context green -- x \n" {
		t.Errorf("drill restore: %q", out)
	}
	if out := run(); out != "  \n" {
		t.Errorf("without a command: %q", out)
	}
}

// restricted says what Pod Security's restricted level would refuse, and what could be
// tried again or go on for ever.
func restricted(t *testing.T, job *batchv1.JobSpec) *corev1.Container {
	t.Helper()
	pod := &job.Template.Spec
	if job.BackoffLimit == nil || *job.BackoffLimit != 0 || job.ActiveDeadlineSeconds == nil || pod.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("a run that fails is tried again, or does not end: %+v", job)
	}
	if len(pod.Containers) != 1 || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Fatalf("%+v", pod)
	}
	c := &pod.Containers[0]
	if s := c.SecurityContext; !*pod.SecurityContext.RunAsNonRoot || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(c.Image, "@sha256:") || len(c.Command) > 0 || c.Args[0] != "gate" {
		t.Errorf("%s %v %v", c.Image, c.Command, c.Args)
	}
	return c
}

func TestArgoCD(t *testing.T) {
	t.Parallel()
	var job batchv1.Job
	parse(t, read(t, "argocd/presync.yaml"), &job)
	if job.Kind != "Job" || job.Annotations["argocd.argoproj.io/hook"] != "PreSync" {
		t.Errorf("%+v", job.ObjectMeta)
	}
	restricted(t, &job.Spec)
}

// TestArgoRollouts: neither an error, nor an inconclusive measurement, nor what Argo
// terminates counts for a success.
func TestArgoRollouts(t *testing.T) {
	t.Parallel()
	var at struct {
		APIVersion, Kind string
		Metadata         map[string]string
		Spec             struct {
			Args    []struct{ Name string }
			Metrics []struct {
				Name                  string
				Count                 int
				FailureLimit          *int `json:"failureLimit"`
				InconclusiveLimit     *int `json:"inconclusiveLimit"`
				ConsecutiveErrorLimit *int `json:"consecutiveErrorLimit"`
				Provider              struct {
					Job struct {
						Metadata any
						Spec     batchv1.JobSpec
					}
				}
			}
		}
	}
	parse(t, read(t, "argo-rollouts/analysistemplate.yaml"), &at)
	if at.APIVersion != "argoproj.io/v1alpha1" || at.Kind != "AnalysisTemplate" || len(at.Spec.Metrics) != 1 {
		t.Fatalf("%+v", at)
	}
	m := at.Spec.Metrics[0]
	for name, limit := range map[string]*int{"failureLimit": m.FailureLimit, "inconclusiveLimit": m.InconclusiveLimit, "consecutiveErrorLimit": m.ConsecutiveErrorLimit} {
		if limit == nil || *limit != 0 {
			t.Errorf("%s has to be said to be 0: %v", name, limit)
		}
	}
	if m.Count != 1 {
		t.Errorf("%d measurements", m.Count)
	}
	c := restricted(t, &m.Provider.Job.Spec)
	for _, a := range at.Spec.Args {
		if !slices.ContainsFunc(c.Args, func(arg string) bool { return strings.HasSuffix(arg, "={{args."+a.Name+"}}") }) {
			t.Errorf("%s is not a whole value of a flag: %v", a.Name, c.Args)
		}
	}
}

func TestTekton(t *testing.T) {
	t.Parallel()
	var task struct {
		APIVersion, Kind string
		Metadata         struct {
			Name   string
			Labels map[string]string
		}
		Spec struct {
			Description string
			Params      []struct{ Name, Type, Default, Description string }
			Workspaces  []struct {
				Name     string
				ReadOnly bool `json:"readOnly"`
			}
			Steps []struct {
				Name, Image, Timeout string
				WorkingDir           string `json:"workingDir"`
				OnError              string `json:"onError"`
				Command, Args        []string
				Env                  []corev1.EnvVar
				SecurityContext      corev1.SecurityContext      `json:"securityContext"`
				Resources            corev1.ResourceRequirements `json:"computeResources"`
			}
		}
	}
	raw := read(t, "tekton/task.yaml")
	parse(t, raw, &task)
	params := map[string]bool{}
	for _, p := range task.Spec.Params {
		params[p.Name] = true
	}
	for _, m := range regexp.MustCompile(`\$\(params\.([a-z]+)\)`).FindAllSubmatch(raw, -1) {
		if !params[string(m[1])] {
			t.Errorf("there is no parameter %s", m[1])
		}
	}
	s := task.Spec.Steps[0]
	if task.APIVersion != "tekton.dev/v1" || task.Kind != "Task" || s.OnError != "stopAndFail" || !slices.Equal(s.Args[len(s.Args)-2:], []string{"--", "$(params.chart)"}) {
		t.Errorf("%+v", task)
	}
}

// TestGitLab: the inputs are declared, bounded by a pattern where they come from people,
// and reach the script as variables alone. The script's exit code is that of a chart.
func TestGitLab(t *testing.T) {
	t.Parallel()
	head, body, ok := strings.Cut(string(read(t, "gitlab/check.yml")), "\n---\n")
	if !ok {
		t.Fatal("the component has no head")
	}
	var spec struct {
		Spec struct {
			Inputs map[string]struct{ Default, Description, Type, Regex string }
		}
	}
	parse(t, []byte(head), &spec)
	var jobs map[string]struct {
		Stage, Image string
		Variables    map[string]string
		Script       []string
		Artifacts    struct {
			When    string
			Reports struct{ Junit string }
		}
	}
	parse(t, []byte(body), &jobs)
	for _, m := range regexp.MustCompile(`\$\[\[ inputs\.([a-z]+) \]\]`).FindAllStringSubmatch(body, -1) {
		if _, ok := spec.Spec.Inputs[m[1]]; !ok {
			t.Errorf("there is no input %s", m[1])
		}
	}
	job := jobs["helmproof-check"]
	if len(job.Script) != 1 || strings.Contains(job.Script[0], "$[[") {
		t.Fatalf("%v", job.Script)
	}
	for name, value := range job.Variables {
		if in := strings.TrimSuffix(strings.TrimPrefix(value, "$[[ inputs."), " ]]"); spec.Spec.Inputs[in].Regex == "" {
			t.Errorf("%s is of input %s, which no pattern bounds", name, in)
		}
	}
	dir := t.TempDir()
	program := "#!/bin/sh\nfor last; do :; done\necho '<testsuites/>'\ncase $last in good) exit 0;; bad) exit 3;; *) exit 2;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "helmproof"), []byte(program), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for charts, want := range map[string]int{"good": 0, "good good": 0, "bad good": 3, "good bad": 3, "missing good": 2, "": 2, "*": 2} {
		cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", job.Script[0])
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH"), "CHECK_CHARTS=" + charts, "CHECK_PROFILE=chart"}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Errorf("%q: %v, want exit code %d\n%s", charts, err, want, out)
		}
	}
}

// TestScriptsParse: every script is one that its shell reads, and that may be run.
func TestScriptsParse(t *testing.T) {
	t.Parallel()
	n := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".sh" {
			return err
		}
		n++
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&0o111 == 0 {
			t.Errorf("%s may not be run", name)
		}
		shell, _, _ := strings.Cut(string(read(t, filepath.ToSlash(name))), "\n")
		words := strings.Fields(strings.TrimPrefix(strings.ReplaceAll(shell, "/bin/sh", "sh"), "#!"))
		out, err := exec.CommandContext(t.Context(), words[len(words)-1], "-n", name).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v %s", name, err, out)
		}
		return nil
	})
	if err != nil || n < 4 {
		t.Fatalf("%d scripts, %v", n, err)
	}
}
