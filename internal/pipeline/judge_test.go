package pipeline

import (
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
)

// judgesWords are the words that helmproof judges by: of its policies, catalog and
// profiles, and of the API server's schemas.
func judgesWords(t *testing.T) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "collectors", "helm", "schemas", "1.37.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`[A-Za-z0-9][A-Za-z0-9./-]*[A-Za-z0-9]`).FindAllString(string(BuiltinRules())+string(schemas), -1)
	slices.Sort(words)
	return slices.Compact(words)
}

// judgedChart is a chart whose secrets can be chosen: each of its kinds is judged by
// some control, and secrets stand where they are found.
func judgedChart(keys, secrets []string) map[string]string {
	q := func(i int) string { return fmt.Sprintf("%q", secrets[i%len(secrets)]) }
	entries, encoded, settings := "", "", ""
	for i, k := range keys {
		entries += fmt.Sprintf("  %q: %s\n", k, q(i))
		encoded += fmt.Sprintf("  %q: %s\n", k, base64.StdEncoding.EncodeToString([]byte(secrets[i%len(secrets)])))
		settings += fmt.Sprintf("  PASSWORD_%d: %s\n", i, q(i))
	}
	pod := func(indent string) string {
		return strings.ReplaceAll(`spec:
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  volumes: [{name: conf, configMap: {name: conf}}, {name: creds, secret: {secretName: a}}]
  containers:
  - name: app
    image: r.example/app:1.27.3
    imagePullPolicy: IfNotPresent
    args: ["--db-password=`+secrets[0]+`", "--token", `+q(1)+`]
    env:
    - {name: DB_PASSWORD, value: `+q(2)+`}
    - {name: OTHER, valueFrom: {secretKeyRef: {name: a, key: `+fmt.Sprintf("%q", keys[0])+`}}}
    resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 128Mi}}
    readinessProbe: {httpGet: {path: /, port: 8080}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
  - name: side
    image: r.example/side@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    securityContext: {privileged: true}
`, "\n", "\n"+indent)
	}
	return map[string]string{
		"Chart.yaml":       "apiVersion: v2\nname: judged\nversion: 1.0.0\n",
		"values.yaml":      "password: " + q(0) + "\nclientSecret: " + q(1) + "\nusers:\n- {name: a, password: " + q(2) + "}\n",
		"templates/a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n" + entries,
		"templates/b.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: b}\ndata:\n" + encoded,
		"templates/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata:\n" + settings,
		"templates/d.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {app: web}}\nspec:\n  replicas: 3\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    " + pod("    ") + "\n" +
			"---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: job}\nspec:\n  schedule: \"0 0 * * *\"\n  concurrencyPolicy: Forbid\n  jobTemplate:\n    spec:\n      template:\n        " + strings.Replace(pod("        "), "spec:", "spec:\n          restartPolicy: Never", 1) + "\n",
		"templates/e.yaml": "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}\n" +
			"---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\nspec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}\n" +
			"---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: ClusterIP, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}\n" +
			"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: web}\nrules: [{apiGroups: [apps], resources: [deployments], verbs: [get, list, watch]}]\n" +
			"---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\nprovisioner: p.example\nvolumeBindingMode: WaitForFirstConsumer\nreclaimPolicy: Retain\n",
	}
}

// TestChartCannotChangeItsJudge holds that a secret that is also a word of the rules
// changes no control but those about secrets.
func TestChartCannotChangeItsJudge(t *testing.T) {
	t.Parallel()
	words := judgesWords(t)
	if len(words) < 2000 {
		t.Fatalf("only %d words", len(words))
	}
	rules, err := LoadRules(RulesOptions{Profile: "chart"})
	if err != nil {
		t.Fatal(err)
	}
	p := &Pipeline{Rules: rules, Timeout: time.Minute, Now: time.Now}
	base := t.TempDir()
	outcomes := func(rt *rapid.T, files map[string]string) map[string]string {
		dir, err := os.MkdirTemp(base, "c")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		writeFiles(t, dir, files)
		rel, err := chart.Load(t.Context(), dir, chart.LoadOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		j, err := p.Release(t.Context(), rel)
		if err != nil {
			rt.Fatal(err)
		}
		out := map[string]string{}
		for _, run := range j.Runs.Collectors {
			if run.Outcome != evidence.OutcomePass {
				rt.Errorf("%s: %s", run.Collector, run.Error)
			}
		}
		for _, r := range j.Verdict.Results {
			if !strings.HasPrefix(string(r.Control), "SCR-") {
				out[string(r.Control)] = string(r.Outcome)
			}
		}
		for _, f := range j.Findings {
			if !strings.HasPrefix(f.Rule, "secrets/") {
				out[f.Rule+" "+string(f.Outcome)+" "+f.Target.Kind+" "+f.Target.Container] += "+"
			}
		}
		return out
	}
	neutral := map[string]map[string]string{}
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.SampledFrom(words)
		keys := rapid.SliceOfNDistinct(rapid.OneOf(word, rapid.SampledFrom([]string{"kind", "name", "image", "type", "path", "namespace", "value", "outcome", "rule", "password"})), 1, 3, rapid.ID[string]).
			Filter(func(keys []string) bool {
				return !slices.ContainsFunc(keys, func(k string) bool { return strings.ContainsAny(k, "/") || len(k) > 200 })
			}).Draw(rt, "keys")
		secrets := rapid.SliceOfN(rapid.OneOf(word, word, rapid.SampledFrom([]string{"deployments", "Deployment", "containers", "limits", "true", "RuntimeDefault", "WaitForFirstConsumer", "ClusterIP", "web", "app", "judged", "default", "1.0.0", "1.27.3", "128Mi", "3", "8080", "helmproof", "resources", "REDACTED", "fail", "pass"})), 3, 3).Draw(rt, "secrets")
		key := strings.Join(keys, "\x00")
		if neutral[key] == nil {
			neutral[key] = outcomes(rt, judgedChart(keys, []string{"n3utral!One11", "n3utral!Two22", "n3utral!Three33"}))
		}
		if d := cmp.Diff(neutral[key], outcomes(rt, judgedChart(keys, secrets))); d != "" {
			rt.Fatalf("the secrets %q change what is found (-neutral +these):\n%s", secrets, d)
		}
	})
}

func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
