package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	helmkube "helm.sh/helm/v4/pkg/kube"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

// ownNamespace is held by who has the rights and the Lease of helmproof watch, which have
// one place in a cluster.
var ownNamespace sync.Mutex

// watchRights gives the rights of templates/rbac/watch.yaml for the time of the test.
func watchRights(t *testing.T, c *kube.Cluster) {
	t.Helper()
	ownNamespace.Lock()
	t.Cleanup(ownNamespace.Unlock)
	t.Cleanup(func() {
		_, err := c.TryKubectl(context.Background(), "", "delete", "--ignore-not-found", "clusterrolebinding,clusterrole", "helmproof-watch", "helmproof-watch-releases")
		if err != nil {
			t.Error(err)
		}
	})
	c.Apply(t, string(rbac.Watch))
}

// evidenceOf is a repository of evidence, and the user who collects it.
type evidenceOf struct {
	t         *testing.T
	c         *kube.Cluster
	bin, repo string
	env       []string
	home      string
}

func newEvidence(t *testing.T, c *kube.Cluster, repo string) *evidenceOf {
	t.Helper()
	home := t.TempDir()
	return &evidenceOf{t: t, c: c, bin: helmproof(t), repo: repo, home: home, env: []string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "HELMPROOF_REPO=" + repo}}
}

// collect collects evidence about a release, whatever it says.
func (e *evidenceOf) collect(release, namespace string, args ...string) {
	e.t.Helper()
	cmd := exec.Command(e.bin, append([]string{"collect", "-q", "--release", release, "-n", namespace, "--kubeconfig", e.c.Kubeconfig}, args...)...)
	cmd.Env = append(cmd.Environ(), e.env...)
	if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 3 {
		e.t.Fatalf("collect: %v: %s", err, out)
	}
}

// collectPinned collects evidence about a release by a profile of one control, which fails
// unless it is waived.
func (e *evidenceOf) collectPinned(release, namespace string, waived bool) {
	e.t.Helper()
	profile, waivers := filepath.Join(e.home, "pinned.yaml"), filepath.Join(e.home, "waivers.yaml")
	text := "waivers: []\n"
	if waived {
		text = fmt.Sprintf("waivers:\n  - control: IMG-1\n    target: {name: \"*\"}\n    reason: There is no registry that could say a digest.\n    approvedBy: Ada Lovelace\n    expiresAt: %s\n",
			time.Now().AddDate(0, 0, 30).UTC().Format(time.DateOnly))
	}
	err := errors.Join(os.WriteFile(waivers, []byte(text), 0o600),
		os.WriteFile(profile, []byte("name: pinned\ntitle: Pinned\nscope: release\nfailOn: low\nmaxAge: 168h\ncontrols:\n  - {id: IMG-1}\n"), 0o600))
	if err != nil {
		e.t.Fatal(err)
	}
	e.collect(release, namespace, "--profile", profile, "--waivers", waivers)
}

// id is that of the repository.
func (e *evidenceOf) id() string {
	e.t.Helper()
	raw, err := os.ReadFile(filepath.Join(e.repo, "repository.json"))
	var doc struct{ ID string }
	if err == nil {
		err = json.Unmarshal(raw, &doc)
	}
	if err != nil || doc.ID == "" {
		e.t.Fatalf("the id of the repository: %v: %s", err, raw)
	}
	return doc.ID
}

// key is the public half of the key that the first collect made.
func (e *evidenceOf) key() string {
	e.t.Helper()
	files, err := filepath.Glob(filepath.Join(e.home, "helmproof", "trust", "*.pub"))
	if err != nil || len(files) != 1 {
		e.t.Fatalf("public keys: %v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		e.t.Fatal(err)
	}
	return string(raw)
}

// readable lets everybody read what is there now.
func (e *evidenceOf) readable() {
	e.t.Helper()
	err := filepath.WalkDir(e.repo, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		if err == nil {
			err = os.Chmod(path, 0o644)
		}
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// watchPods are the pods of the release helmproof-watch, by name, with their UIDs and
// addresses.
func watchPods(t *testing.T, c *kube.Cluster) map[string][2]string {
	t.Helper()
	out := map[string][2]string{}
	for line := range strings.Lines(c.Kubectl(t, "get", "pods", "-n", "helmproof", "-l", "app.kubernetes.io/component=watch",
		"-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.podIP}{"\n"}{end}`)) {
		if f := strings.Fields(line); len(f) == 3 {
			out[f[0]] = [2]string{f[1], f[2]}
		}
	}
	return out
}

// processOf is the process of helmproof watch in a pod: tests see those of the nodes.
func processOf(t *testing.T, uid string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		groups, err1 := os.ReadFile(f)
		line, err2 := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
		if err1 != nil || err2 != nil { // it ended
			continue
		}
		if strings.Contains(string(groups), uid) && strings.Contains(string(line), "\x00watch\x00--leader-elect") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no process of pod %s", uid)
	return 0
}

// peakMemory is the most memory that a process had, as the kernel says it, and its own part.
func peakMemory(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`(?m)^(VmHWM|RssAnon):.*$`).FindAllString(string(raw), -1), ", ")
}

// TestWatchInstalled installs watch as docs/watch.md says, in a namespace that enforces
// restricted, on real nodes: its pods become ready with the rights that they have, the
// Service answers, and when the leader is killed the other one goes on, without a value
// that would be a wrong alarm, until there are two again.
func TestWatchInstalled(t *testing.T) {
	t.Parallel()
	c := needCluster(t, kube.TierC)
	const ns, name, own = "watched-by-pods", "helmproof-watch", "helmproof"
	installCRDs(t, c.Cluster)
	watchRights(t, c.Cluster)
	labelled(t, c.Cluster, ns, "")
	labelled(t, c.Cluster, "monitoring", "enforce=restricted")
	c.Apply(t, c.Kubectl(t, "kustomize", "../../templates/monitoring"))

	// A release, and evidence of it on a volume.
	if err := helmInstall(helmFor(t, c.Cluster, ns, "secrets"), ns, "web", map[string]any{"replicas": 1}); err != nil {
		t.Fatal(err)
	}
	e := newEvidence(t, c.Cluster, filepath.Join(c.Dir, "watched-evidence"))
	e.collect("web", ns, "--profile", "live")
	e.readable()
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "pv", "helmproof-evidence", "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: helmproof-evidence}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadOnlyMany]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: helmproof, name: helmproof-evidence}
  hostPath: {path: %s, type: Directory}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: helmproof-evidence, namespace: helmproof}
spec: {accessModes: [ReadOnlyMany], storageClassName: "", volumeName: helmproof-evidence, resources: {requests: {storage: 1Gi}}}
`, e.repo))
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "-n", own, "pvc", "helmproof-evidence", "--wait=false"); err != nil {
			t.Error(err)
		}
	})

	digest, err := c.PinImage(t.Context(), kube.Image{Ref: "cluster.test/helmproof:1", Binary: e.bin})
	if err != nil {
		t.Fatal(err)
	}
	var cidrs []any
	for _, a := range strings.Fields(c.Kubectl(t, "get", "endpointslices", "kubernetes", "-n", "default", "-o", "jsonpath={.endpoints[*].addresses[*]}")) {
		cidrs = append(cidrs, a+"/32")
	}
	values := map[string]any{
		"image":         map[string]any{"repository": "cluster.test/helmproof", "tag": "1", "digest": digest},
		"env":           map[string]any{"HELMPROOF_REPOSITORY_ID": e.id()},
		"config":        map[string]any{"files": map[string]any{"/etc/helmproof/trust/team.pub": e.key()}},
		"networkPolicy": map[string]any{"egress": map[string]any{"allow": []any{map[string]any{"name": "apiServer", "cidrs": cidrs}}}},
		"args":          []any{"watch", "--leader-elect", "--interval", "1s"},
		"nodeSelector":  map[string]any{"real": "true"},
	}
	for _, file := range []string{"claim.yaml", "values.yaml"} {
		raw, err := os.ReadFile(filepath.Join("../../templates/monitoring/deploy", file))
		under := map[string]any{}
		if err == nil {
			err = yaml.Unmarshal(raw, &under)
		}
		if err != nil {
			t.Fatal(err)
		}
		values = util.MergeTables(values, under)
	}
	ch, err := loader.Load("../../charts/service")
	if err != nil {
		t.Fatal(err)
	}
	cfg, warned := listeningHelm(t, c, own)
	in := action.NewInstall(cfg)
	in.ReleaseName, in.Namespace, in.WaitStrategy, in.Timeout = name, own, helmkube.StatusWatcherStrategy, 3*time.Minute
	t.Cleanup(func() {
		un := action.NewUninstall(cfg)
		un.WaitStrategy, un.Timeout = helmkube.StatusWatcherStrategy, time.Minute
		if _, err := un.Run(name); err != nil {
			t.Error(err)
		}
	})
	if _, err := in.RunWithContext(t.Context(), ch, values); err != nil {
		out, _ := c.TryKubectl(context.Background(), "", "get", "pods,events", "-n", own, "-o", "wide")
		logs, _ := c.TryKubectl(context.Background(), "", "logs", "-n", own, "deployment/"+name, "--tail=20")
		t.Fatalf("install watch: %v\n%s\n%s", err, out, logs)
	}
	if said := warned.all(); len(said) > 0 {
		t.Errorf("the API server warns: %v", said)
	}

	pods := watchPods(t, c.Cluster)
	if len(pods) != 2 {
		t.Fatalf("pods of watch: %v", pods)
	}
	const missing = `helmproof_evidence_missing{namespace="watched-by-pods",release="web"} `
	seen := []string{
		"helmproof_watch_leader 1", `helmproof_watch_up{source="api"} 1`, `helmproof_watch_up{source="repository"} 1`, missing + "0", `helmproof_evidence_missing{namespace="helmproof",release="helmproof-watch"} 1`,
		`helmproof_release_compared_by_name{namespace="watched-by-pods",release="web"} 0`, `helmproof_evidence_unverifiable{reason="signature"} 0`, `helmproof_verdict{chart="small"`,
	}
	at := func(pod [2]string) *watching { return &watching{t: t, url: "http://" + pod[1] + ":9187"} }
	leader := "" // on a busy machine it may lose the lease and be another's follower
	eventually(t, 2*time.Minute, "a pod that leads and sees everything", func() bool {
		for name, pod := range pods {
			if at(pod).missing(seen) == "" {
				leader = name
			}
		}
		return leader != ""
	})
	service := c.Kubectl(t, "get", "service", name, "-n", own, "-o", `jsonpath={.spec.clusterIP}:{.spec.ports[?(@.name=="metrics")].port}`)
	(&watching{t: t, url: "http://" + service}).eventually("the Service answers for both", seen...)
	if got := c.Kubectl(t, "get", "networkpolicy,pdb,servicemonitor,prometheusrule", "-A", "-o", "name"); strings.Count(got, "helmproof") < 4 {
		t.Errorf("installed are %s", got)
	}

	// The leader is killed.
	pid := processOf(t, pods[leader][0])
	t.Log("the leader had at most ", peakMemory(t, pid))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// It starts again at once, as somebody else: whichever of the two comes first leads.
	leads := ""
	eventually(t, 40*time.Second, "a pod to lead again", func() bool {
		for name, pod := range pods {
			body, _ := at(pod).get("/metrics")
			wrong := []string{missing + "1", `helmproof_evidence_unverifiable{reason="signature"} 1`}
			if name != leader {
				wrong = append(wrong, `helmproof_watch_up{source="api"} 0`, `helmproof_watch_up{source="repository"} 0`)
			}
			for _, wrong := range wrong {
				if strings.Contains(body, wrong) {
					t.Fatalf("while a pod takes over: %s", wrong)
				}
			}
			if at(pod).missing(seen) == "" {
				leads = name
			}
		}
		return leads != ""
	})
	c.Kubectl(t, "wait", "-n", own, "--for=condition=Ready", "--timeout=90s", "pod/"+leader)
	for name, pod := range watchPods(t, c.Cluster) {
		if name != leads {
			at(pod).eventually("the other pod follows", "helmproof_watch_leader 0", `helmproof_watch_up{source="api"} 1`, "!helmproof_verdict")
		}
	}
	if not := at(pods[leads]).missing(seen); not != "" {
		t.Errorf("with both pods again: not as wanted: %s", not)
	}
}
