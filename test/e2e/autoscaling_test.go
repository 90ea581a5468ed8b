package e2e

import (
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	helmkube "helm.sh/helm/v4/pkg/kube"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"

	"github.com/companyos/helmproof/test/kube"
)

// TestAutoscalingSwitchedOn holds that the ways which the service chart names keep the
// replicas while autoscaling is switched on: the command of its notes, and
// initialReplicas. Without them the count does drop, which is why they are there.
func TestAutoscalingSwitchedOn(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	service, err := loader.Load("../../charts/service")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		handOver bool
		initial  int
		keeps    bool
	}{
		"by-notes": {handOver: true, keeps: true}, "by-value": {initial: 4, keeps: true}, "at-once": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := "switch-" + name
			labelled(t, c, ns, "enforce=restricted")
			cfg := helmFor(t, c, ns, "secrets")
			in := action.NewInstall(cfg)
			in.ReleaseName, in.Namespace, in.WaitStrategy, in.Timeout = "shop", ns, helmkube.HookOnlyStrategy, 2*time.Minute
			made, err := in.Run(service, map[string]any{"fullnameOverride": "shop", "replicaCount": 4, "autoscaling": map[string]any{"enabled": false}})
			if err != nil {
				t.Fatal(err)
			}
			replicas := func() string {
				return c.Kubectl(t, "get", "deployment", "shop", "-n", ns, "-o", "jsonpath={.spec.replicas}")
			}
			if tt.handOver {
				_, object, _ := strings.Cut(made.(*releasev1.Release).Info.Notes, "  echo '")
				object, command, ok := strings.Cut(object, "' | kubectl ")
				command, _, _ = strings.Cut(command, "\n")
				if !ok {
					t.Fatalf("no command in the notes:\n%s", made.(*releasev1.Release).Info.Notes)
				}
				if out, err := c.TryKubectl(t.Context(), object, strings.Fields(command)...); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			up := action.NewUpgrade(cfg)
			up.Namespace, up.WaitStrategy, up.Timeout = ns, helmkube.HookOnlyStrategy, 2*time.Minute
			if _, err := up.Run("shop", service, map[string]any{"fullnameOverride": "shop", "replicaCount": 4, "autoscaling": map[string]any{"enabled": true, "initialReplicas": tt.initial}}); err != nil {
				t.Fatal(err)
			}
			if n := replicas(); (n == "4") != tt.keeps {
				t.Fatalf("%s replicas after the upgrade", n)
			}
			kube.Eventually(t, 2*time.Minute, "the autoscaler to look", func() bool {
				return c.Kubectl(t, "get", "hpa", "shop", "-n", ns, "-o", `jsonpath={.status.conditions[?(@.type=="AbleToScale")].status}`) == "True"
			})
			if n := replicas(); tt.keeps && n != "4" {
				t.Errorf("%s replicas, of which the autoscaler knew no reason to change 4", n)
			}
		})
	}
}
