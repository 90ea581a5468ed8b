package charts

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
)

// objects are what values of the service chart render to, by "Kind/name".
func objects(tb testing.TB, v values) map[string]unstructured.Unstructured {
	tb.Helper()
	rel, err := load(tb, serviceDir, v)
	if err != nil {
		tb.Fatal(err)
	}
	return byName(tb, rel)
}

func byName(tb testing.TB, rel *chart.Release) map[string]unstructured.Unstructured {
	tb.Helper()
	set, err := rel.Objects()
	if err != nil {
		tb.Fatal(err)
	}
	out := map[string]unstructured.Unstructured{}
	for i := range set.Objects {
		o := &set.Objects[i]
		out[o.GetKind()+"/"+o.GetName()] = unstructured.Unstructured{Object: o.Object}
	}
	return out
}

func names(m map[string]unstructured.Unstructured) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// at reads a path of maps (string) and lists (int); nil where there is none.
func at(o any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := o.(map[string]any)
			o = m[p]
		case int:
			l, _ := o.([]any)
			if p >= len(l) {
				return nil
			}
			o = l[p]
		}
	}
	return o
}

// TestWorkloads holds that each workload has the shared values with its own laid
// over them, down to empty lists, and that what one selects no other does.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	got := objects(t, parse(t, `
fullnameOverride: shop
env: {LEVEL: info, REGION: eu}
autoscaling: {enabled: false}
workloads:
  web: {env: {LEVEL: debug}, replicaCount: 4}
  worker: {port: 0, writableDirectories: [], service: {enabled: false}, probes: {startup: {type: exec, command: [a]}, readiness: {type: exec, command: [b]}, liveness: {type: exec, command: [c]}}}
  report: {kind: CronJob, cron: {schedule: '5 4 * * *'}}
  gone: null
`))
	want := []string{
		"CronJob/shop-report", "Deployment/shop-web", "Deployment/shop-worker",
		"NetworkPolicy/shop-report", "NetworkPolicy/shop-web", "NetworkPolicy/shop-worker",
		"PodDisruptionBudget/shop-web", "PodDisruptionBudget/shop-worker", "Service/shop-web",
		"ServiceAccount/shop-report", "ServiceAccount/shop-web", "ServiceAccount/shop-worker",
	}
	if d := cmp.Diff(want, names(got)); d != "" {
		t.Fatalf("objects (-want +got):\n%s", d)
	}
	web, worker := got["Deployment/shop-web"].Object, got["Deployment/shop-worker"].Object
	container := []any{"spec", "template", "spec", "containers", 0}
	if d := cmp.Diff([]any{
		map[string]any{"name": "LEVEL", "value": "debug"}, map[string]any{"name": "REGION", "value": "eu"},
	}, at(web, append(container, "env")...)); d != "" {
		t.Errorf("web's variables (-want +got):\n%s", d)
	}
	if d := cmp.Diff("info", at(worker, append(container, "env", 0, "value")...)); d != "" {
		t.Errorf("worker's LEVEL (-want +got):\n%s", d)
	}
	if m := at(worker, append(container, "volumeMounts")...); m != nil {
		t.Errorf("worker's empty list of directories did not replace the shared one: %v", m)
	}
	if n := at(web, "spec", "replicas"); n != int64(4) {
		t.Errorf("web has %v replicas", n)
	}
	for name, o := range got {
		if o.GetKind() != "Deployment" && o.GetKind() != "PodDisruptionBudget" {
			continue
		}
		if c, _, err := unstructured.NestedString(o.Object, "spec", "selector", "matchLabels", "app.kubernetes.io/component"); err != nil || "shop-"+c != o.GetName() {
			t.Errorf("%s selects component %q (%v)", name, c, err)
		}
	}
}

// TestShared holds that workloads share the ConfigMaps, Secrets and claims that
// are said once, and that one with its own shares none.
func TestShared(t *testing.T) {
	t.Parallel()
	got := objects(t, parse(t, `
fullnameOverride: shop
autoscaling: {enabled: false}
config: {env: {A: b}, files: {/etc/a/b: x}}
externalSecret: {enabled: true, store: {name: s}, env: [{name: B, key: k}], files: [{path: /s/k, key: k}]}
volumeClaims: [{name: media, path: /media, size: 1Gi, accessMode: ReadWriteMany}]
workloads:
  one: {}
  two: {}
  own: {config: {env: {A: c}}, volumeClaims: []}
`))
	for name, there := range map[string]bool{
		"ConfigMap/shop": true, "ConfigMap/shop-files": true, "ExternalSecret/shop": true, "PersistentVolumeClaim/shop-media": true,
		"ConfigMap/shop-one": false, "ConfigMap/shop-two": false, "ExternalSecret/shop-own": false, "PersistentVolumeClaim/shop-two-media": false,
		"ConfigMap/shop-own": true, "ConfigMap/shop-own-files": true, "PersistentVolumeClaim/shop-own-media": false,
	} {
		if _, is := got[name]; is != there {
			t.Errorf("%s is there: %v, want %v", name, is, there)
		}
	}
	if c := got["ConfigMap/shop"]; c.GetLabels()["app.kubernetes.io/component"] != "" {
		t.Errorf("what is shared has the labels of one: %v", c.GetLabels())
	}
	sum := func(name string) any {
		return at(got[name].Object, "spec", "template", "metadata", "annotations", "checksum/config")
	}
	if sum("Deployment/shop-one") == nil || sum("Deployment/shop-one") != sum("Deployment/shop-two") || sum("Deployment/shop-one") == sum("Deployment/shop-own") {
		t.Error("the checksums are not those of what the workloads read")
	}
	for workload, config := range map[string]string{"one": "shop", "two": "shop", "own": "shop-own"} {
		pod := at(got["Deployment/shop-"+workload].Object, "spec", "template", "spec")
		if ref := at(pod, "containers", 0, "envFrom", 0, "configMapRef", "name"); ref != config {
			t.Errorf("%s reads %v, want %s", workload, ref, config)
		}
	}
}

// TestRecreate holds that a Deployment whose claim is for one pod is replaced,
// and one whose claim is for many is rolled; a claim outlives the release.
func TestRecreate(t *testing.T) {
	t.Parallel()
	got := objects(t, parse(t, `
fullnameOverride: shop
autoscaling: {enabled: false}
workloads:
  one: {replicaCount: 1, singleReplicaReason: it writes to one file, volumeClaims: [{name: data, path: /data, size: 1Gi}]}
  many: {volumeClaims: [{name: data, path: /data, size: 1Gi, accessMode: ReadWriteMany}]}
  there: {replicaCount: 1, singleReplicaReason: it writes to one file, volumeClaims: [{name: data, path: /data, existingClaim: old}]}
`))
	for name, want := range map[string]string{"one": "Recreate", "many": "RollingUpdate", "there": "Recreate"} {
		if is := at(got["Deployment/shop-"+name].Object, "spec", "strategy", "type"); is != want {
			t.Errorf("%s: strategy %v, want %s", name, is, want)
		}
	}
	claim, there := got["PersistentVolumeClaim/shop-one-data"]
	if !there || claim.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
		t.Errorf("the claim (there: %v) goes with the release: %v", there, claim.GetAnnotations())
	}
	if is := at(got["Deployment/shop-there"].Object, "spec", "template", "spec", "volumes", 0, "persistentVolumeClaim", "claimName"); is != "old" && at(got["Deployment/shop-there"].Object, "spec", "template", "spec", "volumes", 1, "persistentVolumeClaim", "claimName") != "old" {
		t.Errorf("the existing claim is not mounted: %v", is)
	}
}

// TestContainers holds that variables and files reach the containers that are
// named, and no others.
func TestContainers(t *testing.T) {
	t.Parallel()
	image := "image: {repository: registry.example.com/p, digest: '" + digest + "'}, resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}"
	got := objects(t, parse(t, `
fullnameOverride: shop
initContainers: [{name: prepare, `+image+`}]
sidecars: [{name: proxy, `+someProbes+`, `+image+`}]
writableDirectories: []
config:
  containers: [main, prepare]
  env: {A: b}
  files: {/etc/a/b: x, /etc/proxy/p.yaml: {text: why, containers: [proxy]}}
externalSecret:
  enabled: true
  store: {name: s}
  env: [{name: B, key: k, containers: [prepare]}]
  files: [{path: /s/k, key: k, containers: [proxy, main]}]
  dataFrom: [{key: all, path: /all, env: {C: c}, containers: [proxy]}]
serviceAccount: {tokens: [{audience: a, path: /t/a}, {audience: b, path: /t/b}]}
`))
	pod := at(got["Deployment/shop"].Object, "spec", "template", "spec")
	for _, tt := range []struct {
		container           any
		paths, env, envFrom []string
		in                  string
		index               int
	}{
		{"main", []string{"/etc/a/b", "/s", "/t"}, nil, []string{"shop"}, "containers", 0},
		{"proxy", []string{"/all", "/etc/proxy/p.yaml", "/s"}, []string{"C"}, nil, "initContainers", 0},
		{"prepare", []string{"/etc/a/b"}, []string{"B"}, []string{"shop"}, "initContainers", 1},
	} {
		c := at(pod, tt.in, tt.index)
		strs := func(list string, path ...any) []string {
			l, _ := at(c, list).([]any)
			var out []string
			for _, e := range l {
				s, _ := at(e, path...).(string)
				out = append(out, s)
			}
			slices.Sort(out)
			return out
		}
		for what, d := range map[string]string{
			"mounts":    cmp.Diff(tt.paths, strs("volumeMounts", "mountPath")),
			"variables": cmp.Diff(tt.env, strs("env", "name")),
			"envFrom":   cmp.Diff(tt.envFrom, strs("envFrom", "configMapRef", "name")),
		} {
			if d != "" {
				t.Errorf("%s: %s (-want +got):\n%s", tt.container, what, d)
			}
		}
	}
	if all := got["ExternalSecret/shop-all-0"].Object; at(all, "spec", "dataFrom", 0, "extract", "key") != "all" {
		t.Errorf("the whole entry is not extracted: %v", all)
	}
}

// TestDisk holds that directories are counted as the kubelet counts them: those of
// one name once, those in memory not at all, against the limits of all containers
// that serve, and where there is a limit.
func TestDisk(t *testing.T) {
	t.Parallel()
	dir := passThrough(t)
	for v, want := range map[string]string{
		"{writableDirectories: [{path: /a, sizeLimit: 1Gi}]}":                                                                                            "",
		"{writableDirectories: [{path: /a, sizeLimit: 1Gi}], resources: {limits: {ephemeral-storage: 1Gi}}}":                                             "",
		"{writableDirectories: [{path: /a, sizeLimit: 1Gi}], resources: {limits: {ephemeral-storage: 1G}}}":                                              "may hold 1024Mi together, and resources.limits.ephemeral-storage is 953Mi",
		"{writableDirectories: [{path: /a, sizeLimit: 1Gi}, {path: /m, sizeLimit: 1Gi, medium: Memory}], resources: {limits: {ephemeral-storage: 1Gi}}}": "",
		"{writableDirectories: [{name: x, path: /a, sizeLimit: 1Gi}], resources: {limits: {ephemeral-storage: 1Gi}}, initContainers: [{name: i, " + someImage + ", " + someResources + ", writableDirectories: [{name: x, path: /a, sizeLimit: 1Gi}]}]}": "",
		"{writableDirectories: [{path: /a, sizeLimit: 1Gi}], resources: {limits: {ephemeral-storage: 1Gi}}, initContainers: [{name: i, " + someImage + ", " + someResources + ", writableDirectories: [{path: /a, sizeLimit: 1Mi}]}]}":                   "may hold 1025Mi together",
	} {
		_, err := load(t, dir, values{"spec": overlay(parse(t, spec), parse(t, v))})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", v, err, want)
		}
	}
	sidecar := "sidecars: [{name: p, " + someImage + ", port: 9000, probes: {startup: {type: tcp}, readiness: {type: http, path: /}, liveness: {type: tcp}}, resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi, ephemeral-storage: 300Mi}}}]"
	if _, err := load(t, serviceDir, parse(t, "{writableDirectories: [{path: /a, sizeLimit: 500Mi}], "+sidecar+"}")); err != nil {
		t.Errorf("the limits of two containers: %v", err)
	}
}

// TestSecretTypes holds that Secrets for pulling and for TLS have the type that
// Kubernetes asks for, are named where they are used, and come from the store
// (control SCR-2), and that templates stay the operator's to render.
func TestSecretTypes(t *testing.T) {
	t.Parallel()
	v := parse(t, `
fullnameOverride: shop
ingress: {enabled: true, className: nginx, host: a.example.com}
externalSecret:
  enabled: true
  store: {name: s}
  data: [{name: user, key: db, property: user}]
  files: [{path: /s/url, template: 'db://{{ .user }}'}]
  pull: [{key: registry}]
  tls: {key: cert}
`)
	got := objects(t, v)
	for name, want := range map[string]string{"shop-pull-0": "kubernetes.io/dockerconfigjson", "shop-tls": "kubernetes.io/tls"} {
		if is := at(got["ExternalSecret/"+name].Object, "spec", "target", "template", "type"); is != want {
			t.Errorf("%s: type %v, want %s", name, is, want)
		}
	}
	if is := at(got["Deployment/shop"].Object, "spec", "template", "spec", "imagePullSecrets", 0, "name"); is != "shop-pull-0" {
		t.Errorf("pulled with %v", is)
	}
	if is := at(got["Ingress/shop"].Object, "spec", "tls", 0, "secretName"); is != "shop-tls" {
		t.Errorf("served with %v", is)
	}
	if is := at(got["ExternalSecret/shop"].Object, "spec", "target", "template", "data", "s.url"); is != "db://{{ .user }}" {
		t.Errorf("template %v", is)
	}
	rel, err := load(t, serviceDir, v)
	if err != nil {
		t.Fatal(err)
	}
	if _, verdict := judge(t, rel); verdict.Outcome != evidence.VerdictPass {
		t.Errorf("%s: %s", verdict.Outcome, verdict.Reason)
	}
}

// TestNodeAgent holds that an agent has of its node what is declared, read-only,
// shows why, and fails the controls that say so: it is no way around them. Profile
// node-agent takes the reason, of observation alone.
func TestNodeAgent(t *testing.T) {
	t.Parallel()
	rel, err := load(t, serviceDir, parse(t, `
fullnameOverride: agent
kind: DaemonSet
nodeAgent:
  reason: it reads what the kernel says of the node
  hostNetwork: true
  hostPaths: [{path: /proc, mountPath: /host/proc, reason: counters of the kernel}]
`))
	if err != nil {
		t.Fatal(err)
	}
	tpl := at(byName(t, rel)["DaemonSet/agent"].Object, "spec", "template")
	if is := at(tpl, "metadata", "annotations", "helmproof.companyos.github.io/node-agent-reason"); is != "it reads what the kernel says of the node" {
		t.Errorf("reason %v", is)
	}
	mounts, _ := at(tpl, "spec", "containers", 0, "volumeMounts").([]any)
	if !slices.ContainsFunc(mounts, func(m any) bool {
		return at(m, "mountPath") == "/host/proc" && at(m, "readOnly") == true && at(m, "recursiveReadOnly") == "IfPossible"
	}) {
		t.Errorf("mounts %v", mounts)
	}
	found, verdict := judge(t, rel)
	if verdict.Outcome != evidence.VerdictFail {
		t.Errorf("verdict %s", verdict.Outcome)
	}
	failed := map[evidence.ControlID]bool{}
	for _, f := range found {
		if f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable {
			for _, c := range f.Controls {
				failed[c] = true
			}
		}
	}
	if d := cmp.Diff(map[evidence.ControlID]bool{"SEC-1": true, "SEC-7": true}, failed); d != "" {
		t.Errorf("controls that fail (-want +got):\n%s", d)
	}
	for v, want := range map[string]evidence.VerdictOutcome{
		"{hostNetwork: true, hostPaths: [{path: /proc, reason: counters of the kernel}]}": evidence.VerdictPass,
		"{hostPaths: [{path: /var/log, reason: logs of the node}]}":                       evidence.VerdictPass,
		"{hostPaths: [{path: /var/lib/kubelet, reason: pods of the node}]}":               evidence.VerdictFail,
		"{hostPaths: [{path: /run/x.sock, type: Socket, reason: it asks the runtime}]}":   evidence.VerdictFail,
		"{hostPID: true}": evidence.VerdictFail,
	} {
		rel, err := load(t, serviceDir, overlay(parse(t, "{kind: DaemonSet, nodeAgent: {reason: it reads what the kernel says of the node}}"), values{"nodeAgent": map[string]any(parse(t, v))}))
		if err != nil {
			t.Fatal(err)
		}
		if _, verdict := judgeBy(t, rel, "node-agent"); verdict.Outcome != want {
			t.Errorf("%s: %s: %s", v, verdict.Outcome, verdict.Reason)
		}
	}
}

// TestUpgradeFrom02 holds that the values of chart 0.2 still render and pass, and
// that every object keeps the name and selector that 0.2 gave it (objects.txt,
// rendered by 0.2), so that an upgrade changes it in place. A Job's name is its own
// version, and changes.
func TestUpgradeFrom02(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/v0.2/objects.txt")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/v0.2/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("only %d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			v := readValues(t, file)
			// What 0.2 took and this version does not says what to write.
			if sidecars, _ := v["sidecars"].([]any); len(sidecars) > 0 {
				if _, err := load(t, serviceDir, v); err == nil || !strings.Contains(err.Error(), "sidecars[0].probes.readiness is missing") {
					t.Errorf("a sidecar without probes: %v", err)
				}
				v["sidecars"] = []any{overlay(sidecars[0].(map[string]any), parse(t, "probes: {readiness: {type: http, path: /ready}, liveness: {type: tcp}}"))}
			}
			rel, err := load(t, serviceDir, v)
			if err != nil {
				t.Fatal(err)
			}
			if _, verdict := judge(t, rel); verdict.Outcome != evidence.VerdictPass {
				t.Errorf("%s: %s", verdict.Outcome, verdict.Reason)
			}
			is := map[string]bool{}
			for name, o := range byName(t, rel) {
				is[fmt.Sprint(filepath.Base(file), " ", name, " ", at(o.Object, "spec", "selector", "matchLabels"))] = true
			}
			n := 0
			for line := range strings.Lines(string(raw)) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, filepath.Base(file)+" ") {
					n++
					if !is[line] {
						t.Errorf("0.2 made %s, this version none", line)
					}
				}
			}
			if n == 0 {
				t.Error("no object of 0.2 to compare with")
			}
		})
	}
}

// TestTemplates holds that templates in strings are rendered where that is asked
// for, in lists and files too, and not those that the operator renders; without
// asking, they are text.
func TestTemplates(t *testing.T) {
	t.Parallel()
	v := `
fullnameOverride: shop
args: ['--name={{ .Release.Name }}']
config: {files: {/etc/a/b: "{{ .Values.partOf }}\n"}}
partOf: whole
externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k}], files: [{path: /s/a, template: '{{ .A }}'}]}
extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: extra}, data: {who: '{{ .Release.Namespace }}'}}]
`
	for _, tt := range []struct {
		on              string
		arg, file, data string
	}{
		{"tpl: true", "--name=service", "whole\n", "default"},
		{"tpl: false", "--name={{ .Release.Name }}", "{{ .Values.partOf }}\n", "{{ .Release.Namespace }}"},
	} {
		got := objects(t, parse(t, v+tt.on))
		for _, e := range []struct {
			what string
			want string
			is   any
		}{
			{"argument", tt.arg, at(got["Deployment/shop"].Object, "spec", "template", "spec", "containers", 0, "args", 0)},
			{"file", tt.file, at(got["ConfigMap/shop-files"].Object, "data", "etc.a.b")},
			{"extra object", tt.data, at(got["ConfigMap/extra"].Object, "data", "who")},
			{"operator's template", "{{ .A }}", at(got["ExternalSecret/shop"].Object, "spec", "target", "template", "data", "s.a")},
		} {
			if e.is != e.want {
				t.Errorf("%s: %s is %q, want %q", tt.on, e.what, e.is, e.want)
			}
		}
	}
}

// TestExtraObjects holds that extra objects are judged like all others: what one
// of them breaks fails.
func TestExtraObjects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		object string
		want   evidence.Outcome
	}{
		{"{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {a: b}}", evidence.OutcomePass},
		{"{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: x}, rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]}", evidence.OutcomeFail},
	} {
		rel, err := load(t, serviceDir, parse(t, "extraObjects: ["+tt.object+"]"))
		if err != nil {
			t.Fatal(err)
		}
		found, _ := judge(t, rel)
		worst := evidence.OutcomePass
		for _, f := range found {
			if slices.Contains(f.Controls, "RBC-1") && f.Outcome == evidence.OutcomeFail {
				worst = f.Outcome
			}
		}
		if worst != tt.want {
			t.Errorf("%s: %s, want %s", tt.object, worst, tt.want)
		}
	}
}
