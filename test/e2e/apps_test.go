package e2e

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/companyos/helmproof/test/kube"
)

// app is one of the applications of charts/service/examples, as it is installed
// here: its values with what must be replaced, upgraded to another version of the
// chart with a changed value, rolled back, and uninstalled.
type app struct {
	name string // examples/app-NAME.yaml
	// replaced is laid over the example. All have another image and smaller requests;
	// where the example relies on the entry point of its image, command is that of the
	// image here, which serves the ports that it is told.
	replaced string
	changed  string // and that over it with the upgrade
	// What the change comes to: the output of show in a pod of the component has old
	// before and after, and now in between.
	component, old, now string
	show                []string
	// rolls are the workloads whose pods the change replaces, and the upgrade of the chart too.
	rolls []string
	// jobs are how often Jobs of that name were made after the installation, the upgrade and the rollback.
	jobs map[string][3]int
	cron string // a CronJob to run once
}

var apps = []app{
	{
		name: "static-site", rolls: []string{"Deployment/app-service"},
		replaced: `command: [/serve, "8787"]`,
		changed:  `env: {SERVER_CACHE_CONTROL_HEADERS: false}`,
		show:     []string{"env"}, old: "SERVER_PORT=8787", now: "SERVER_CACHE_CONTROL_HEADERS=false",
	},
	{
		name: "spring", rolls: []string{"Deployment/app-service"},
		replaced: `command: [/serve, "8080", "8081"]`,
		changed:  "config: {files: {/etc/kafka-ui/application.yaml: 'kafka.clusters: [{name: invoices}]'}}",
		show:     []string{"cat", "/etc/kafka-ui/application.yaml"}, old: "name: orders", now: "name: invoices",
	},
	{
		// And a Job that reads what changes: each change makes it anew, the way back too.
		name: "worker-beat", rolls: []string{"Deployment/superset-web", "Deployment/superset-worker", "Deployment/superset-beat"},
		replaced:  "workloads: {init: {kind: Job, args: [exec superset init]}}",
		changed:   `config: {env: {REDIS_URL: "redis://redis:6379/7"}}`,
		component: "worker", show: []string{"env"}, old: "6379/0", now: "6379/7",
		cron: "superset-cache", jobs: map[string][3]int{"cron-now": {1, 1, 1}, "superset-init": {1, 2, 3}},
	},
	{
		name: "grpc", rolls: []string{"Deployment/app-service"},
		replaced: `command: [/serve, "4317", "13133"]`,
		changed:  "config: {files: {/etc/collector/config.yaml: 'processors: {batch: {timeout: 5s}}'}}",
		show:     []string{"cat", "/etc/collector/config.yaml"}, old: "otlp", now: "timeout: 5s",
	},
	{
		// Two members, since there are two nodes and each wants one of its own; what
		// answers here speaks no TLS.
		name: "database", rolls: []string{"StatefulSet/cockroach"},
		replaced: `{replicaCount: 2, nodeSelector: {real: "true"}, probes: {readiness: {scheme: HTTP}, liveness: {scheme: HTTP}}}`,
		changed:  `env: {GODEBUG: madvdontneed=1}`,
		// The file on the claim has a line for each start.
		show: []string{"sh", "-c", "cat /cockroach/cockroach-data/starts; env"}, old: "GOMAXPROCS=", now: "GODEBUG=madvdontneed=1",
	},
	{
		name: "migration", rolls: []string{"Deployment/miniflux-web"},
		changed:   `env: {LOG_LEVEL: debug}`,
		component: "web", show: []string{"env"}, old: "RUN_MIGRATIONS=0", now: "LOG_LEVEL=debug",
		jobs: map[string][3]int{"miniflux-migrate": {1, 2, 2}},
	},
	{
		// On the real nodes: on simulated ones nothing runs.
		name: "node-agent", rolls: []string{"DaemonSet/otel-agent"},
		replaced: `{command: [/serve, "4317", "13133"], nodeSelector: {real: "true"}}`,
		changed:  "config: {files: {/etc/otelcol/agent.yaml: 'processors: {batch: {timeout: 5s}}'}}",
		show:     []string{"cat", "/etc/otelcol/agent.yaml"}, old: "otel-gateway", now: "timeout: 5s",
	},
	{
		name: "four-hosts", rolls: []string{"Deployment/app-service"},
		replaced: `command: [/serve, "8080", "8081"]`,
		changed:  "config: {files: {/etc/nginx/conf.d/partners.conf: 'server { listen 8081; return 503; }'}}",
		show:     []string{"cat", "/etc/nginx/conf.d/partners.conf"}, old: "proxy_pass", now: "return 503",
	},
	{
		// The Job ends well only if the proxy answers before it starts.
		name: "sidecar", rolls: []string{"Deployment/hydra-web"},
		replaced:  `workloads: {web: {command: [/serve, "4444"]}, tables: {command: [/bin/sh, -c, "wget -qO- http://127.0.0.1:9801/readiness"]}}`,
		changed:   "workloads: {web: {config: {files: {/etc/hydra/hydra.yaml: 'urls: {login: \"https://other.example.com\"}'}}}}",
		component: "web", show: []string{"cat", "/etc/hydra/hydra.yaml"}, old: "login.example.com", now: "other.example.com",
		jobs: map[string][3]int{"hydra-tables": {1, 1, 1}},
	},
	{
		name: "workload-identity", rolls: []string{"Deployment/app-service"},
		replaced: `command: [/serve, "10902"]`,
		changed:  "config: {files: {/etc/thanos/bucket.yaml: 'config: {bucket: other-metrics}'}}",
		show:     []string{"cat", "/etc/thanos/bucket.yaml"}, old: "example-metrics", now: "other-metrics",
	},
}

// appPrograms are what the examples call in their images, around a shell and a
// program that serves.
var appPrograms = map[string]string{
	// PORT… and then whatever the real program is told.
	"serve": `while [ $# -gt 0 ]; do case $1 in [0-9]*) /testpod serve ":$1" & shift ;; *) break ;; esac; done
trap 'exit 0' TERM
wait`,
	"cockroach/cockroach": `echo started >>/cockroach/cockroach-data/starts && test -s /cockroach/certs/node.key || exit 1
exec /serve 8080 26257`,
	"usr/bin/miniflux": `test -s "$DATABASE_URL_FILE" || exit 1
if [ "$1" = -migrate ]; then exit 0; fi
exec /serve 8080`,
	"usr/bin/run-server.sh": `test -n "$SUPERSET_SECRET_KEY" || exit 1
exec /serve "$SUPERSET_PORT"`,
	"bin/celery": `case "$*" in
*" inspect "*) exec test -e /tmp/worker ;;
*" worker "*) echo $$ >/tmp/worker ;;
*" beat "*) echo $$ >/tmp/beat.pid ;;
esac
exec /testpod wait`,
	"bin/python":   "exit 0",
	"bin/superset": `test -s /var/run/secrets/superset/database-url`,
}

// TestApps: ten applications on charts/service, by their examples, on real nodes
// and in namespaces that enforce restricted. Helm installs them, upgrades them to
// a new version of the chart with a changed value, rolls them back and uninstalls
// them; the API server warns of nothing.
func TestApps(t *testing.T) {
	t.Parallel()
	c := needCluster(t, kube.TierC)
	box := c.Busybox()
	if box == "" {
		t.Skip("no static busybox")
	}
	examples, err := filepath.Glob("../../charts/service/examples/app-*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// What reaches into its node runs in a namespace that is not restricted.
	tested := map[string]bool{"../../charts/service/examples/app-node-exporter.yaml": true}
	for _, a := range apps {
		tested["../../charts/service/examples/app-"+a.name+".yaml"] = true
	}
	if got := slices.Sorted(maps.Keys(tested)); !slices.Equal(got, examples) {
		t.Fatalf("the examples are %v, and tested are %v", examples, got)
	}
	installCRDs(t, c.Cluster)
	image := appImage(t, c, box)
	appVolumes(t, c)
	hearsWarnings(t, c)
	// All at once: they wait for the cluster, not for a processor as parallel tests do.
	var all sync.WaitGroup
	for _, a := range apps {
		all.Go(func() { t.Run(a.name, func(t *testing.T) { a.live(t, c, image) }) })
	}
	all.Wait()
}

// live takes the application through its life.
func (a app) live(t *testing.T, c *testCluster, image map[string]any) {
	r := newAppRun(t, c, a, image)
	began := time.Now()
	step := func(name string) {
		t.Logf("%-10s %.1f s", name, time.Since(began).Seconds())
		began = time.Now()
	}
	r.install(t)
	first := r.settled(t)
	r.shows(t, first, 1, a.old, a.now)
	if a.cron != "" {
		r.runOnce(t, a.cron)
	}
	r.made(t, 0)
	step("installed")

	r.upgrade(t)
	second := r.settled(t)
	r.shows(t, second, 2, a.now, "")
	r.made(t, 1)
	var rolled []string
	for name, w := range second.workloads {
		was, there := first.workloads[name]
		switch {
		case !there || w.uid != was.uid:
			t.Errorf("%s was made anew by the upgrade", name)
		case w.template != was.template && w.revision != was.revision:
			rolled = append(rolled, name)
		case w.template != was.template || w.revision != was.revision:
			t.Errorf("%s: its template changed: %v, its pods were replaced: %v", name, w.template != was.template, w.revision != was.revision)
		}
		if !strings.Contains(w.template, newChartVersion) {
			t.Errorf("%s: its pods are not those of the new version of the chart: %s", name, w.template)
		}
	}
	slices.Sort(rolled)
	if want := slices.Sorted(slices.Values(a.rolls)); !slices.Equal(rolled, want) {
		t.Errorf("the change replaced the pods of %v, want of %v", rolled, want)
	}
	if !maps.Equal(first.claims, second.claims) {
		t.Errorf("the upgrade changed the claims: %v, then %v", first.claims, second.claims)
	}

	step("upgraded")

	r.rollback(t)
	third := r.settled(t)
	r.shows(t, third, 3, a.old, a.now)
	r.made(t, 2)
	if !maps.Equal(first.workloads, third.workloads) {
		t.Errorf("after the rollback the workloads are not what they were:\n%v\nthen\n%v", first.workloads, third.workloads)
	}
	if !maps.Equal(first.claims, third.claims) {
		t.Errorf("the rollback changed the claims: %v, then %v", first.claims, third.claims)
	}
	step("back")

	r.uninstall(t, first.claims)
	step("gone")
	if said := r.warnings.all(); len(said) > 0 {
		t.Errorf("the API server warns: %v", said)
	}
}
