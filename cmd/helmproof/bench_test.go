package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// corpus writes n generated charts of the given number of workloads each
// those listed in the file HELMPROOF_TEST_CHARTS, one directory a line.
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
	if list := os.Getenv("HELMPROOF_TEST_CHARTS"); list != "" {
		raw, err := os.ReadFile(list)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("given", func(b *testing.B) { collectAll(b, strings.Fields(string(raw))) })
	}
}

// BenchmarkColdProcess is one chart in a process of its own.
func BenchmarkColdProcess(b *testing.B) {
	self, err := exec.LookPath("helmproof")
	if err != nil {
		b.Fatal(err)
	}
	dir := corpus(b, 1, 3)[0]
	home := b.TempDir()
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), self, "collect", "-q", "--formats", "md,json", "--repo", filepath.Join(home, "repo"), dir)
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+home)
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != exitVerdict {
			b.Fatalf("%v: %s", err, out)
		}
	}
}
