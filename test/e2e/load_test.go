package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/load"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/loadrecord"
	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

const loadManifests = `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {real: "true"}
      containers:
      - name: main
        image: cluster.test/loaded:1
        imagePullPolicy: Never
        args: [serve, ":8080", %s]
        resources: {requests: {cpu: %s, memory: %s}, limits: {cpu: %s, memory: %s}}
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
`

// TestDrillLoad loads a pod that is too small in one way or another, one that is not, and
// one faster than anybody could. There is one drill at a time, so nothing is parallel.
func TestDrillLoad(t *testing.T) {
	c := kube.Start(t, kube.TierC)
	if err := c.LoadImage(t.Context(), kube.Image{Ref: "cluster.test/loaded:1", Binary: c.TestPod()}); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, string(rbac.Drill))
	mine, err := cluster.Connect(t.Context(), cluster.Options{Kubeconfig: c.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name                                                 string
		costs, cpuRequest, memoryRequest, cpuLimit, memLimit string
		rate                                                 float64
		hold                                                 time.Duration
		want                                                 []string // of the findings
		not                                                  []string
		suggested                                            string
	}{
		{"sane", "burn=2ms", "250m", "32Mi", "1", "128Mi", 30, 32 * time.Second,
			[]string{"pass load/rate", "pass load/errors", "pass load/latency", "pass load/throttled its CPU limit of 1 was reached in", "pass load/oom", "pass load/restarts", "pass load/headroom", "pass load/baseline"},
			[]string{"fail load", "error load", "not-checked"}, ""},
		{"tight CPU limit, by gRPC", "burn=5ms", "50m", "32Mi", "100m", "128Mi", 30, 32 * time.Second,
			[]string{"fail load/throttled its CPU limit of 100m was reached in", "fail load/baseline it needs more than its CPU limit of 100m", "pass load/oom", "pass load/rate 30 requests a second to grpc.health.v1.Health/Check were sent"},
			nil, "limits.cpu 1"},
		{"tight memory limit", "alloc=1Mi", "100m", "40Mi", "1", "48Mi", 20, 20 * time.Second,
			[]string{"fail load/oom OOMKilled", "fail load/restarts", "fail load/baseline it needs more memory than its limit of 48Mi"},
			nil, "limits.memory 72Mi"},
		{"more than the generator can send", "burn=1ms", "100m", "32Mi", "1", "128Mi", 9000, 3 * time.Second,
			[]string{"error load/rate 9000 requests a second were not sustained by the generator"},
			[]string{"load/errors", "load/latency", "pass load", "fail load"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := "load-" + strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(tt.name, ",", "")), " ", "-")
			c.Apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+ns+"}}")
			t.Cleanup(func() {
				if _, err := c.TryKubectl(context.Background(), "", "delete", "namespace", ns, "--wait=false"); err != nil {
					t.Error(err)
				}
			})
			text := fmt.Sprintf(loadManifests, tt.costs, tt.cpuRequest, tt.memoryRequest, tt.cpuLimit, tt.memLimit)
			file := filepath.Join(t.TempDir(), "web.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			rel, err := chart.LoadManifests(t.Context(), file, chart.LoadOptions{ReleaseName: "web", Namespace: ns})
			if err != nil {
				t.Fatal(err)
			}
			defer rel.Close() //nolint:errcheck // nothing was unpacked
			if _, err := c.TryKubectl(t.Context(), text, "apply", "-n", ns, "-f", "-"); err != nil {
				t.Fatal(err)
			}
			c.Kubectl(t, "rollout", "status", "-n", ns, "deployment/web", "--timeout=180s")
			address := "http://" + c.Kubectl(t, "get", "-n", ns, "service", "web", "-o", "jsonpath={.spec.clusterIP}") + "/"
			kube.Eventually(t, time.Minute, "the Service to answer", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := http.DefaultClient.Do(r)
				return err == nil && answer.Body.Close() == nil
			})
			second := evidence.Duration(time.Second)
			plan := drill.Plan{
				Experiment: drill.Load, AllowNamespaces: []string{ns}, SLO: drill.SLO{Objective: 0.95},
				Probes: []drill.Probe{{Name: "outside", Address: address, Rate: 2}},
				Phases: drill.Phases{Before: 2 * second, After: second, Recover: 10 * second},
				Load:   &drill.LoadPlan{Rate: tt.rate, Ramp: 2 * second, Hold: evidence.Duration(tt.hold), P99: second, Headroom: 0.1},
			}
			if strings.Contains(tt.name, "gRPC") {
				plan.Load.Address = strings.TrimSuffix(strings.Replace(address, "http:", "grpc:", 1), "/") + ":80"
			}
			plan.Complete()
			// On a busy machine the generator falls behind, and says so: then nothing was shown.
			var found []evidence.Finding
			var artifacts *collectors.Artifacts
			var got []string
			for try := range 3 {
				found, artifacts = loaded(t, mine, rel, plan)
				got = nil
				for _, f := range found {
					got = append(got, fmt.Sprintf("%s %s %s", f.Outcome, f.Rule, f.Message))
				}
				behind := slices.ContainsFunc(got, func(g string) bool {
					return strings.HasPrefix(g, "error load/rate") && strings.Contains(g, "not sustained by the generator")
				})
				if !behind || tt.rate > 1000 || try == 2 {
					break
				}
				t.Log("the generator fell behind: once more")
			}
			t.Log(strings.Join(got, "\n"))
			for _, w := range tt.want {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
					t.Errorf("no finding %q", w)
				}
			}
			for _, n := range tt.not {
				if slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, n) }) {
					t.Errorf("a finding with %q", n)
				}
			}
			if tt.suggested != "" && !slices.ContainsFunc(found, func(f evidence.Finding) bool { return strings.Contains(f.Remediation, tt.suggested) }) {
				t.Errorf("%q is not suggested", tt.suggested)
			}
			size := 0
			for _, b := range artifacts.Files() {
				size += len(b)
			}
			figures, err := loadrecord.Read(artifacts, load.Name)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes sealed; %s", size, figures.Conclusion)
		})
	}
}

// loaded runs one load drill, and derives its findings from what was sealed.
func loaded(t *testing.T, mine *cluster.Cluster, rel *chart.Release, plan drill.Plan) ([]evidence.Finding, *collectors.Artifacts) {
	t.Helper()
	out := collectors.NewArtifacts(nil)
	list := []collectors.Collector{load.New(load.Options{Plan: &plan, Progress: func(s string) { t.Log(s) }})}
	runs, err := collectors.Run(t.Context(), collectors.Input{Release: rel, Cluster: mine}, list, out, collectors.RunOptions{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{collectors.ManifestsFile: rel.Manifests, collectors.ReleaseFile: []byte(`{"chart":"web","namespace":"` + rel.Info.Namespace + `"}`)} {
		if _, err := out.Put(name, b); err != nil {
			t.Fatal(err)
		}
	}
	found, runs := collectors.Derive(collectors.NewSealed(out, config.RuleControls()), list, runs)
	for _, r := range runs {
		if r.Outcome != evidence.OutcomePass {
			t.Fatalf("%s: %s", r.Outcome, r.Error)
		}
	}
	return found, out
}
