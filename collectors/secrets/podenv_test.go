package secrets_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// unread seals what was found, and returns why rules were not checked.
func unread(tb testing.TB, manifests []byte, rep *secrets.Report, red collectors.Redactor) string {
	tb.Helper()
	raw, err := json.Marshal(rep)
	if err != nil {
		tb.Fatal(err)
	}
	sealed, _ := red.Redact(manifests)
	art := collectors.NewArtifacts(nil)
	for name, b := range map[string][]byte{collectors.ManifestsFile: sealed, collectors.ReleaseFile: []byte(`{"chart":"shop","namespace":"default"}`), "artifacts/secrets/report.json": raw} {
		if _, err := art.Put(name, b); err != nil {
			tb.Fatal(err)
		}
	}
	found, err := secrets.New(nil).Findings(collectors.NewSealed(art, config.RuleControls()))
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, f := range found {
		if f.Outcome == evidence.OutcomeNotChecked {
			out = append(out, f.Message)
		}
	}
	return strings.Join(out, "\n")
}

// TestPodEnv holds that variables, arguments and scripts are read from what stands in
// the manifest, whether or not the pod decodes, and that nothing of them is sealed.
func TestPodEnv(t *testing.T) {
	t.Parallel()
	pod := func(spec string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: " + spec + "\n"
	}
	task := func(spec string) string {
		return "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: t}\nspec: " + spec + "\n"
	}
	workflow := func(template string) string {
		return "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {entrypoint: a, templates: [" + template + "]}\n"
	}
	const env = `env: [{name: DB_PASSWORD, value: hunter2zeta}]`
	for name, tt := range map[string]struct {
		in       string
		secret   bool
		unreadAs string // why it is not checked
	}{
		"a number as a text":            {pod(`{terminationGracePeriodSeconds: "30", containers: [{name: a, image: x, ` + env + `}]}`), true, ""},
		"a text as a number":            {pod(`{containers: [{name: a, image: x, env: [{name: A, value: 5}, {name: DB_PASSWORD, value: hunter2zeta}]}]}`), true, ""},
		"a number as a password":        {pod(`{containers: [{name: a, image: x, env: [{name: DB_PASSWORD, value: 84629173}]}]}`), true, ""},
		"beside a reference":            {pod(`{containers: [{name: a, image: x, env: [{name: DB_PASSWORD, value: hunter2zeta, valueFrom: {secretKeyRef: {name: a, key: b}}}]}]}`), true, ""},
		"the first of a name":           {pod(`{containers: [{name: a, image: x, env: [{name: DB_PASSWORD, value: hunter2zeta}, {name: DB_PASSWORD, value: ""}]}]}`), true, ""},
		"a command":                     {pod(`{priority: high, containers: [{name: a, image: x, command: [sh, -c, "mysql -uroot -phunter2zeta db"]}]}`), true, ""},
		"a hook":                        {pod(`{containers: [{name: a, image: x, lifecycle: {preStop: {exec: {command: [mysqladmin, -uroot, "--password=hunter2zeta", shutdown]}}}}]}`), true, ""},
		"a probe":                       {pod(`{containers: [{name: a, image: x, readinessProbe: {exec: {command: [sh, -c, "mysql -uroot -phunter2zeta db"]}}}]}`), true, ""},
		"a header":                      {pod(`{containers: [{name: a, image: x, livenessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: Authorization, value: "Bearer hunter2zeta"}]}}}]}`), true, ""},
		"a harmless header":             {pod(`{containers: [{name: a, image: x, livenessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: Accept, value: text/html}]}}}]}`), false, ""},
		"an init container":             {pod(`{priority: high, initContainers: [{name: a, image: x, args: [--password=hunter2zeta]}], containers: []}`), true, ""},
		"variables as a mapping":        {pod(`{containers: [{name: a, image: x, env: {DB_PASSWORD: hunter2zeta}}]}`), true, "containers[0].env is no list"},
		"arguments as a text":           {pod(`{containers: [{name: a, image: x, args: "mysql -uroot -phunter2zeta db"}]}`), true, "containers[0].args is no list"},
		"containers as a mapping":       {pod(`{containers: {a: {image: x, ` + env + `}}}`), true, "containers is no list"},
		"a mapping without one":         {pod(`{containers: [{name: a, image: x, env: {MODE: fast}}]}`), false, "containers[0].env is no list"},
		"harmless, does not decode":     {pod(`{terminationGracePeriodSeconds: "30", containers: [{name: a, image: x, env: [{name: MODE, value: fast}]}]}`), false, ""},
		"a reference, does not decode":  {pod(`{priority: high, containers: [{name: a, image: x, env: [{name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: a, key: b}}}]}]}`), false, ""},
		"no template":                   {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 2}\n", false, ""},
		"names in an unknown kind":      {"apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: {credentials: organization-secret, pods: {spec: {containers: [{name: a, image: x}]}}}\n", false, "looks like part of a pod template"},
		"a password in an unknown kind": {"apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: {admin: {password: hunter2zeta}, pods: {spec: {containers: [{name: a, image: x}]}}}\n", true, "looks like part of a pod template"},
		"a template of text":            {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: x}\n", false, "the pod template is no object"},
		"a parameter in a Task":         {task(`{steps: [{name: a, image: x, computeResources: {limits: {memory: $(params.mem)}}, ` + env + `}]}`), true, ""},
		"a parameter in a Workflow":     {workflow(`{name: a, container: {image: x, ports: [{containerPort: "{{inputs.parameters.p}}"}], ` + env + `}}`), true, ""},
		"sidecars of another shape":     {workflow(`{name: a, container: {image: x, ` + env + `}, sidecars: {}}`), true, "sidecars is no list"},
		"a script of a Task":            {task(`{steps: [{name: a, image: x, script: "mysql -uroot -phunter2zeta db"}]}`), true, ""},
		"an export in a Task":           {task(`{steps: [{name: a, image: x, script: "set -e\nexport DB_PASSWORD=hunter2zeta\n"}]}`), true, ""},
		"an interpreter in a Task":      {task(`{steps: [{name: a, image: x, script: "#!/usr/bin/env python3\npassword = 'hunter2zeta'\n"}]}`), true, ""},
		"a StepAction":                  {"apiVersion: tekton.dev/v1beta1\nkind: StepAction\nmetadata: {name: s}\nspec: {image: x, script: \"set -e\\nexport DB_PASSWORD=hunter2zeta\\n\"}\n", true, ""},
		"a script of a Workflow":        {workflow(`{name: a, script: {image: x, command: [bash], source: "mysql -uroot -phunter2zeta db\nexport DB_PASSWORD=hunter2zeta\n"}}`), true, ""},
		"Python of a Workflow":          {workflow(`{name: a, script: {image: x, command: [python], source: "import os\npassword = 'hunter2zeta'\n"}}`), true, ""},
		"a harmless script of a Task":   {task(`{steps: [{name: a, image: x, script: "set -e\nexport DB_PASSWORD=$(cat /run/secrets/db)\nmysql -uroot -p$DB_PASSWORD db\n"}]}`), false, ""},
		"a harmless script in Python":   {workflow(`{name: a, script: {image: x, command: [python], source: "import os\npassword = os.environ['PASSWORD']\n"}}`), false, ""},
		"a parameter in a Task, no key": {task(`{steps: [{name: a, image: x, computeResources: {limits: {memory: $(params.mem)}}, script: "echo $(params.token)"}]}`), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), map[string]string{"templates/p.yaml": "{{`" + tt.in + "`}}"})
			rep, red := scan(t, rel)
			if (len(rep.Places) > 0) != tt.secret {
				t.Errorf("found %v", rep.Places)
			}
			out, _ := red.Redact(rel.Manifests)
			if strings.Contains(string(out), "hunter2zeta") || strings.Contains(string(out), "84629173") {
				t.Errorf("sealed in clear:\n%s", out)
			}
			if got := unread(t, rel.Manifests, rep, red); tt.unreadAs == "" && got != "" || !strings.Contains(got, tt.unreadAs) {
				t.Errorf("not checked: %q, want %q", got, tt.unreadAs)
			}
		})
	}
}
