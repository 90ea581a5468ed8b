package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHardenValues holds that the report names the values that fix a finding, and
// none that do not, and that what a value or an option fixes is not the owner's.
func TestHardenValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: keys\nversion: 1.0.0\n",
		"values.yaml": `controller:
  resources: {}
  "odd.key":
    securityContext: {}
sidecar:
  resources: {} # of nothing
replicaCount: 1
networkPolicy:
  enabled: false
`,
		"templates/all.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: {{ .Values.replicaCount }}
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: app
          image: example.com/app:1
          resources: {{ toJson .Values.controller.resources }}
          securityContext: {{ toJson (index .Values.controller "odd.key").securityContext }}
{{- if .Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
{{- end }}
`,
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"harden", dir, "--report", "-o", "json"}, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != exitPass {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var got hardenJSON
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	keys, flags := map[string]string{}, map[string]string{}
	for _, f := range got.Fixes {
		if f.Flag != "" {
			flags[f.Rule] = f.Flag
		} else {
			keys[f.Rule] = strings.Join(f.Keys, " ")
		}
	}
	for rule, want := range map[string]string{
		"policy/resource-limits":   "controller.resources.limits.cpu controller.resources.limits.memory",
		"policy/resource-requests": "controller.resources.requests.cpu controller.resources.requests.memory",
		"policy/read-only-root":    `controller.odd\.key.securityContext.readOnlyRootFilesystem`,
		"workload/network-policy":  "networkPolicy.enabled",
		"policy/image-digest":      "",
	} {
		if keys[rule] != want {
			t.Errorf("%s: %q, want %q", rule, keys[rule], want)
		}
	}
	for rule, want := range map[string]string{"policy/seccomp": "--control SEC-3", "policy/privilege-escalation": "--drop-capabilities", "policy/read-only-root": "--read-only-root"} {
		if flags[rule] != want {
			t.Errorf("%s: %q, want %q", rule, flags[rule], want)
		}
	}

	out.Reset()
	if code := run(t.Context(), []string{"harden", dir, "--report"}, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != exitPass {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	before, owner, _ := strings.Cut(out.String(), "What no value that was tried fixes: the chart's owner can")
	if !strings.Contains(before, "set controller.resources.limits.cpu,") {
		t.Errorf("no key in:\n%s", before)
	}
	for _, id := range []string{"RES-1", "RES-2", "SEC-1", "SEC-5", "SEC-7"} {
		if slices.Contains(strings.Fields(owner), id) {
			t.Errorf("%s is left to the owner:\n%s", id, owner)
		}
	}
	if !strings.Contains(owner, "IMG-1") {
		t.Errorf("IMG-1 is not left to the owner:\n%s", owner)
	}
}
