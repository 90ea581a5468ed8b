package acceptance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli"
	helmkube "helm.sh/helm/v4/pkg/kube"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/test/kube"
)

// run is one acceptance run: a folder in which all commands are run, and what they
// printed.
type run struct {
	cluster    *kube.Cluster
	bin, dir   string // absolute
	transcript *os.File

	// Images by digest: two that are signed, and one that is not.
	service, prober, unsigned string
	publicKey                 string // of who signs images
}

// newRun empties a folder in bin, and begins the transcript there.
func newRun(t *testing.T, c *kube.Cluster, folder string) *run {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "..", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	r := &run{cluster: c, bin: bin, dir: filepath.Join(bin, folder)}
	if err := errors.Join(os.RemoveAll(r.dir), os.MkdirAll(r.dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	if r.transcript, err = os.Create(r.file("transcript.txt")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.transcript.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *run) file(name string) string { return filepath.Join(r.dir, name) }

func (r *run) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.file(name)), 0o755), os.WriteFile(r.file(name), content, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func (r *run) writeYAML(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, name, raw)
}

// note puts a line of its own into the transcript.
func (r *run) note(format string, args ...any) {
	fmt.Fprintf(r.transcript, "# %s\n\n", strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n", "\n# "))
}

// cmd is a program that runs in the run's folder.
func (r *run) cmd(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = r.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, variable+"=") }),
		"HOME="+r.dir, "XDG_CONFIG_HOME="+r.file("config"), "XDG_CACHE_HOME="+r.file("cache"), "DOCKER_CONFIG="+r.dir, "KUBECONFIG="+r.cluster.Kubeconfig, "COSIGN_PASSWORD=", "HELMPROOF_COLOR=never")
	return cmd
}

// command runs a program in the run's folder, and writes down what it printed. It
// fails the test where the exit code is another one; -1 is any.
func (r *run) command(t *testing.T, want int, program string, args ...string) string {
	t.Helper()
	name := filepath.Base(program)
	cmd := r.cmd(t, program, args...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	start := time.Now()
	err := cmd.Run()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	text := fmt.Sprintf("$ %s %s\n%s", name, strings.Join(args, " "), both.String())
	fmt.Fprintf(r.transcript, "%s[exit code %d after %.1f s]\n\n", text, code, time.Since(start).Seconds())
	t.Log(text)
	if want >= 0 && code != want {
		t.Fatalf("%s: exit code %d, want %d", name, code, want)
	}
	return both.String()
}

func (r *run) helmproof(t *testing.T, want int, args ...string) string {
	t.Helper()
	return r.command(t, want, filepath.Join(r.bin, "helmproof"), args...)
}

func (r *run) cosign(t *testing.T, args ...string) {
	t.Helper()
	r.command(t, 0, filepath.Join(r.bin, "cosign"), args...)
}

func (r *run) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return r.command(t, 0, r.program("kubectl"), args...)
}

// program is one of the cluster's own.
func (r *run) program(name string) string { return filepath.Join(r.cluster.Dir, "bin", name) }

// install is `helm install --wait`, by Helm's own SDK. Helm 4 would take a namespace
// over that another release has made, with --create-namespace, and its labels away.
func (r *run) install(t *testing.T, ns, name string, create bool, path string, values map[string]any) {
	t.Helper()
	settings := cli.New()
	settings.KubeConfig = r.cluster.Kubeconfig
	settings.SetNamespace(ns)
	cfg := action.NewConfiguration(action.ConfigurationSetLogger(slog.NewTextHandler(io.Discard, nil)))
	if err := cfg.Init(settings.RESTClientGetter(), ns, "secrets"); err != nil {
		t.Fatal(err)
	}
	ch, err := loader.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	in := action.NewInstall(cfg)
	in.ReleaseName, in.Namespace, in.CreateNamespace, in.WaitStrategy, in.Timeout = name, ns, create, helmkube.StatusWatcherStrategy, 3*time.Minute
	if _, err := in.Run(ch, values); err != nil {
		t.Fatalf("install %s: %v", path, err)
	}
	r.note("helm install %s %s -n %s", name, filepath.Base(path), ns)
}
