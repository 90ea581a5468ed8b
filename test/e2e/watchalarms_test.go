package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/test/kube"
	"github.com/companyos/helmproof/test/monitoring/promtest"
)

// throughProxy leads a kubeconfig through a proxy that can be cut.
func throughProxy(t *testing.T, file string) *tcpProxy {
	t.Helper()
	raw, err := os.ReadFile(file)
	var cfg map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := cfg["clusters"].([]any)[0].(map[string]any)["cluster"].(map[string]any)
	server, err := url.Parse(at["server"].(string))
	if err != nil {
		t.Fatal(err)
	}
	proxy := newTCPProxy(t, server.Host)
	at["server"] = "https://" + proxy.address
	if raw, err = json.Marshal(cfg); err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return proxy
}

// speed is how many times faster than in templates/monitoring alerts begin to fire, and
// end, while a test looks for wrong ones.
const speed = 5

func faster(t *testing.T, d string) string {
	t.Helper()
	if d == "" {
		return ""
	}
	long, err := time.ParseDuration(d)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%.0fs", long.Seconds()/speed)
}

// targets are the addresses that a Prometheus scrapes.
func targets(t *testing.T, dir string, list ...*watching) {
	t.Helper()
	var at []string
	for _, w := range list {
		at = append(at, strings.TrimPrefix(w.url, "http://"))
	}
	raw, err := json.Marshal([]any{map[string]any{"targets": at}})
	next := filepath.Join(dir, "next.json")
	if err = errors.Join(err, os.WriteFile(next, raw, 0o600)); err == nil {
		err = os.Rename(next, filepath.Join(dir, "targets.json"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

const scrapesTargets = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: helmproof
    honor_labels: true
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
`

// notHere are the metrics of others that the dashboards ask for, of which there may be no data.
var notHere = map[string]string{
	"kube_":      "kube-state-metrics does not run",
	"container_": "the kubelets are simulated",
}

// ofOthers is why there may be no data of an expression; empty: there has to be.
func ofOthers(expr string) string {
	for prefix, why := range notHere {
		if strings.Contains(expr, prefix) {
			return why
		}
	}
	return ""
}

// TestWatchAlarms: a real Prometheus scrapes helmproof watch with the rules of
// templates/monitoring. Evidence that grows stale fires and new evidence resolves it; each
// query of the dashboards has data; and neither an API server that is away for a minute,
// nor a leader that is killed, nor all of them, fires anything or loses a count.
func TestWatchAlarms(t *testing.T) {
	t.Parallel()
	promtest.Tool(t, "prometheus")
	c := kube.Start(t, kube.TierB)
	const ns = "alarmed"
	installCRDs(t, c)
	labelled(t, c, ns, "")
	if err := helmInstall(helmFor(t, c, ns, "secrets"), ns, "web", map[string]any{"replicas": 2}); err != nil {
		t.Fatal(err)
	}
	e := newEvidence(t, c, filepath.Join(t.TempDir(), "repo"))
	e.collectPinned("web", ns, true)
	e.drill("eviction", true, time.Now().Add(-2*time.Hour))
	e.drill("eviction", false, time.Now().Add(-time.Hour))
	c.Apply(t, fmt.Sprintf(`
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: %[1]s}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: %[1]s}
spec: {minReplicas: 2, maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db, namespace: %[1]s}
spec: {refreshInterval: 24h, secretStoreRef: {name: vault, kind: SecretStore}, data: [{secretKey: a, remoteRef: {key: a}}]}
---
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: web, namespace: %[1]s}
spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
`, ns))
	status := func(what, to string) {
		t.Helper()
		c.Kubectl(t, "patch", "-n", ns, what, "--subresource=status", "--type=merge", "-p", to)
	}
	status("externalsecret/db", fmt.Sprintf(`{"status":{"refreshTime":"%s","conditions":[{"type":"Ready","status":"True"}]}}`, time.Now().UTC().Format(time.RFC3339)))
	status("verticalpodautoscaler/web", `{"status":{"recommendation":{"containerRecommendations":[{"containerName":"main","target":{"cpu":"250m","memory":"64Mi"}}]}}}`)

	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(c.Kubectl(t, "config", "view", "--raw", "-o", "json")), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := throughProxy(t, kubeconfig)
	start := func() *watching {
		return startWatch(t, e.bin, e.env, "--leader-elect", "--lease-namespace", ns, "--kubeconfig", kubeconfig)
	}
	const apiUp = `helmproof_watch_up{source="api"} `
	stay := []string{
		"helmproof_watch_leader 1", `helmproof_evidence_missing{namespace="alarmed",release="web"} 0`, `pod_disruption_budget_violations{name="web",namespace="alarmed"} 0`,
		`helmproof_external_secret_ready{name="db",namespace="alarmed"} 1`, `chaos_test_failures_total{experiment="eviction",namespace="shop",target="Deployment/web"} 1`,
		`helmproof_drill_passed{experiment="eviction",namespace="shop",target="Deployment/web"} 1`, `helmproof_waiver_expiry_timestamp_seconds{chart="small",control="IMG-1"`,
		`autoscaler_recommendations{container="main",kind="VerticalPodAutoscaler",name="web",namespace="alarmed",resource="cpu"} 0.25`,
	}
	here := append(slices.Clone(stay), apiUp+"1")
	a := start()
	a.eventually("the first reading", here...)
	b := start()
	b.eventually("a second watch follows", "helmproof_watch_leader 0", apiUp+"1")

	// One Prometheus in which evidence grows old in seconds and nothing has to last, and
	// one with the rules as they are, but for how long something has to last.
	const stale = 30
	quick, real := t.TempDir(), t.TempDir()
	targets(t, quick, a, b)
	targets(t, real, a, b)
	promtest.ReadRules(t).Edit(t, filepath.Join(quick, "rules.yaml"), func(r *promtest.Rule) {
		r.For, r.KeepFiringFor = "", ""
		r.Expr = strings.NewReplacer("604800", fmt.Sprint(stale), "518400", fmt.Sprint(stale/2)).Replace(r.Expr)
	})
	promtest.ReadRules(t).Edit(t, filepath.Join(real, "rules.yaml"), func(r *promtest.Rule) {
		r.For, r.KeepFiringFor = faster(t, r.For), faster(t, r.KeepFiringFor)
		r.Expr = strings.ReplaceAll(r.Expr, "offset 10m", "offset 2m")
	})
	fast, steady := promtest.Start(t, quick, scrapesTargets), promtest.Start(t, real, scrapesTargets)

	isStale := func(ctx context.Context) (bool, error) {
		firing, err := fast.Firing(ctx)
		return slices.ContainsFunc(firing, func(a promtest.Alert) bool {
			return a.Labels["alertname"] == "HelmproofEvidenceStale" && a.Labels["severity"] == "critical" && a.Labels["namespace"] == ns && a.Labels["release"] == "web"
		}), err
	}
	fast.Until(t, func(ctx context.Context) error {
		yes, err := isStale(ctx)
		if err == nil && !yes {
			err = errors.New("evidence is old, and HelmproofEvidenceStale does not fire")
		}
		return err
	})
	e.collectPinned("web", ns, true)
	fast.Until(t, func(ctx context.Context) error {
		yes, err := isStale(ctx)
		if err == nil && yes {
			err = errors.New("there is new evidence, and HelmproofEvidenceStale fires")
		}
		return err
	})

	for where, expr := range promtest.DashboardQueries(t) {
		why := ofOthers(expr)
		fast.Until(t, func(ctx context.Context) error {
			series, err := fast.Query(ctx, expr)
			if err == nil && len(series) == 0 && why == "" {
				err = fmt.Errorf("%s: no data of %s", where, expr)
			}
			return err
		})
		if why != "" {
			t.Logf("%s may be empty: %s", where, why)
		}
	}

	proxy.cut()
	a.eventually("the API server is away", append(slices.Clone(stay), apiUp+"0", `helmproof_watch_up{source="repository"} 1`)...)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		if not := a.missing(append(stay, apiUp+"0")); not != "" {
			t.Fatalf("while the API server is away: not as wanted: %s", not)
		}
	}
	proxy.open(t)
	leader, other := leads(t, "one leads again", a, b), b
	if leader == b {
		other = a
	}
	leader.eventually("the API server is back", here...)

	kill := func(w *watching) {
		t.Helper()
		if err := w.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-w.done
	}
	kill(leader)
	other.eventually("the leader was killed", here...)
	third := start()
	targets(t, quick, other, third)
	targets(t, real, other, third)
	third.eventually("a new watch follows", "helmproof_watch_leader 0", apiUp+"1")
	kill(other)
	kill(third)
	last := start()
	targets(t, quick, last)
	targets(t, real, last)
	last.eventually("all were killed, and one began anew", here...)

	// What fired in the meantime is of other tests, if anything.
	steady.Until(t, func(ctx context.Context) error {
		up, err := steady.Query(ctx, `helmproof_watch_leader == 1`)
		if err == nil && len(up) != 1 {
			err = fmt.Errorf("%d leaders are seen", len(up))
		}
		return err
	})
	fired, err := steady.Query(t.Context(), `count_over_time(ALERTS{alertstate="firing"}[1h])`)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fired {
		switch f["alertname"] {
		case "HelmproofWatchDown", "HelmproofWatchNoLeader", "HelmproofSourceDown", "HelmproofSeriesDropped", "HelmproofEvidenceUnverifiable":
			t.Errorf("a wrong alarm: %v", f)
		default:
			if f["namespace"] == ns || f["namespace"] == "shop" {
				t.Errorf("a wrong alarm: %v", f)
			}
		}
	}
	// And it could have been heard: evidence that is damaged fires.
	if err := errors.Join(os.MkdirAll(filepath.Join(e.repo, "bundles", strings.Repeat("cd", 32)), 0o700), os.WriteFile(filepath.Join(e.repo, "bundles", strings.Repeat("cd", 32), "evidence.zip"), []byte("no zip"), 0o600)); err != nil {
		t.Fatal(err)
	}
	fast.Until(t, func(ctx context.Context) error {
		list, err := fast.Firing(ctx)
		if err == nil && !slices.ContainsFunc(list, func(a promtest.Alert) bool { return a.Labels["alertname"] == "HelmproofEvidenceUnverifiable" }) {
			err = errors.New("evidence that is damaged fires nothing")
		}
		return err
	})
}
