package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/repository"
	dirstore "github.com/companyos/helmproof/evidence/repository/dir"
	"github.com/companyos/helmproof/internal/pipeline"
)

// corpus writes n generated charts of the given number of workloads each.
func corpus(tb testing.TB, n, workloads int) []string {
	tb.Helper()
	root := tb.TempDir()
	var dirs []string
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("chart-%d", i))
		files := map[string]string{
			"Chart.yaml":             fmt.Sprintf("apiVersion: v2\nname: chart-%d\nversion: 1.0.0\nicon: https://example.com/i.png\n", i),
			"values.yaml":            "replicas: 2\nimage: registry.example.com/app:1.0\nsecretRef: db\n" + strings.Repeat("# a line of documentation about a key, as charts have many\n", 100),
			"templates/_helpers.tpl": "{{- define \"labels\" -}}\napp.kubernetes.io/name: {{ .Chart.Name }}\napp.kubernetes.io/managed-by: {{ .Release.Service }}\n{{- end -}}\n",
		}
		for w := range workloads {
			files[fmt.Sprintf("templates/app-%d.yaml", w)] = fmt.Sprintf(benchWorkload, w)
		}
		for name, text := range files {
			p := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				tb.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
				tb.Fatal(err)
			}
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

// benchWorkload is an object set of the usual kind; %[1]d numbers it.
const benchWorkload = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-%[1]d
  labels: {{- include "labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: a%[1]d}
  template:
    metadata:
      labels: {app: a%[1]d}
    spec:
      securityContext: {runAsNonRoot: true}
      containers:
        - name: app
          image: {{ .Values.image | quote }}
          ports: [{name: http, containerPort: 8080}]
          env:
            - name: DB_PASSWORD
              valueFrom: {secretKeyRef: {name: {{ .Values.secretRef }}, key: password}}
          resources:
            limits: {cpu: 500m, memory: 256Mi}
            requests: {cpu: 100m, memory: 128Mi}
          readinessProbe: {httpGet: {path: /ready, port: http}}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}-%[1]d
spec:
  selector: {app: a%[1]d}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .Release.Name }}-%[1]d
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: a%[1]d}}
`

func collectAll(b *testing.B, dirs []string) {
	b.Helper()
	home := b.TempDir()
	b.Setenv("XDG_CONFIG_HOME", home)
	n := 0
	for b.Loop() {
		n++
		var errs bytes.Buffer
		args := append([]string{"collect", "-q", "--formats", "md,json", "--repo", filepath.Join(home, fmt.Sprint("repo", n))}, dirs...)
		code := run(b.Context(), args, stdio{in: strings.NewReader(""), out: io.Discard, err: &errs})
		if code != exitVerdict && os.Getenv("HELMPROOF_TEST_CHARTS") == "" {
			b.Fatalf("exit %d: %s", code, errs.String())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*len(dirs))/1000, "ms/chart")
}

// BenchmarkCollect is the main job, sealed, signed and stored, for 1, 4 and 16
// times as many charts, and for 1, 4 and 16 times as many objects in one.
func BenchmarkCollect(b *testing.B) {
	for _, n := range []int{8, 32, 128} {
		b.Run(fmt.Sprintf("charts=%d", n), func(b *testing.B) { collectAll(b, corpus(b, n, 3)) })
	}
	for _, w := range []int{4, 16, 64} {
		b.Run(fmt.Sprintf("objects=%d", 3*w), func(b *testing.B) { collectAll(b, corpus(b, 1, w)) })
	}
	if dirs := givenCharts(b); len(dirs) > 0 {
		b.Run("given", func(b *testing.B) { collectAll(b, dirs) })
	}
}

// givenCharts are those listed in the file HELMPROOF_TEST_CHARTS, a directory a line.
func givenCharts(tb testing.TB) []string {
	tb.Helper()
	list := os.Getenv("HELMPROOF_TEST_CHARTS")
	if list == "" {
		return nil
	}
	raw, err := os.ReadFile(list)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Fields(string(raw))
}

// BenchmarkStages is what each step of the main job costs for one chart, warm.
func BenchmarkStages(b *testing.B) {
	ctx := b.Context()
	dir := corpus(b, 1, 3)[0]
	cfg, err := config.Load(config.Source{Env: []string{"HELMPROOF_FORMATS=md,json"}, Dir: b.TempDir(), UserDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	rules, err := pipeline.LoadRules((&app{cfg: cfg}).rules())
	if err != nil {
		b.Fatal(err)
	}
	key := filepath.Join(b.TempDir(), "k.key")
	if err := makeKey(key, filepath.Join(b.TempDir(), "trust"), nil); err != nil {
		b.Fatal(err)
	}
	signer, err := attest.LoadSigner(key, nil)
	if err != nil {
		b.Fatal(err)
	}
	opts := chart.LoadOptions{KubeVersion: cfg.KubeVersion}
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if _, err := chart.Load(ctx, dir, opts); err != nil {
				b.Fatal(err)
			}
		}
	})
	rel, err := chart.Load(ctx, dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("secrets-scan", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := secrets.Scan(ctx, rel); err != nil {
				b.Fatal(err)
			}
		}
	})
	p := &pipeline.Pipeline{Rules: rules, Timeout: cfg.Timeout, Now: time.Now}
	b.Run("check", func(b *testing.B) { // the above, collectors, findings and gate
		for b.Loop() {
			if _, err := p.Release(ctx, rel); err != nil {
				b.Fatal(err)
			}
		}
	})
	n := 0
	b.Run("collect", func(b *testing.B) { // check, sealed, rendered, signed and stored
		for b.Loop() {
			n++
			p := *p
			p.Formats, p.Signer, p.Repo = cfg.Formats, signer, repository.New(dirstore.Open(filepath.Join(b.TempDir(), fmt.Sprint(n))))
			if _, err := p.Release(ctx, rel); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPeers is the chain of single tools that people run today, a process
// per tool and chart, over the charts of BenchmarkCollect/charts=8, or those
// given. The tools are those of these that are in PATH; without helm it is
// skipped. HELMPROOF_BENCH_SCHEMAS is kubeconform's -schema-location: by default
// it fetches schemas, which would measure the network.
func BenchmarkPeers(b *testing.B) {
	tools := [][]string{
		{"helm", "lint", "--strict", "CHART"},
		{"kubeconform", "-ignore-missing-schemas", "-schema-location", "SCHEMAS", "MANIFESTS"},
		{"kube-score", "score", "MANIFESTS"},
		{"polaris", "audit", "--audit-path", "MANIFESTS"},
		{"kube-linter", "lint", "MANIFESTS"},
		{"gitleaks", "dir", "CHART", "--no-banner"},
		{"sha256sum", "MANIFESTS"},
	}
	if _, err := exec.LookPath("helm"); err != nil {
		b.Skip("helm is not in PATH")
	}
	var have [][]string
	schemas := os.Getenv("HELMPROOF_BENCH_SCHEMAS")
	for _, t := range tools {
		if t[0] == "kubeconform" && schemas == "" {
			b.Log("without kubeconform: HELMPROOF_BENCH_SCHEMAS is not set")
		} else if _, err := exec.LookPath(t[0]); err == nil {
			have = append(have, t)
		} else {
			b.Logf("without %s, which is not in PATH", t[0])
		}
	}
	dirs := givenCharts(b)
	if len(dirs) == 0 {
		dirs = corpus(b, 8, 3)
	}
	manifests := filepath.Join(b.TempDir(), "manifests.yaml")
	n := 0
	for b.Loop() {
		n++
		for _, dir := range dirs {
			out, err := exec.CommandContext(b.Context(), "helm", "template", "release", dir).Output()
			if err == nil {
				err = os.WriteFile(manifests, out, 0o600)
			}
			if err != nil {
				b.Fatalf("helm template %s: %v", dir, err)
			}
			for _, t := range have {
				args := make([]string, len(t)-1)
				for i, a := range t[1:] {
					args[i] = strings.NewReplacer("CHART", dir, "MANIFESTS", manifests, "SCHEMAS", schemas).Replace(a)
				}
				var failed *exec.ExitError // which is how they report findings
				if err := exec.CommandContext(b.Context(), t[0], args...).Run(); err != nil && !errors.As(err, &failed) {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*len(dirs))/1000, "ms/chart")
}

// BenchmarkStart is a process that does nothing, and Helm's where it is in PATH.
func BenchmarkStart(b *testing.B) {
	for _, name := range []string{"helmproof", "helm"} {
		b.Run(name, func(b *testing.B) {
			path, err := exec.LookPath(name)
			if err != nil {
				b.Skip(err)
			}
			processes(b, exitPass, b.TempDir(), path, "version")
		})
	}
}

// BenchmarkColdProcess is one chart in a process of its own: judged, sealed and stored,
// and verified again.
func BenchmarkColdProcess(b *testing.B) {
	self, err := exec.LookPath("helmproof")
	if err != nil {
		b.Fatal(err)
	}
	dirs := givenCharts(b)
	if len(dirs) == 0 {
		dirs = corpus(b, 1, 3)
	}
	home := b.TempDir()
	for _, dir := range dirs {
		repo := filepath.Join(b.TempDir(), "repo")
		name := filepath.Base(dir)
		b.Run("check/"+name, func(b *testing.B) { processes(b, exitVerdict, home, self, "check", "-q", dir) })
		b.Run("collect/"+name, func(b *testing.B) { processes(b, exitVerdict, home, self, "collect", "-q", "--repo", repo, dir) })
		b.Run("verify/"+name, func(b *testing.B) { processes(b, exitPass, home, self, "verify", "-q", "--repo", repo, "latest") })
	}
}

// processes runs a program again and again, and reports its processor time beside its time.
func processes(b *testing.B, want int, home, name string, args ...string) {
	b.Helper()
	var used time.Duration
	n := 0
	for b.Loop() {
		n++
		cmd := exec.CommandContext(b.Context(), name, args...)
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+home)
		if out, err := cmd.CombinedOutput(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			b.Fatalf("%v: %s", err, out)
		}
		used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	b.ReportMetric(float64(used.Microseconds())/float64(n)/1000, "cpu-ms/op")
}

// BenchmarkVerify is every bundle of a repository, verified.
func BenchmarkVerify(b *testing.B) {
	const bundles = 16
	home := b.TempDir()
	b.Setenv("XDG_CONFIG_HOME", home)
	call := func(want int, args ...string) {
		var errs bytes.Buffer
		args = append(args, "-q", "--repo", filepath.Join(home, "repo"))
		if code := run(b.Context(), args, stdio{in: strings.NewReader(""), out: io.Discard, err: &errs}); code != want {
			b.Fatalf("exit %d: %s", code, errs.String())
		}
	}
	call(exitVerdict, append([]string{"collect"}, corpus(b, bundles, 3)...)...)
	for b.Loop() {
		call(exitPass, "verify")
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*bundles)/1000, "ms/bundle")
}
