package charts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence"
)

// version is a copy of the service chart with another version and appVersion.
func version(tb testing.TB, chartVersion, appVersion string) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.CopyFS(dir, os.DirFS(serviceDir)); err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(dir, "Chart.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	meta := values{}
	if err := yaml.Unmarshal(raw, &meta); err != nil {
		tb.Fatal(err)
	}
	meta["version"], meta["appVersion"] = chartVersion, appVersion
	if raw, err = yaml.Marshal(meta); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// theJob is the only Job that values of a chart render to.
func theJob(tb testing.TB, dir string, v values) unstructured.Unstructured {
	tb.Helper()
	rel, err := load(tb, dir, v)
	if err != nil {
		tb.Fatal(err)
	}
	var found []unstructured.Unstructured
	for _, o := range byName(tb, rel) {
		if o.GetKind() == "Job" {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		tb.Fatalf("%d Jobs", len(found))
	}
	return found[0]
}

// TestJobNames holds that two Jobs of one name have the same pods, which the API
// server lets nobody change, and that only what changes them makes a new Job,
// which runs once more: no version of the chart, no deadline, no label.
func TestJobNames(t *testing.T) {
	t.Parallel()
	base := "kind: Job"
	was := theJob(t, serviceDir, parse(t, base))
	next := version(t, "99.1.0+build", "99.0.0")
	for _, tt := range []struct {
		name, chart, values string
		same                bool
	}{
		{"version of the chart", next, base, true},
		{"deadline", serviceDir, "{kind: Job, job: {activeDeadlineSeconds: 7}}", true},
		{"retries", serviceDir, "{kind: Job, job: {backoffLimit: 9}}", true},
		{"time that it is kept", serviceDir, "{kind: Job, job: {ttlSecondsAfterFinished: 9}}", true},
		{"values that a Job does not read", serviceDir, "{kind: Job, replicaCount: 7, service: {port: 81}, ingress: {className: x}}", true},
		{"what it may connect to", serviceDir, "{kind: Job, networkPolicy: {egress: {dnsPort: 54}}}", true},
		{"arguments", serviceDir, "{kind: Job, args: [x]}", false},
		{"variables", serviceDir, "{kind: Job, env: {A: b}}", false},
		{"text of a file", serviceDir, "{kind: Job, config: {files: {/etc/a/b: x}}}", false},
		{"image", serviceDir, "{kind: Job, image: {digest: '" + digest + "'}}", false},
		{"number of pods", serviceDir, "{kind: Job, job: {completions: 2}}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			is := theJob(t, tt.chart, parse(t, tt.values))
			if same := is.GetName() == was.GetName(); same != tt.same {
				t.Errorf("%s, before %s: same %v, want %v", is.GetName(), was.GetName(), same, tt.same)
			}
			if is.GetName() != was.GetName() {
				return
			}
			if d := cmp.Diff(at(was.Object, "spec", "template"), at(is.Object, "spec", "template")); d != "" {
				t.Errorf("the upgrade would be refused, since the template changed (-before +after):\n%s", d)
			}
		})
	}
	if ttl := at(was.Object, "spec", "ttlSecondsAfterFinished"); ttl != nil {
		t.Errorf("the finished Job is removed after %v s, and made again by the next upgrade", ttl)
	}
}

// TestJobPods holds the digest of a Job's pods. Where it changes, every Job of
// every release runs once more with the next version of the chart: say so in the
// upgrade notes of its README, and then here.
func TestJobPods(t *testing.T) {
	t.Parallel()
	got := theJob(t, passThrough(t), values{"spec": parse(t, spec+"kind: Job\n")})
	if want := "any-cc8fe7d1"; got.GetName() != want {
		t.Errorf("the pods of Jobs are other ones than before: %s, want %s", got.GetName(), want)
	}
}

// TestSidecarOfJob holds that a sidecar of what ends has probes where they are
// given, and is asked for none.
func TestSidecarOfJob(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"kind: Job", "{kind: CronJob, cron: {schedule: '5 4 * * *'}}"} {
		rel, err := load(t, serviceDir, overlay(parse(t, kind), parse(t, "sidecars: [{name: proxy, port: 9000, probes: {startup: {type: tcp}}, "+someImage+", "+someResources+"}]")))
		if err != nil {
			t.Fatal(err)
		}
		if _, verdict := judge(t, rel); verdict.Outcome != evidence.VerdictPass {
			t.Errorf("%s: %s: %s", kind, verdict.Outcome, verdict.Reason)
		}
	}
}

// TestHooks holds that a hook's Job keeps its name, and that whatever it needs is
// a hook of the same events that is made before it and shared with nobody.
func TestHooks(t *testing.T) {
	t.Parallel()
	v := `
fullnameOverride: shop
config: {env: {A: b}, files: {/etc/a/b: x}}
externalSecret: {enabled: true, store: {name: s}, env: [{name: B, key: k}]}
workloads:
  web: {}
  migrate: {kind: Job, hook: {by: BY, weight: 5}}
`
	for _, tt := range []struct {
		by, hook, weight, remove, event, deletes string
	}{
		{"helm", "helm.sh/hook", "helm.sh/hook-weight", "helm.sh/hook-delete-policy", "pre-install,pre-upgrade", "before-hook-creation"},
		{"argocd", "argocd.argoproj.io/hook", "argocd.argoproj.io/sync-wave", "argocd.argoproj.io/hook-delete-policy", "PreSync", "BeforeHookCreation"},
	} {
		t.Run(tt.by, func(t *testing.T) {
			t.Parallel()
			got := objects(t, parse(t, strings.Replace(v, "BY", tt.by, 1)))
			n := 0
			for name, o := range got {
				a := o.GetAnnotations()
				if !strings.HasPrefix(o.GetName(), "shop-migrate") {
					if a[tt.hook] != "" {
						t.Errorf("%s is a hook", name)
					}
					continue
				}
				n++
				want, deletes := "-5", tt.deletes
				if o.GetKind() == "Job" {
					want = "5"
					if ttl := at(o.Object, "spec", "ttlSecondsAfterFinished"); fmt.Sprint(ttl) != "86400" {
						t.Errorf("the Job stays for %v seconds after it has finished", ttl)
					}
				} else if tt.by == "helm" { // no uninstallation removes them
					deletes += ",hook-succeeded"
				}
				if a[tt.hook] != tt.event || a[tt.weight] != want || a[tt.remove] != deletes {
					t.Errorf("%s: %v", name, a)
				}
			}
			if n != 6 { // Job, account, policy, two ConfigMaps, ExternalSecret
				t.Errorf("%d hooks in %v", n, names(got))
			}
			pod := at(got["Job/shop-migrate"].Object, "spec", "template", "spec", "containers", 0)
			if ref := at(pod, "envFrom", 0, "configMapRef", "name"); ref != "shop-migrate" {
				t.Errorf("the hook reads ConfigMap %v, which may not be there yet", ref)
			}
			if ref := at(pod, "env", 0, "valueFrom", "secretKeyRef", "name"); ref != "shop-migrate" {
				t.Errorf("the hook reads Secret %v, which may not be there yet", ref)
			}
		})
	}
}

// TestSyncWaves holds that what workloads need is in a wave before theirs, and
// what they share before the first.
func TestSyncWaves(t *testing.T) {
	t.Parallel()
	got := objects(t, parse(t, `
fullnameOverride: shop
config: {env: {A: b}}
workloads:
  migrate: {kind: Job, syncWave: -3}
  web: {syncWave: 2}
  rest: {}
`))
	wave := func(name string) string {
		o := got[name]
		return o.GetAnnotations()["argocd.argoproj.io/sync-wave"]
	}
	for name, want := range map[string]string{
		"Deployment/shop-web": "2", "ServiceAccount/shop-web": "-8", "NetworkPolicy/shop-migrate": "-13",
		"ConfigMap/shop": "-13", "Deployment/shop-rest": "", "ServiceAccount/shop-rest": "",
	} {
		if _, there := got[name]; !there || wave(name) != want {
			t.Errorf("%s (there: %v) is in wave %q, want %q", name, there, wave(name), want)
		}
	}
}
