package kubebench

import (
	"bytes"
	"fmt"
	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/templates/jobs"
)

// script is the Job's script, with its files in dir.
func script(t *testing.T, dir string) string {
	t.Helper()
	job := &batchv1.Job{}
	if err := yaml.UnmarshalStrict(jobs.KubeBench, job); err != nil {
		t.Fatal(err)
	}
	s := job.Spec.Template.Spec.Containers[0].Args[0]
	for _, path := range []string{"/tmp/", "/dev/termination-log"} {
		if !strings.Contains(s, path) {
			t.Fatalf("the script has no %s", path)
		}
	}
	return strings.NewReplacer("/tmp/", dir+"/", "/dev/termination-log", dir+"/termination-log").Replace(s)
}

// The script runs in a real shell, with a kube-bench that prints what a test says.
func TestScript(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, bench string // bench is the fake's own script
		exit        int
		bytes       int
		errors      string
	}{
		{"arguments", `printf '%s|' "$@"; echo warning >&2`, 0, 0, ""},
		{"fails", `echo '{'; echo 'open cfg: no such file' >&2; exit 3`, 3, 2, "open cfg: no such file"},
		{"prints nothing", `echo 'TOKEN=made-up' >&2`, 0, 0, "TOKEN=[redacted]"},
		{"over 10 MiB", `i=0; while [ $i -lt 12 ]; do head -c 1048576 /dev/zero | tr '\0' 'x'; i=$((i+1)); done`, 0, 12 << 20, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "kube-bench"), []byte("#!/bin/sh\n"+tt.bench+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script(t, dir))
			benchmark := `cis-1.12"; echo injected; "$(echo injected)`
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "BENCHMARK=" + benchmark, "TARGETS=node,master"}
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil || stderr.Len() > 0 {
				t.Fatalf("%v: %s", err, stderr.String())
			}
			got, err := jobrun.ParseLog(stdout.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			want := tt.bytes
			if tt.name == "arguments" {
				text := "run|--json|--benchmark|" + benchmark + "|--targets|node,master|"
				if want = len(text); string(got.Raw) != text {
					t.Errorf("got %q", got.Raw)
				}
			}
			if got.Exit != tt.exit || len(got.Raw) != want || jobrun.OneLine(redactAssignments(got.Errors), 400) != tt.errors || stdout.Len() > 200<<10 {
				t.Errorf("exit %d, %d bytes in a log of %d, errors %q", got.Exit, len(got.Raw), stdout.Len(), got.Errors)
			}
		})
	}
}

func TestScriptWithoutTools(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script(t, dir))
	cmd.Env = []string{"PATH=" + dir}
	out, err := cmd.CombinedOutput()
	said, readErr := os.ReadFile(filepath.Join(dir, "termination-log"))
	if readErr != nil || string(said) != "the image lacks gzip\n" || cmd.ProcessState.ExitCode() != 90 {
		t.Errorf("%v, %s, %q, %v", err, out, said, readErr)
	}
}

// TestJobIsHardened holds the Job to what its comments promise.
func TestJobIsHardened(t *testing.T) {
	t.Parallel()
	job := &batchv1.Job{}
	if err := yaml.UnmarshalStrict(jobs.KubeBench, job); err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.Template.Spec
	c := pod.Containers[0]
	s := c.SecurityContext
	switch {
	case len(pod.Containers) != 1 || len(pod.InitContainers) > 0:
		t.Error("more than one container")
	case *s.Privileged || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem:
		t.Errorf("%+v", s)
	case fmt.Sprint(s.Capabilities.Drop, s.Capabilities.Add) != "[ALL] [DAC_READ_SEARCH SYS_PTRACE]":
		t.Errorf("%+v", s.Capabilities)
	case pod.HostNetwork || pod.HostIPC || *pod.AutomountServiceAccountToken || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
		t.Errorf("%+v", pod)
	case c.Resources.Limits.Memory().IsZero() || c.Resources.Limits.Cpu().IsZero() || *job.Spec.TTLSecondsAfterFinished == 0:
		t.Error("no limits")
	}
	mounted := map[string]corev1.VolumeMount{}
	for _, m := range c.VolumeMounts {
		mounted[m.Name] = m
	}
	for _, v := range pod.Volumes {
		m := mounted[v.Name]
		if v.HostPath != nil && (!m.ReadOnly || m.MountPath != v.HostPath.Path) || v.HostPath == nil && v.EmptyDir == nil {
			t.Errorf("volume %s: %+v", v.Name, m)
		}
		if v.HostPath != nil && (v.HostPath.Path == "/" || strings.Count(v.HostPath.Path, "/") < 2) {
			t.Errorf("volume %s mounts %s", v.Name, v.HostPath.Path)
		}
	}
	for name := range mountsFor {
		if _, ok := mounted[name]; !ok {
			t.Errorf("no volume %s", name)
		}
	}
}
