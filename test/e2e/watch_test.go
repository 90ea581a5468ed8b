package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
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
	helmkube "helm.sh/helm/v4/pkg/kube"

	"github.com/companyos/helmproof/test/kube"
)

// tcpProxy stands between a client and the API server, and can be cut.
type tcpProxy struct {
	address, to string

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]bool
}

func newTCPProxy(t *testing.T, to string) *tcpProxy {
	t.Helper()
	p := &tcpProxy{address: "127.0.0.1:0", to: to, conns: map[net.Conn]bool{}}
	p.open(t)
	t.Cleanup(p.cut)
	return p
}

func (p *tcpProxy) open(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.l, p.address = l, l.Addr().String()
	p.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
}

func (p *tcpProxy) pass(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
	_, _ = io.Copy(c, up)
}

// cut refuses connections from now on, and ends those that there are.
func (p *tcpProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.l.Close()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

// watching is a running helmproof watch.
type watching struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	done chan error
}

func startWatch(t *testing.T, bin string, env []string, args ...string) *watching {
	t.Helper()
	w := &watching{t: t, cmd: exec.Command(bin, append([]string{"watch", "--listen", "127.0.0.1:0", "--interval", "1s"}, args...)...), done: make(chan error, 1)}
	w.cmd.Env = append(w.cmd.Environ(), env...)
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			t.Log(lines.Text())
			if _, at, ok := strings.Cut(lines.Text(), "served on "); ok {
				found <- strings.TrimSuffix(at, "/metrics")
			}
		}
		w.done <- w.cmd.Wait()
	}()
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	select {
	case w.url = <-found:
	case err := <-w.done:
		t.Fatalf("helmproof watch ended: %v", err)
	}
	return w
}

func (w *watching) get(path string) (string, int) {
	// A connection of its own for each: behind a Service there are several watches.
	res, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get(w.url + path)
	if err != nil {
		return err.Error(), 0
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error(), 0
	}
	return string(b), res.StatusCode
}

// missing returns the first line that is not exported, or that is with a "!" before it.
// Lines are known by how they begin; * stands for anything in them.
func (w *watching) missing(lines []string) string {
	body, _ := w.get("/metrics")
	for _, l := range lines {
		not, absent := strings.CutPrefix(l, "!")
		if begins(not).MatchString(body) == absent {
			return l
		}
	}
	return ""
}

func begins(line string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^` + strings.ReplaceAll(regexp.QuoteMeta(line), `\*`, `[^\n]*`))
}

// value is that of the first line that begins so; 0 where there is none.
func (w *watching) value(line string) float64 {
	w.t.Helper()
	body, _ := w.get("/metrics")
	m := regexp.MustCompile(begins(strings.TrimSpace(line)).String() + `[^\n]* (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *watching) eventually(what string, lines ...string) {
	w.t.Helper()
	start := time.Now()
	var not string
	defer func() {
		if not != "" {
			body, _ := w.get("/metrics")
			for l := range strings.Lines(body) {
				if strings.Contains(l, "helmproof") || strings.Contains(l, "autoscaler") || strings.Contains(l, "budget") {
					w.t.Log(strings.TrimSpace(l))
				}
			}
			w.t.Errorf("%s: not as wanted: %s", what, not)
		}
	}()
	eventually(w.t, 40*time.Second, what, func() bool { not = w.missing(lines); return not == "" })
	w.t.Logf("%s: after %s", what, time.Since(start).Round(100*time.Millisecond))
}

// leads waits until one of the watches leads, and no other.
func leads(t *testing.T, what string, among ...*watching) *watching {
	t.Helper()
	var leader *watching
	eventually(t, 40*time.Second, what, func() bool {
		leader = nil
		n := 0
		for _, w := range among {
			if w.missing([]string{"helmproof_watch_leader 1", `helmproof_watch_up{source="api"} 1`}) == "" {
				leader, n = w, n+1
			}
		}
		return n == 1
	})
	return leader
}

// TestWatch holds that each metric moves when its cause happens, and back when it ends;
// that values stay while the API server cannot be reached or watch starts anew; and that
// another watch goes on where the one that exports is killed.
func TestWatch(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	const ns = "watched"
	labelled(t, c, ns, "")
	installCRDs(t, c)
	watchRights(t, c)
	e := newEvidence(t, c, filepath.Join(t.TempDir(), "repo"))
	bin, env := e.bin, e.env

	// What the watches see goes through a proxy.
	file := kubeconfigOf(t, c, "helmproof", "helmproof-watch")
	proxy := throughProxy(t, file)

	if err := helmInstall(helmFor(t, c, ns, "secrets"), ns, "web", map[string]any{"replicas": 2}); err != nil {
		t.Fatal(err)
	}
	e.collect("web", ns, "--profile", "live") // makes the key and the repository, of the first revision
	if err := helmInstall(helmFor(t, c, ns, "secrets"), ns, "bare", nil); err != nil {
		t.Fatal(err)
	}

	args := []string{"--leader-elect", "--kubeconfig", file}
	a := startWatch(t, bin, env, args...)
	const (
		missing  = `helmproof_evidence_missing{namespace="watched",release=`
		apiUp    = `helmproof_watch_up{source="api"} `
		security = `helmproof_pod_security_violations{level="baseline",mode=`
		scaled   = `helmproof_hpa_scale_events_total{direction=`
	)
	a.eventually("the first reading", "helmproof_watch_leader 1", apiUp+"1", missing+`"web"} 0`, missing+`"bare"} 1`, `helmproof_verdict{chart="small"`)
	if body, code := a.get("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	b := startWatch(t, bin, env, args...)
	b.eventually("a second watch is ready and silent", "helmproof_watch_leader 0", apiUp+"1", "!helmproof_verdict", "!helmproof_evidence_missing")

	patch := func(what, to string) {
		t.Helper()
		c.Kubectl(t, "patch", "-n", ns, what, "--type=merge", "-p", to)
	}
	status := func(what, to string) {
		t.Helper()
		c.Kubectl(t, "patch", "-n", ns, what, "--subresource=status", "--type=merge", "-p", to)
	}
	// Causes and their ends.
	const (
		pinned  = `*namespace="watched",profile="file:pinned@*release="web"`
		verdict = `helmproof_verdict{` + pinned + `,verdict=`
		drilled = `{experiment="eviction",namespace="shop",target="Deployment/web"} `
		secret  = `{name="db",namespace="watched"} `
		vpa     = `autoscaler_recommendations{container="main",kind="VerticalPodAutoscaler",name="web",namespace="watched",resource="cpu"} `
	)
	upgrade := func() {
		t.Helper()
		up := action.NewUpgrade(helmFor(t, c, ns, "secrets"))
		up.Namespace, up.WaitStrategy = ns, helmkube.HookOnlyStrategy
		if _, err := up.Run("web", liveChart(), map[string]any{"replicas": 2, "greeting": "good evening"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		what string
		do   func()
		want []string
		// grows begins a line of which the value is higher afterwards.
		grows string
	}{
		{"more pods wanted than there are", func() {
			c.Apply(t, fmt.Sprintf("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web, namespace: %s}\nspec: {minAvailable: 5, selector: {matchLabels: {app: web}}}\n", ns))
		}, []string{`pod_disruption_budget_violations{name="web",namespace="watched"} 1`}, ""},
		{"fewer wanted", func() { patch("pdb/web", `{"spec":{"minAvailable":1}}`) }, []string{`pod_disruption_budget_violations{name="web",namespace="watched"} 0`}, ""},
		{"none allowed", func() { patch("pdb/web", `{"spec":{"minAvailable":2}}`) }, []string{`pod_disruption_budget_violations{name="web",namespace="watched"} 1`}, ""},
		{"budget deleted", func() { c.Kubectl(t, "delete", "-n", ns, "pdb/web") }, []string{`!pod_disruption_budget_violations{name="web",namespace="watched"}`}, ""},
		{"privileged pod", func() {
			c.Apply(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad","namespace":"%s"},"spec":{"nodeSelector":{"type":"kwok"},"tolerations":[{"operator":"Exists"}],
"containers":[{"name":"c","image":"cluster.test/none:1","securityContext":{"privileged":true}}]}}`, ns))
		}, []string{security + `"live",namespace="watched"} 1`, security + `"dryrun",namespace="watched"} 0`}, ""},
		{"privileged pod deleted", func() { c.Kubectl(t, "delete", "-n", ns, "pod/bad", "--now") }, []string{security + `"live",namespace="watched"} 0`}, ""},
		{"privileged template", func() {
			c.Apply(t, fmt.Sprintf(`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"bad","namespace":"%s"},"spec":{"schedule":"0 0 1 1 *","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never",
"containers":[{"name":"c","image":"cluster.test/none:1","securityContext":{"privileged":true}}]}}}}}}`, ns))
		}, []string{security + `"dryrun",namespace="watched"} 1`}, ""},
		{"privileged template deleted", func() { c.Kubectl(t, "delete", "-n", ns, "cronjob/bad") }, []string{security + `"dryrun",namespace="watched"} 0`}, ""},
		{"autoscaler", func() {
			c.Apply(t, fmt.Sprintf("apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web, namespace: %s}\nspec: {minReplicas: 3, maxReplicas: 8, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n", ns))
		}, []string{`autoscaler_recommendations{container="",kind="HorizontalPodAutoscaler",name="web",namespace="watched",resource="replicas"} 3`}, ""},
		{"scales up", func() { patch("hpa/web", `{"spec":{"minReplicas":5}}`) }, []string{
			scaled + `"up",name="web",namespace="watched"} 1`, scaled + `"down",name="web",namespace="watched"} 0`,
			`autoscaler_recommendations{container="",kind="HorizontalPodAutoscaler",name="web",namespace="watched",resource="replicas"} 5`,
		}, ""},
		{"scales down", func() { patch("hpa/web", `{"spec":{"minReplicas":1,"maxReplicas":2}}`) }, []string{
			scaled + `"down",name="web",namespace="watched"} 1`, `helmproof_hpa_direction_changes_total{name="web",namespace="watched"} 1`,
		}, ""},
		{"autoscaler deleted", func() {
			c.Kubectl(t, "delete", "-n", ns, "hpa/web")
			c.Kubectl(t, "scale", "-n", ns, "deployment/web", "--replicas=2")
		}, []string{"!" + scaled + `"up",name="web",namespace="watched"}`}, ""},
		{"secret that is synchronised", func() {
			c.Apply(t, fmt.Sprintf("apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db, namespace: %s}\nspec: {refreshInterval: 15m, secretStoreRef: {name: vault, kind: SecretStore}, data: [{secretKey: a, remoteRef: {key: a}}]}\n", ns))
			status("externalsecret/db", `{"status":{"refreshTime":"2026-11-29T12:00:00Z","conditions":[{"type":"Ready","status":"True"}]}}`)
		}, []string{`helmproof_external_secret_ready{name="db",namespace="watched"} 1`, `helmproof_external_secret_refresh_interval_seconds{name="db",namespace="watched"} 900`}, ""},
		{"secret that fails", func() {
			status("externalsecret/db", `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`)
		}, []string{`helmproof_external_secret_ready{name="db",namespace="watched"} 0`}, ""},
		{"secret that is synchronised again, later", func() {
			status("externalsecret/db", `{"status":{"refreshTime":"2026-11-29T13:00:00Z","conditions":[{"type":"Ready","status":"True"}]}}`)
		}, []string{"helmproof_external_secret_ready" + secret + "1"}, "helmproof_external_secret_refresh_timestamp_seconds" + secret},
		{"secret of another interval", func() { patch("externalsecret/db", `{"spec":{"refreshInterval":"30m"}}`) }, []string{"helmproof_external_secret_refresh_interval_seconds" + secret + "1800"}, ""},
		{"secret that fails again", func() {
			status("externalsecret/db", `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`)
		}, []string{"helmproof_external_secret_ready" + secret + "0"}, ""},
		{"recommendation", func() {
			c.Apply(t, fmt.Sprintf("apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\nmetadata: {name: web, namespace: %s}\nspec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n", ns))
			status("verticalpodautoscaler/web", `{"status":{"recommendation":{"containerRecommendations":[{"containerName":"main","target":{"cpu":"250m","memory":"64Mi"}}]}}}`)
		}, []string{`autoscaler_recommendations{container="main",kind="VerticalPodAutoscaler",name="web",namespace="watched",resource="cpu"} 0.25`}, ""},
		{"another recommendation", func() {
			status("verticalpodautoscaler/web", `{"status":{"recommendation":{"containerRecommendations":[{"containerName":"main","target":{"cpu":"500m","memory":"64Mi"}}]}}}`)
		}, []string{vpa + "0.5"}, ""},
		{"recommendation taken away", func() { c.Kubectl(t, "delete", "-n", ns, "verticalpodautoscaler/web") }, []string{"!" + vpa}, ""},
		{"evidence that fails", func() { e.collectPinned("web", ns, false) }, []string{verdict + `"FAIL"} 1`, verdict + `"PASS"} 0`, `!helmproof_waiver_expiry_timestamp_seconds{`}, "helmproof_watch_series "},
		{"the same, waived", func() { e.collectPinned("web", ns, true) }, []string{verdict + `"FAIL"} 0`, verdict + `"PASS"} 1`, `helmproof_waiver_expiry_timestamp_seconds{*control="IMG-1",` + pinned}, "helmproof_evidence_timestamp_seconds{" + pinned},
		{"not waived any more", func() { e.collectPinned("web", ns, false) }, []string{verdict + `"FAIL"} 1`, verdict + `"PASS"} 0`, `!helmproof_waiver_expiry_timestamp_seconds{`}, ""},
		{"a drill that fails", func() { e.drill("eviction", true, time.Now().Add(-2*time.Hour)) }, []string{"chaos_test_failures_total" + drilled + "1", "helmproof_drill_passed" + drilled + "0"}, ""},
		{"a drill that passes", func() { e.drill("eviction", false, time.Now().Add(-time.Hour)) }, []string{"chaos_test_failures_total" + drilled + "1", "helmproof_drill_passed" + drilled + "1"}, "helmproof_drill_timestamp_seconds" + drilled},
		{"an upgrade", upgrade, []string{missing + `"web"} 1`}, ""},
		{"evidence of the upgrade", func() { e.collect("web", ns, "--profile", "live") }, []string{missing + `"web"} 0`}, ""},
		{"evidence of the other release", func() { e.collect("bare", ns, "--profile", "live") }, []string{missing + `"bare"} 0`, missing + `"web"} 0`}, ""},
		{"evidence that is damaged", func() {
			if err := os.MkdirAll(filepath.Join(e.repo, "bundles", strings.Repeat("ab", 32)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(e.repo, "bundles", strings.Repeat("ab", 32), "evidence.zip"), []byte("no zip"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{`helmproof_evidence_unverifiable{reason="unreadable"} 1`, missing + `"web"} 0`}, ""},
		{"damage taken away", func() {
			if err := os.RemoveAll(filepath.Join(e.repo, "bundles", strings.Repeat("ab", 32))); err != nil {
				t.Fatal(err)
			}
		}, []string{`helmproof_evidence_unverifiable{reason="unreadable"} 0`}, ""},
	} {
		var before float64
		if step.grows != "" {
			before = a.value(step.grows)
		}
		step.do()
		a.eventually(step.what, step.want...)
		if step.grows != "" {
			eventually(t, 40*time.Second, step.what, func() bool { return a.value(step.grows) > before })
		}
	}

	// The API server cannot be reached: the values stay, and nobody takes over.
	stay := []string{"helmproof_watch_leader 1", missing + `"web"} 0`, missing + `"bare"} 0`, `helmproof_external_secret_ready{name="db",namespace="watched"} 0`, `helmproof_verdict{chart="small"`}
	proxy.cut()
	a.eventually("the API server is away", append(stay, apiUp+"0", `helmproof_watch_up{source="repository"} 1`)...)
	const lastRead = `helmproof_watch_last_success_timestamp_seconds{source="api"}`
	before := a.value(lastRead)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Second) { // longer than the Lease
		if not := a.missing(append(stay, apiUp+"0")); not != "" {
			t.Fatalf("while the API server is away: not as wanted: %s", not)
		}
	}
	if after := a.value(lastRead); after != before {
		t.Errorf("the API server was read at %.0f, and is away since %.0f", after, before)
	}
	if not := b.missing([]string{"helmproof_watch_leader 0", apiUp + "0"}); not != "" {
		t.Errorf("the second watch, while the API server is away: not as wanted: %s", not)
	}
	proxy.open(t)
	first := leads(t, "one leads again", a, b)
	first.eventually("the API server is back", stay...)
	eventually(t, 40*time.Second, "the API server to be read again", func() bool { return first.value(lastRead) > before })
	other := b
	if first == b {
		other = a
	}

	// The leader is killed.
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.done
	other.eventually("the leader was killed", append(stay, apiUp+"1")...)
	again := startWatch(t, bin, env, args...)
	again.eventually("a new watch follows", "helmproof_watch_leader 0", apiUp+"1")

	// The leader is told to end: it gives the Lease back, so that the other leads at once.
	began := time.Now()
	if err := other.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-other.done; err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %s to end", d)
	}
	if holder := c.Kubectl(t, "get", "lease", "helmproof-watch", "-n", "helmproof", "-o", "jsonpath={.spec.holderIdentity}"); holder == "" {
		t.Log("the Lease is free")
	}
	again.eventually("the leader was told to end", stay...)

	// With --once, by the rights of the account, and without those to read releases.
	once := func(want int, lines ...string) {
		t.Helper()
		cmd := exec.Command(bin, "watch", "--once", "--kubeconfig", file)
		cmd.Env = append(cmd.Environ(), env...)
		out, err := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("--once: exit code %d: %v", code, err)
		}
		for _, l := range lines {
			if !strings.Contains("\n"+string(out), "\n"+l) {
				t.Errorf("--once does not print %s", l)
			}
		}
	}
	const byName = `helmproof_release_compared_by_name{namespace="watched",release="web"} `
	once(0, missing+`"web"} 0`, byName+"0", apiUp+"1")
	c.Kubectl(t, "delete", "clusterrolebinding", "helmproof-watch-releases")
	once(0, missing+`"web"} 0`, byName+"1", apiUp+"1")
	c.Kubectl(t, "delete", "clusterrolebinding", "helmproof-watch")
	once(1, apiUp+"0", `helmproof_verdict{chart="small"`)

	// What is over the limit is left out, and counted.
	limited := exec.Command(bin, "watch", "--once", "--no-cluster", "--max-series", "4")
	limited.Env = append(limited.Environ(), env...)
	out, err := limited.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{"helmproof_watch_series 4", "helmproof_watch_series_limit 4", "helmproof_build_info{rules=\""} {
		if !strings.Contains("\n"+string(out), "\n"+l) {
			t.Errorf("--max-series 4 does not print %s", l)
		}
	}
	if !regexp.MustCompile(`(?m)^helmproof_watch_series_dropped\{metric="helmproof_evidence_timestamp_seconds"\} [1-9]`).Match(out) {
		t.Errorf("--max-series 4 does not say what it leaves out:\n%s", out)
	}
}
