package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/chaos"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/pipeline"
)

// TestReadinessOfCluster answers items about a release and its cluster by evidence that
// commands collected: done, then with nodes that differ, then with evidence that is too
// old, then for a release whose evidence names no cluster.
func TestReadinessOfCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	good := map[string][]byte{"a": benchtest.Log(benchOutput(t, "PASS", "PASS"), 0, ""), "b": benchtest.Log(benchOutput(t, "PASS", "PASS"), 0, "")}
	bad := b.server.Log
	b.server.Log = func(node string, _ int) []byte { return good[node] }
	checklist := filepath.Join(b.dir, "checklist.yaml")
	if err := os.WriteFile(checklist, []byte(`{name: own, title: Own, items: [
  {id: charts, title: Charts, controls: [CHT-1, CHT-3, SEC-1], get: helmproof collect CHART},
  {id: cis, title: CIS, controls: [CIS-2, CIS-3], maxAge: 24h, get: helmproof collect --cluster}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(want int, more ...string) string {
		t.Helper()
		return b.run(want, append([]string{"readiness", "service", "--checklist", checklist}, more...)...)
	}
	holds := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q is not in\n%s", w, text)
			}
		}
	}
	chart := filepath.Join("..", "..", "charts", "service")
	b.run(exitPass, "collect", chart, "--kubeconfig", b.conf)
	holds(ask(exitVerdict), "DONE          charts", "MISSING       cis", "CIS-3: incomplete", "get it: helmproof collect --cluster")
	b.run(exitVerdict, "collect", "--cluster", "--kubeconfig", b.conf, "--kube-bench-image", benchImage)
	holds(ask(exitPass), "DONE          cis", "CIS-3: pass", "● READY")
	holds(ask(exitVerdict, "--at", "2999-01-01T00:00:00Z"), "CIS-3: incomplete", "old, the limit is")
	b.server.Log = bad
	b.run(exitVerdict, "collect", "--cluster", "--kubeconfig", b.conf, "--kube-bench-image", benchImage)
	holds(ask(exitVerdict, "--format", "md"), "- [x] **Charts**", "- [ ] **CIS**", "CIS-3: missing, fail")
	b.run(exitPass, "collect", chart, "-n", "other")
	holds(ask(exitVerdict, "-n", "other"), "in namespace other", "names no cluster to match")
}

// readyKinds are what a cluster serves besides goldenKinds when every controller is there.
const readyKinds = `apps/v1 DaemonSet
admissionregistration.k8s.io/v1 MutatingWebhookConfiguration!
apiregistration.k8s.io/v1 APIService!
apiextensions.k8s.io/v1 CustomResourceDefinition!
discovery.k8s.io/v1 EndpointSlice
metrics.k8s.io/v1beta1 Node!`

// readyObjects are External Secrets and the metrics API at work, and what needs them.
// @{now} is the time.
const readyObjects = `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop, pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: latest, pod-security.kubernetes.io/warn: restricted}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: externalsecrets.external-secrets.io}
status: {conditions: [{type: Established, status: "True"}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: secretstores.external-secrets.io}
status: {conditions: [{type: Established, status: "True"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator, namespace: eso}
spec: {replicas: 1, selector: {matchLabels: {app: eso}}, template: {metadata: {labels: {app: eso}}, spec: {containers: [{name: main, image: "registry.example.com/external-secrets:1"}]}}}
status: {readyReplicas: 1}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: vault, namespace: shop}
status: {conditions: [{type: Ready, status: "True"}]}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db, namespace: shop}
spec: {refreshInterval: 1h}
status: {refreshTime: "@{now}", conditions: [{type: Ready, status: "True"}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec: {group: metrics.k8s.io, version: v1beta1, service: {namespace: kube-system, name: metrics-server}}
status: {conditions: [{type: Available, status: "True", reason: Passed, message: all checks passed}]}
---
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec: {selector: {app: metrics}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics-server-1, namespace: kube-system, labels: {kubernetes.io/service-name: metrics-server}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.9], conditions: {ready: true}}]
---
apiVersion: metrics.k8s.io/v1beta1
kind: Node
metadata: {name: a}
timestamp: "@{now}"
window: 10s
---
apiVersion: metrics.k8s.io/v1beta1
kind: Node
metadata: {name: b}
timestamp: "@{now}"
window: 10s
---
apiVersion: metrics.k8s.io/v1beta1
kind: Node
metadata: {name: cp}
timestamp: "@{now}"
window: 10s
`

// readyBench is a repository, made by commands, in which the built-in checklist is done
// for the release shop of charts/service.
type readyBench struct {
	t                *testing.T
	dir, repo, chart string
	team             string // whose evidence counts; empty: team
	cluster          *goldenCluster
}

func (b *readyBench) path(name string) string { return filepath.Join(b.dir, name) }

// run runs a command with the keys and roles of the test.
func (b *readyBench) run(want int, args ...string) string {
	b.t.Helper()
	args = append(args, "--repo", b.repo)
	switch args[0] {
	case "collect":
		args = append(args, "--key", b.path("team.key"), "--kubeconfig", b.path("kubeconfig"), "--formats", "md", "-q")
	case "readiness", "attest":
		if args[1] != "withdraw" {
			args = append(args, "--trust", b.path(cmp.Or(b.team, "team")+".pub"))
		}
		args = append(args, "--role-key", "security="+b.path("ada.pub"), "--role-key", "sre="+b.path("sam.pub"))
	}
	var out, errs bytes.Buffer
	if code := run(b.t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != want && (want != anyVerdict || code != exitPass && code != exitVerdict) {
		b.t.Fatalf("%v: exit code %d, want %d\n%s%s", args, code, want, out.String(), errs.String())
	}
	return out.String()
}

// anyVerdict stands for the exit codes of a command that sealed evidence.
const anyVerdict = -1

func (b *readyBench) collectChart() {
	b.t.Helper()
	b.run(anyVerdict, "collect", b.chart, "-n", "shop", "--release-name", "shop", "--set", "fullnameOverride=web")
}

func (b *readyBench) collectCluster() {
	b.t.Helper()
	b.run(anyVerdict, "collect", "--cluster", "--kube-bench-image", benchImage, "--waivers", b.path("waivers.yaml"))
}

// put makes objects part of the cluster.
func (b *readyBench) put(text string) {
	b.t.Helper()
	set, err := manifest.Parse([]byte(strings.ReplaceAll(text, "@{now}", time.Now().UTC().Format(time.RFC3339))))
	must(b.t, err)
	for i := range set.Objects {
		b.cluster.put(set.Objects[i].Object, "")
	}
}

// drill seals a made-up record of a drill of the release that collectChart renders.
func (b *readyBench) drill(e drill.Experiment, ago time.Duration, badly bool) {
	b.t.Helper()
	d := drilltest.New(e)
	began := time.Now().UTC().Add(-ago).Truncate(time.Second)
	d.Shift(began.Sub(d.End.Began))
	if badly {
		d.Fail(10, 16, "refused")
	}
	rules, err := pipeline.LoadRules(pipeline.RulesOptions{Profile: "drill"})
	must(b.t, err)
	rules, err = rules.ForDrill(e)
	must(b.t, err)
	rel, err := chart.Load(b.t.Context(), b.chart, chart.LoadOptions{ReleaseName: "shop", Namespace: "shop", KubeVersion: "v1.34.1", Set: []string{"fullnameOverride=web"}})
	must(b.t, err)
	b.t.Cleanup(func() { must(b.t, rel.Close()) })
	asked := 0
	p := &pipeline.Pipeline{
		Rules: rules, Tool: tool(), Formats: []string{"md"}, Log: newUserLog(io.Discard),
		Now:     func() time.Time { asked++; return began.Add(time.Duration(asked-1) * time.Minute) },
		Cluster: &cluster.Cluster{Info: cluster.Info{Fingerprint: "0c1a5be0-0000-4000-8000-000000000001", Version: "v1.34.1", Platform: "kubernetes", Nodes: []cluster.Node{}}},
	}
	p.Repo, err = pipeline.OpenRepository(b.t.Context(), b.repo)
	must(b.t, err)
	p.Signer, err = pipeline.OpenSigner(b.t.Context(), b.path("team.key"), "", func() ([]byte, error) { return []byte{}, nil })
	must(b.t, err)
	_, err = p.DrillBy(b.t.Context(), rel, recorded{chaos.New(chaos.Options{}), d.Files(chaos.Name)})
	must(b.t, err)
}

func newReadyBench(t *testing.T) *readyBench {
	t.Helper()
	b := &readyBench{t: t, dir: t.TempDir()}
	b.repo, b.chart = b.path("repo"), b.path("chart")
	must(t, os.CopyFS(b.chart, os.DirFS(filepath.Join("..", "..", "charts", "service"))))
	etcd, err := os.ReadFile(filepath.Join("..", "..", "collectors", "kubebench", "testdata", "etcd.json"))
	must(t, err)
	b.cluster = newGoldenCluster(t, false, etcd)
	b.cluster.serves(readyKinds)
	for _, f := range []string{"architecture", "runbook", "training"} {
		writeFiles(t, b.dir, map[string]string{"docs/" + f + ".md": "# " + f + "\n"})
	}
	must(t, os.WriteFile(b.path("kubeconfig"), b.cluster.Kubeconfig(), 0o600))
	for _, key := range []string{"team", "ada", "sam"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"keygen", b.path(key)}, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != exitPass {
			t.Fatal(errs.String())
		}
	}
	g := &golden{t: t, cluster: b.cluster}
	g.objects(filepath.Join("..", "..", "charts", "platform", "files", "policies", "*.yaml"))
	for p, o := range b.cluster.objects {
		if strings.Contains(p, "/validatingadmissionpolicies/") { // as the API server completes it
			match := o["spec"].(dict)["matchConstraints"].(dict)
			match["namespaceSelector"], match["objectSelector"], match["matchPolicy"] = dict{}, dict{}, "Equivalent"
			for _, r := range match["resourceRules"].([]any) {
				r.(dict)["scope"] = "*"
			}
		}
	}
	b.put(readyObjects)
	b.benchmark("PASS", "PASS")
	// What kube-bench leaves to be judged by hand.
	writeFiles(t, b.dir, map[string]string{"waivers.yaml": fmt.Sprintf("waivers:\n  - {control: CIS-1, target: {rule: kubebench/policies}, reason: the parts by hand were read, approvedBy: ada@example.com, expiresAt: %q}\n",
		time.Now().Add(30*24*time.Hour).UTC().Format(time.RFC3339))})
	return b
}

// benchmark says how the checks of the workers come out: the control plane's hold.
func (b *readyBench) benchmark(statuses ...string) {
	raw, err := json.Marshal([]any{benchTarget("1", "master", "PASS"), benchTarget("2", "etcd", "PASS"), benchTarget("3", "controlplane", "PASS"), benchTarget("4", "node", statuses...)})
	must(b.t, err)
	worker := benchtest.Log(benchOutput(b.t, statuses...), 0, "")
	b.cluster.Log = func(node string, _ int) []byte {
		if node == "cp" {
			return benchtest.Log(raw, 0, "")
		}
		return worker
	}
}

// attest signs about a document, and returns the id of what was signed.
func (b *readyBench) attest(role, key, file string, more ...string) string {
	b.t.Helper()
	var out struct{ Review struct{ ID string } }
	args := append([]string{"attest", b.path(file), "--role", role, "--key", b.path(key + ".key"), "-o", "json"}, more...)
	must(b.t, json.Unmarshal([]byte(b.run(exitPass, args...)), &out))
	return out.Review.ID
}

func (b *readyBench) withdraw(id, key string) {
	b.t.Helper()
	b.run(exitPass, "attest", "withdraw", id, "--reason", "the wrong file", "--key", b.path(key+".key"))
}

func (b *readyBench) drills(ago time.Duration) {
	b.t.Helper()
	for _, e := range []drill.Experiment{drill.PodKill, drill.Eviction, drill.NodeDrain} {
		b.drill(e, ago, false)
	}
}

// deleted takes an object of readyObjects out of the cluster until the row is over.
func (b *readyBench) deleted(apiVersion, kind, namespace, name string) {
	b.t.Helper()
	b.put(fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {namespace: %q, name: %s}\ndeleted: true\n", apiVersion, kind, namespace, name))
	b.t.Cleanup(func() { b.put(readyObjects) })
}

// TestReadinessEveryItem answers the built-in checklist by what commands made: with
// everything done, and with each item missing in turn, for its reason and with the
// command that gets it.
func TestReadinessEveryItem(t *testing.T) {
	t.Parallel()
	b := newReadyBench(t)
	b.collectChart()
	b.collectCluster()
	reviews := map[string]string{}
	for role, key := range map[string]string{"security": "ada", "sre": "sam"} {
		for _, f := range []string{"architecture", "runbook"} {
			reviews[role+" "+f] = b.attest(role, key, "docs/"+f+".md", "--reason", "read it all")
		}
	}
	reviews["training"] = b.attest("sre", "sam", "docs/training.md", "--completed", "ann", "--completed", "bob")
	undrilled, done := b.repo, b.path("done")
	must(t, os.CopyFS(done, os.DirFS(undrilled)))
	b.repo = done
	b.drills(time.Hour)

	stale := []string{"--at", time.Now().Add(200 * time.Hour).UTC().Format(time.RFC3339)}
	for name, tt := range map[string]struct {
		from    string              // the repository; empty: done
		change  func(b *readyBench) // nil: nothing
		ask     []string
		code    int
		missing []string // items
		want    []string
	}{
		"everything": {code: exitPass, want: []string{
			"DONE          charts", "ADM-1: pass", "CIS-1: waived", "CIS-3: pass", "RSL-2: pass", "controllers/external-secrets: pass", "controllers/resource-metrics: pass", "8 of 8 items done",
		}},
		"a chart without a schema": {
			change: func(b *readyBench) {
				must(b.t, os.Remove(filepath.Join(b.chart, "values.schema.json")))
				b.collectChart()
			},
			code: exitVerdict, missing: []string{"charts"}, want: []string{"CHT-2: fail", "what mends it: Add a values.schema.json", "get it: helmproof collect --release shop -n shop"},
		},
		"a node that fails the benchmark": {
			change: func(b *readyBench) {
				b.benchmark("PASS", "FAIL")
				b.t.Cleanup(func() { b.benchmark("PASS", "PASS") })
				b.collectCluster()
			},
			code: exitVerdict, missing: []string{"cis"}, want: []string{"CIS-1: fail", "get it: helmproof collect --cluster --kube-bench-image"},
		},
		"what is judged by hand, without a waiver": {
			change: func(b *readyBench) {
				b.run(anyVerdict, "collect", "--cluster", "--kube-bench-image", benchImage)
			},
			code: exitVerdict, missing: []string{"cis"}, want: []string{"CIS-1: incomplete: 1 check could not be made", "one that must be judged by hand needs a waiver"},
		},
		"a namespace that enforces less": {
			change: func(b *readyBench) {
				b.deleted("v1", "Namespace", "", "shop")
				b.put("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: baseline}}\n")
				b.collectChart()
			},
			code: exitVerdict, missing: []string{"pod-security"}, want: []string{"ADM-1: fail", "what mends it: Label the namespace"},
		},
		"no drill": {
			from: undrilled, code: exitVerdict, missing: []string{"drills"},
			want: []string{"RSL-1: incomplete: no evidence of chaos/pod-kill", "get it: helmproof drill --suite release --release shop -n shop"},
		},
		"drills of two months ago": {
			from: undrilled, change: func(b *readyBench) { b.drills(1500 * time.Hour) },
			code: exitVerdict, missing: []string{"drills"}, want: []string{"RSL-1: incomplete", "the limit is 744h"},
		},
		"a drill beyond the error budget": {
			change: func(b *readyBench) { b.drill(drill.Eviction, time.Minute, true) },
			code:   exitVerdict, missing: []string{"drills"}, want: []string{"RSL-1: fail", "what mends it: Raise the replicas"},
		},
		"drills of another chart": {
			from: undrilled, change: func(b *readyBench) {
				good := b.chart
				b.chart = b.path("other")
				must(b.t, os.CopyFS(b.chart, os.DirFS(good)))
				must(b.t, os.WriteFile(filepath.Join(b.chart, "templates", "more.yaml"), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n"), 0o600))
				b.drills(time.Hour)
			},
			code: exitVerdict, missing: []string{"drills"}, want: []string{"RSL-1: incomplete", "left out"},
		},
		"no operator of External Secrets": {
			change: func(b *readyBench) { b.deleted("apps/v1", "Deployment", "eso", "operator"); b.collectCluster() },
			code:   exitVerdict, missing: []string{"controllers"}, want: []string{"ADM-6: fail", "controllers/external-secrets: fail"},
		},
		"no metrics API, and nothing needs it": {
			change: func(b *readyBench) {
				b.deleted("autoscaling/v2", "HorizontalPodAutoscaler", "shop", "web")
				b.deleted("apiregistration.k8s.io/v1", "APIService", "", "v1beta1.metrics.k8s.io")
				b.collectCluster()
			},
			code: exitVerdict, missing: []string{"controllers"}, want: []string{"controllers/resource-metrics: not-applicable"},
		},
		"admission policies out of force": {
			change: func(b *readyBench) {
				kept := maps.Clone(b.cluster.objects)
				b.t.Cleanup(func() { b.cluster.objects = kept })
				maps.DeleteFunc(b.cluster.objects, func(p string, _ dict) bool { return strings.Contains(p, "/validatingadmissionpolicybindings/") })
				b.collectCluster()
			},
			code: exitVerdict, missing: []string{"controllers"}, want: []string{"ADM-4: fail", "what mends it: Install the policy"},
		},
		"a review that Security withdrew": {
			change: func(b *readyBench) { b.withdraw(reviews["security runbook"], "ada") },
			code:   exitVerdict, missing: []string{"reviewed-by-security"}, want: []string{"no review by security counts", "does not count: withdrawn 20", "docs/runbook.md --role security --reason TEXT"},
		},
		"withdrawn, and reviewed again": {
			change: func(b *readyBench) {
				b.withdraw(reviews["sre runbook"], "sam")
				b.attest("sre", "sam", "docs/runbook.md", "--reason", "now read it all")
			},
			code: exitPass, want: []string{"now read it all", "does not count: withdrawn 20"},
		},
		"a withdrawal that was taken away": {
			change: func(b *readyBench) {
				b.withdraw(reviews["sre runbook"], "sam")
				b.takeAway("runbook", reviews["sre runbook"], reviews["security runbook"])
			},
			code: exitIntegrity, missing: []string{"reviewed-by-sre"}, want: []string{"UNVERIFIABLE  reviewed-by-sre", "which is gone or altered"},
		},
		"a document that SRE did not read as it is": {
			change: func(b *readyBench) {
				writeFiles(b.t, b.dir, map[string]string{"docs/runbook.md": "# other\n"})
				b.t.Cleanup(func() { writeFiles(t, b.dir, map[string]string{"docs/runbook.md": "# runbook\n"}) })
			},
			code: exitVerdict, missing: []string{"reviewed-by-security", "reviewed-by-sre"}, want: []string{"not reviewed by security as it is", "not reviewed by sre as it is"},
		},
		"a training that was withdrawn": {
			change: func(b *readyBench) { b.withdraw(reviews["training"], "sam") },
			code:   exitVerdict, missing: []string{"training"}, want: []string{"recorded by sre for 0 of 2 people", "does not count: withdrawn 20", "--completed PERSON"},
		},
		"a week later": {
			ask: stale, code: exitVerdict, missing: []string{"charts", "cis", "pod-security", "controllers"}, want: []string{"CHT-1: incomplete", "CIS-1: incomplete", "SEC-1: incomplete", "ADM-4: incomplete", "the limit is 168h"},
		},
		"evidence by a key that is not trusted": {
			ask: []string{"--trust-ada"}, code: exitIntegrity, missing: []string{"charts", "cis", "pod-security", "drills", "controllers"}, want: []string{"UNVERIFIABLE  charts"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			row := *b
			row.t, row.repo = t, filepath.Join(t.TempDir(), "repo")
			from := tt.from
			if from == "" {
				from = done
			}
			must(t, os.CopyFS(row.repo, os.DirFS(from)))
			row.chart = filepath.Join(t.TempDir(), "chart")
			must(t, os.CopyFS(row.chart, os.DirFS(b.chart)))
			if tt.change != nil {
				tt.change(&row)
			}
			ask := append([]string{"readiness", "shop", "-n", "shop", "--documents", b.dir}, tt.ask...)
			if slices.Equal(tt.ask, []string{"--trust-ada"}) {
				ask, row.team = ask[:len(ask)-1], "ada"
			}
			text := strings.ReplaceAll(row.run(tt.code, ask...), "\\\n", " ")
			for _, want := range tt.want {
				if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(want), " ")) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
			for _, it := range []string{"charts", "cis", "pod-security", "drills", "controllers", "reviewed-by-security", "reviewed-by-sre", "training"} {
				if isDone := regexp.MustCompile(`(?m)DONE +` + it + `:`).MatchString(text); isDone == slices.Contains(tt.missing, it) {
					t.Errorf("%s is done: %v\n%s", it, isDone, text)
				}
			}
		})
	}
}

// takeAway removes what lies with a document and is none of these.
func (b *readyBench) takeAway(document string, but ...string) {
	b.t.Helper()
	dir := filepath.Join(b.repo, "reviews", evidence.DigestOf([]byte("# "+document+"\n")).Hex())
	gone := 0
	for _, name := range dirNames(b.t, dir) {
		if strings.HasSuffix(name, ".json") && !slices.ContainsFunc(but, func(id string) bool { return strings.HasPrefix("sha256:"+name, id) }) {
			must(b.t, os.Remove(filepath.Join(dir, name)))
			gone++
		}
	}
	if gone != 1 {
		b.t.Errorf("%d objects taken away, want the withdrawal", gone)
	}
}
