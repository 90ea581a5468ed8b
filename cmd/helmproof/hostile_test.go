//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostileInputs are charts that took gigabytes or hours, each with its message and
// exit code.
var hostileInputs = map[string]struct {
	template string
	files    map[string]string
	args     []string
	code     int
	want     string // on standard error, or on standard output for code 3
}{
	"repeat":           {template: `{{ $l := list }}{{ range 200 }}{{ $l = append $l (repeat 60000000 "x") }}{{ end }}`, code: 2, want: "templates/x.yaml:1: error calling repeat: a template function renders more than"},
	"many repeats":     {template: `{{ $l := list }}{{ range 2000 }}{{ $l = append $l (repeat 10000000 "x") }}{{ end }}`, code: 2, want: "the template functions make more than"},
	"regexReplaceAll":  {template: `{{ $x := regexReplaceAll "" (repeat 60000 "x") (repeat 60000 "y") }}`, code: 2, want: "error calling regexReplaceAll: a template function renders more than"},
	"wrapWith":         {template: `{{ $x := wrapWith 1 (repeat 60000 "y") (repeat 60000 "x") }}`, code: 2, want: "error calling wrapWith: a template function renders more than"},
	"splitList":        {template: `{{ $x := splitList "" (repeat 10000000 "x") }}`, code: 2, want: "splitList: more than 1000000 elements"},
	"untilStep":        {template: `{{ $x := untilStep 1 9223372036854775807 4611686018427387904 }}`, code: 2, want: "untilStep"},
	"loop":             {template: `{{ range 1000000000000 }}{{ end }}`, code: 2, want: "not finished: no rendering within 5s|steps in one rendering"},
	"files":            {template: `{{ $l := list }}{{ range 3000 }}{{ $l = append $l ($.Files.Get "big") }}{{ end }}`, files: map[string]string{"big": strings.Repeat("x", 15_000_000)}, code: 2, want: "needs more than 896 MiB of memory|no rendering within 5s"},
	"keys":             {files: map[string]string{"values.yaml": manyKeys()}, code: either, want: ""},
	"schema":           {files: map[string]string{"values.schema.json": exponentialSchema()}, code: 2, want: "no rendering within 5s"},
	"pipe":             {code: 2, want: "neither a file nor a folder"},
	"device as values": {args: []string{"-f", "/dev/zero"}, code: 2, want: "/dev/zero: more than 20971520 bytes"},
	"lint alone":       {template: `{{ if eq .Release.Name "test-release" }}{{ $l := list }}{{ range 2000 }}{{ $l = append $l (repeat 10000000 "x") }}{{ end }}{{ end }}`, code: 3, want: "needs more than 896 MiB of memory|no result within 5s"},
	"lint at once":     {template: `{{ if eq .Release.Name "test-release" }}{{ $x := repeat 2000000000 "x" }}{{ end }}`, code: 3, want: "needs more than 896 MiB of memory"},
	"lint at once, of a subchart": {template: `{{ $x := 1 }}`, files: map[string]string{
		"charts/sub/Chart.yaml":       "apiVersion: v2\nname: sub\nversion: 1.2.3\n",
		"charts/sub/templates/x.yaml": `{{ if .Chart.IsRoot }}{{ $x := repeat 2000000000 "x" }}{{ end }}`,
	}, code: 3, want: "needs more than 896 MiB of memory"},
	"lint by lot": {template: `{{ if eq (randNumeric 1) "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" }}{{ if eq .Release.Name "test-release" }}{{ $x := repeat 2000000000 "x" }}{{ end }}{{ end }}`, code: 3, want: "needs more than 896 MiB of memory"},
	"everything selects everything": {template: `{{ range 1500 }}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: d{{ . }}, labels: {app: x}}, spec: {replicas: 2, selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: a, image: x}]}}}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: d{{ . }}}, spec: {maxUnavailable: 1, selector: {matchLabels: {app: x}}}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: d{{ . }}}, spec: {podSelector: {matchLabels: {app: x}}, policyTypes: [Ingress, Egress]}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: d{{ . }}}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d{{ . }}}, minReplicas: 2, maxReplicas: 3}}
{{ end }}`, code: 3, want: ""},
	"containers":    {template: "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{{ range 50000 }}{name: c{{ . }}, image: x}, {{ end }}]}}", code: 3, want: ""},
	"lint for ever": {template: `{{ if eq .Release.Name "test-release" }}{{ range 1000000000000 }}{{ end }}{{ end }}`, code: 3, want: "no result within 5s"},
}

// either stands for a chart that is judged, or is not within its time, as fast as the machine is.
const either = -1

func manyKeys() string {
	var b strings.Builder
	for i := range 150_000 {
		fmt.Fprintf(&b, "k%06d: %d\n", i, i)
	}
	return b.String()
}

func exponentialSchema() string {
	definitions := map[string]any{"a40": map[string]any{"type": "object"}}
	for i := range 40 {
		next := map[string]any{"$ref": fmt.Sprintf("#/definitions/a%d", i+1)}
		definitions[fmt.Sprintf("a%d", i)] = map[string]any{"allOf": []any{next, next}}
	}
	raw, err := json.Marshal(map[string]any{"definitions": definitions, "$ref": "#/definitions/a0"})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// TestHostileInputs: none of them takes more than 1 GiB, or 20 s longer than it may.
func TestHostileInputs(t *testing.T) {
	const limit, late, most = 5 * time.Second, 20 * time.Second, 1 << 30
	for name, tt := range hostileInputs {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "demo")
			files := map[string]string{"Chart.yaml": "apiVersion: v2\nname: demo\nversion: 1.2.3\n", "templates/x.yaml": tt.template}
			for k, v := range tt.files {
				files[k] = v
			}
			for k, v := range files {
				p := filepath.Join(dir, filepath.FromSlash(k))
				if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(v), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if name == "pipe" {
				if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var stdout, stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "helmproof", append([]string{"check", dir, "--timeout", limit.String(), "-o", "json"}, tt.args...)...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			start := time.Now()
			err := cmd.Run()
			took := time.Since(start)
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			peak := int64(0)
			if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
				peak = usage.Maxrss << 10 // of the children as well: they were waited for
			}
			t.Logf("exit code %d, %s, %d MiB: %.200s", cmd.ProcessState.ExitCode(), took.Round(10*time.Millisecond), peak>>20, stderr.String())
			said := stderr.String()
			if tt.code == exitVerdict {
				said = stdout.String()
			}
			found := false
			for want := range strings.SplitSeq(tt.want, "|") {
				found = found || strings.Contains(said, want)
			}
			code := cmd.ProcessState.ExitCode()
			if code != tt.code && (tt.code != either || code != exitUsage && code != exitVerdict) || !found {
				t.Errorf("exit code %d, %.600q; want %d, %q", cmd.ProcessState.ExitCode(), said, tt.code, tt.want)
			}
			if took > limit+late {
				t.Errorf("%s, want at most %s more than %s", took, late, limit)
			}
			if peak > most {
				t.Errorf("%d MiB, want at most %d", peak>>20, most>>20)
			}
		})
	}
}
