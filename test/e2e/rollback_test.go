package e2e

import (
	"cmp"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	helmkube "helm.sh/helm/v4/pkg/kube"
	releasecommon "helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/rollback"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

// rollbackTemplate serves HTTP from two pods. With needs, its pods need a Secret
// that the release does not hold; hook is the event of a Job, which does job.
const rollbackTemplate = `apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: 2
  strategy: {{ .Values.strategy | toJson }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      terminationGracePeriodSeconds: 2
      securityContext: {runAsNonRoot: true, runAsUser: 65532}
      containers:
        - name: main
          image: {{ .Values.image }}
          imagePullPolicy: IfNotPresent
          args: [serve, ":8080"]
          readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
          {{- if .Values.needs }}
          envFrom: [{secretRef: {name: {{ .Values.needs }}}}]
          {{- end }}
{{- if .Values.hook }}
---
apiVersion: batch/v1
kind: Job
metadata: {name: {{ .Release.Name }}-hook, annotations: {helm.sh/hook: {{ .Values.hook | quote }}}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, runAsUser: 65532}
      containers: [{name: main, image: "cluster.test/rollback:1", imagePullPolicy: IfNotPresent, args: {{ .Values.job | toJson }}}]
{{- end }}
`

// installForRollback installs the chart, waits until it is ready, and loads it.
func installForRollback(t *testing.T, c *testCluster, ns string, values map[string]any) (*cluster.Cluster, *chart.Release) {
	t.Helper()
	namespace(t, c.Cluster, ns, "privileged")
	c.Kubectl(t, "label", "namespace", ns, rollback.OptIn+"="+rollback.OptInValue)
	if needs, ok := values["needs"].(string); ok {
		c.Kubectl(t, "create", "secret", "generic", needs, "-n", ns, "--from-literal=a=b")
	}
	in := action.NewInstall(helmFor(t, c.Cluster, ns, "secrets"))
	in.ReleaseName, in.Namespace, in.WaitStrategy, in.Timeout = "web", ns, helmkube.StatusWatcherStrategy, 2*time.Minute
	if _, err := in.Run(rollbackChart(), values); err != nil {
		t.Fatalf("install: %v", err)
	}
	return loadForRollback(t, c, ns)
}

// rollbackChart has a subchart, which Helm does not store, and a value that differs
// with each rendering.
func rollbackChart() *chartv2.Chart {
	ch := &chartv2.Chart{
		Metadata:  &chartv2.Metadata{APIVersion: "v2", Name: "small", Version: "1.2.3", Type: "application", Dependencies: []*chartv2.Dependency{{Name: "lib", Version: "1"}}},
		Values:    map[string]any{"image": "cluster.test/rollback:1", "strategy": map[string]any{}, "needs": "", "hook": "", "job": []any{}},
		Templates: []*common.File{{Name: "templates/all.yaml", Data: []byte(rollbackTemplate)}},
	}
	ch.AddDependency(&chartv2.Chart{Metadata: &chartv2.Metadata{APIVersion: "v2", Name: "lib", Version: "1"}, Templates: []*common.File{
		{Name: "templates/config.yaml", Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-lib}\ndata: {random: {{ randAlphaNum 8 | quote }}}\n")},
	}})
	return ch
}

func loadForRollback(t *testing.T, c *testCluster, ns string) (*cluster.Cluster, *chart.Release) {
	t.Helper()
	cl, err := cluster.ConnectConfig(t.Context(), c.config)
	if err != nil {
		t.Fatal(err)
	}
	found, err := chart.FindRelease(t.Context(), cl, ns, "web")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v: %+v", err, found)
	}
	rel, err := chart.LoadStored(t.Context(), cl, found[0], chart.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rel.Close(); err != nil {
			t.Error(err)
		}
	})
	return cl, rel
}

// rollbackPlan is a drill of one fault, with a probe through the Service.
func rollbackPlan(t *testing.T, c *testCluster, ns, fault string, detect, back time.Duration) *drill.Plan {
	t.Helper()
	ip := c.Kubectl(t, "get", "service", "web", "-n", ns, "-o", "jsonpath={.spec.clusterIP}")
	p := &drill.Plan{
		Experiment: drill.Rollback, AllowNamespaces: []string{ns},
		SLO:      drill.SLO{Objective: 0.999, Window: evidence.Duration(time.Hour)},
		Probes:   []drill.Probe{{Name: "web", Kind: "http", Address: "http://" + ip + ":80/", Rate: 10, Timeout: evidence.Duration(2 * time.Second)}},
		Phases:   drill.Phases{Before: evidence.Duration(3 * time.Second), After: evidence.Duration(3 * time.Second), Recover: evidence.Duration(15 * time.Second)},
		Rollback: &drill.RollbackPlan{Fault: fault, Detect: evidence.Duration(detect), Back: evidence.Duration(back)},
	}
	p.Complete()
	return p
}

type rollbackFolder struct{ a *collectors.Artifacts }

func (f rollbackFolder) Write(name string, content []byte) error {
	_, err := f.a.Put(collectors.Artifact(rollback.Name, name), content)
	return err
}

// runRollback does a drill and derives its findings, by rule.
func runRollback(t *testing.T, cl *cluster.Cluster, rel *chart.Release, p *drill.Plan) (map[string][]evidence.Finding, rollback.Seen) {
	t.Helper()
	a := collectors.NewArtifacts(nil)
	info, err := json.Marshal(rel.Info)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Put(collectors.ReleaseFile, info); err != nil {
		t.Fatal(err)
	}
	c := rollback.New(rollback.Options{Plan: p, Progress: func(s string) { t.Log(s) }})
	if err := c.Collect(t.Context(), collectors.Input{Cluster: cl, Release: rel, Now: time.Now}, rollbackFolder{a}); err != nil {
		t.Fatal(err)
	}
	found, err := collectors.Findings(collectors.NewSealed(a, config.RuleControls()), c)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]evidence.Finding{}
	for _, f := range found {
		t.Logf("%s %s: %s", f.Rule, f.Outcome, f.Message)
		out[f.Rule] = append(out[f.Rule], f)
	}
	var seen rollback.Seen
	raw, err := a.Read(collectors.Artifact(rollback.Name, "rollback.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &seen); err != nil {
		t.Fatal(err)
	}
	return out, seen
}

// rollbackRights makes the namespace of the drills' Lease, and what templates/rbac
// has for them.
func rollbackRights(t *testing.T, c *testCluster) {
	t.Helper()
	c.Apply(t, string(rbac.Drill))
	c.Apply(t, string(rbac.Rollback))
}

// asDrill is the cluster as the ServiceAccount of templates/rbac sees it, bound to
// what a rollback in the namespace needs.
func asDrill(t *testing.T, c *testCluster, ns string) *cluster.Cluster {
	t.Helper()
	c.Kubectl(t, "create", "rolebinding", "helmproof-rollback", "-n", ns, "--clusterrole", "helmproof-rollback", "--serviceaccount", "helmproof:helmproof-drill")
	cfg := rest.AnonymousClientConfig(c.config)
	cfg.BearerToken = token(t, c, "helmproof", "helmproof-drill")
	cl, err := cluster.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func TestDrillRollback(t *testing.T) {
	c := needCluster(t, kube.TierC)
	if err := c.LoadImage(t.Context(), kube.Image{Ref: "cluster.test/rollback:1", Binary: c.TestPod()}); err != nil {
		t.Fatal(err)
	}
	rollbackRights(t, c)
	hard := map[string]any{"type": "Recreate"}
	for _, tt := range []struct {
		name, fault, remove string
		values              map[string]any
		want                map[string]string // rule: outcome and words
		status              string            // of the newest revision in the end
		broken              bool              // pods stay away afterwards
	}{
		{name: "image", fault: rollback.BadImage, want: map[string]string{
			rollback.RuleDetected: "pass Helm said after", rollback.RuleManifests: "pass revision 3, rolled back to 1 after 2 failed", rollback.RuleHealthy: "pass rolled back and ready",
			rollback.RuleBudget: "pass ", rollback.RuleHooks: "not-applicable no hook",
		}},
		{name: "readiness", fault: rollback.FailingReadiness, values: map[string]any{"hook": "pre-upgrade,pre-rollback,post-rollback", "job": []any{"echo", "migrated"}}, want: map[string]string{
			rollback.RuleDetected: "pass Helm said after", rollback.RuleManifests: "pass revision 3", rollback.RuleHealthy: "pass ", rollback.RuleBudget: "pass ",
			rollback.RuleHooks: "pass succeeded: Job/web-hook in the upgrade, Job/web-hook in the rollback",
		}},
		{name: "crash", fault: rollback.CrashLoop, want: map[string]string{
			rollback.RuleDetected: "pass Helm said after", rollback.RuleManifests: "pass revision 3", rollback.RuleHealthy: "pass ", rollback.RuleBudget: "pass ", rollback.RuleHooks: "not-applicable ",
		}},
		{name: "hopeless", fault: rollback.BadImage, values: map[string]any{"image": "cluster.test/rollback:1", "strategy": hard, "needs": "gone"}, remove: "secret/gone", broken: true, want: map[string]string{
			rollback.RuleDetected: "pass ", rollback.RuleManifests: "fail the rollback to revision 1 failed", rollback.RuleHealthy: "fail hopeless: revision 1 does not come up again either",
			rollback.RuleBudget: "fail ", rollback.RuleHooks: "not-applicable ",
		}},
		{name: "hook", fault: rollback.BadImage, values: map[string]any{"hook": "pre-rollback", "job": []any{"fail"}}, want: map[string]string{
			rollback.RuleDetected: "pass ", rollback.RuleManifests: "fail the rollback to revision 1 failed", rollback.RuleHealthy: "fail the rollback to revision 1 stopped at hook Job/web-hook",
			rollback.RuleBudget: "pass ", rollback.RuleHooks: "fail failed: Job/web-hook in the rollback",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := "rollback-" + tt.name
			cl, rel := installForRollback(t, c, ns, tt.values)
			if tt.name == "image" || tt.name == "hook" { // as somebody who has no more rights than needed
				cl = asDrill(t, c, ns)
			}
			if tt.remove != "" {
				c.Kubectl(t, "delete", tt.remove, "-n", ns)
			}
			p := rollbackPlan(t, c, ns, tt.fault, 15*time.Second, 30*time.Second)
			if tt.broken { // the drill goes on though nobody answers
				p.SLO.Objective, p.SLO.Window, p.SLO.Share = 0.9, evidence.Duration(24*time.Hour), 1
				delete(tt.want, rollback.RuleBudget)
			}
			began := time.Now()
			found, seen := runRollback(t, cl, rel, p)
			t.Logf("%s: %s in all, upgrade %s, rollback %s, pods %+v", tt.name, time.Since(began), seen.Upgrade.Took, seen.Rollback.Took, seen.Pods)
			for rule, want := range tt.want {
				outcome, words, _ := strings.Cut(want, " ")
				if len(found[rule]) != 1 || string(found[rule][0].Outcome) != outcome || !strings.Contains(found[rule][0].Message, words) {
					t.Errorf("%s: %+v, want %q", rule, found[rule], want)
				}
			}
			last := seen.After[len(seen.After)-1]
			if want := cmp.Or(tt.status, "deployed"); last.Status != want {
				t.Errorf("the newest revision is %s, want %s: %+v", last.Status, want, seen.After)
			}
			for _, r := range seen.After {
				if r.Pending() {
					t.Errorf("revision %d is %s", r.Revision, r.Status)
				}
			}
			if got := c.Kubectl(t, "get", "deployment", "web", "-n", ns, "-o", "jsonpath={.spec.template.spec.containers[0].image} {.spec.template.metadata.annotations}"); strings.TrimSpace(got) != "cluster.test/rollback:1" {
				t.Errorf("the Deployment is left with %q", got)
			}
			if !tt.broken {
				c.Kubectl(t, "rollout", "status", "-n", ns, "deployment/web", "--timeout=180s")
			}
			if lease := c.Kubectl(t, "get", "lease", "helmproof-drill", "-n", "helmproof", "-o", "jsonpath={.spec.holderIdentity}{.metadata.annotations}"); strings.Contains(lease, ns) {
				t.Errorf("the Lease still says %s", lease)
			}
		})
	}
}

// TestDrillRollbackRefused: no release is upgraded where nobody allowed it, or while Helm
// is at work on it.
func TestDrillRollbackRefused(t *testing.T) {
	c := needCluster(t, kube.TierC)
	if err := c.LoadImage(t.Context(), kube.Image{Ref: "cluster.test/rollback:1", Binary: c.TestPod()}); err != nil {
		t.Fatal(err)
	}
	rollbackRights(t, c)
	ns := "rollback-refused"
	cl, rel := installForRollback(t, c, ns, nil)
	p := rollbackPlan(t, c, ns, rollback.BadImage, 20*time.Second, 20*time.Second)
	refusal := func() string {
		checks, err := rollback.Preflight(t.Context(), rollback.Options{Plan: p}, collectors.Input{Cluster: cl, Release: rel, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range checks {
			if !x.OK {
				return x.Name + ": " + x.Reason
			}
		}
		return ""
	}
	if got := refusal(); got != "" {
		t.Errorf("refused: %s", got)
	}
	c.Kubectl(t, "label", "namespace", ns, rollback.OptIn+"=maybe", "--overwrite")
	if got, want := refusal(), "opt-in: namespace rollback-refused lacks the label helmproof.dev/drill=allowed"; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	c.Kubectl(t, "label", "namespace", ns, rollback.OptIn+"="+rollback.OptInValue, "--overwrite")

	// What a drill leaves that was killed in the middle of its upgrade: the record in the
	// Lease, and a revision that Helm takes for an operation in progress.
	cfg := helmFor(t, c.Cluster, ns, "secrets")
	up := action.NewUpgrade(cfg)
	up.Namespace, up.WaitStrategy, up.Timeout, up.Labels = ns, helmkube.HookOnlyStrategy, time.Minute, map[string]string{"helmproof.dev/drill": "rollback"}
	up.ForceConflicts = true
	made, err := up.Run("web", rollbackChart(), map[string]any{"image": "cluster.test/none:1"})
	if err != nil {
		t.Fatal(err)
	}
	setStatus := func(r any, status releasecommon.Status) {
		v := r.(*releasev1.Release)
		v.Info.Status = status
		if err := cfg.Releases.Update(v); err != nil {
			t.Fatal(err)
		}
	}
	setStatus(made, releasecommon.StatusPendingUpgrade)
	first, err := cfg.Releases.Get("web", 1)
	if err != nil {
		t.Fatal(err)
	}
	setStatus(first, releasecommon.StatusDeployed)
	if got, want := refusal(), "history: another operation is in progress, or was cut off: revision 2 is pending-upgrade"; !strings.Contains(got, want) && !strings.HasPrefix(got, "steady: ") {
		t.Errorf("%q, want %q", got, want)
	}
	c.Apply(t, `
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: helmproof-drill
  namespace: helmproof
  annotations: {helmproof.dev/restore: '{"holder":"killed","releases":[{"namespace":"`+ns+`","name":"web","storage":"secrets","revision":1}]}'}
spec: {holderIdentity: ""}
`)
	a := collectors.NewArtifacts(nil)
	if err := rollback.New(rollback.Options{Plan: p}).Collect(t.Context(), collectors.Input{Cluster: cl, Release: rel, Now: time.Now}, rollbackFolder{a}); err != nil {
		t.Fatal(err)
	}
	end, err := a.Read(collectors.Artifact(rollback.Name, drill.EndFile))
	if err != nil || !strings.Contains(string(end), "rolled rollback-refused/web back to revision 1, without hooks, which an earlier drill had left behind") {
		t.Errorf("%v: %s", err, end)
	}
	cl, rel = loadForRollback(t, c, ns)
	if rel.Stored.Revision != 3 || rel.Stored.Status != "deployed" {
		t.Errorf("%+v", rel.Stored)
	}
	if second, err := cfg.Releases.Get("web", 2); err != nil || second.(*releasev1.Release).Info.Status != releasecommon.StatusFailed {
		t.Errorf("the revision that was cut off: %v, %+v", err, second)
	}
	c.Kubectl(t, "rollout", "status", "-n", ns, "deployment/web", "--timeout=180s")
	if got := refusal(); got != "" {
		t.Errorf("afterwards it is refused: %s", got)
	}
}
