// Package server installs charts/platform into a real API server.
package server

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/test/kube"
)

func TestMain(m *testing.M) { kube.Main(m, kube.TierA) }

// manifests renders a chart of this repository.
func manifests(t *testing.T, dir string, valueFiles ...string) string {
	t.Helper()
	rel, err := chart.Load(t.Context(), filepath.Join("../../..", dir), chart.LoadOptions{ValueFiles: valueFiles, Namespace: "apps"})
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	return string(rel.Manifests)
}

// TestInstall applies the defaults; a plain chart is refused there by a policy,
// and the hardened one is admitted without a warning.
func TestInstall(t *testing.T) {
	cluster := kube.Start(t, kube.TierA)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := cluster.TryKubectl(ctx, manifests(t, "charts/platform"), "apply", "--warnings-as-errors", "-f", "-")
	if err != nil {
		t.Fatalf("platform: %v\n%s", err, out)
	}

	// A policy holds a moment after it was made.
	plain := manifests(t, "test/platform/testdata/plain")
	// The API server tells one refusal only, of whichever policy comes first;
	// that each policy refuses what breaks it is tested in test/e2e.
	refused := regexp.MustCompile(`ValidatingAdmissionPolicy 'helmproof-[a-z-]+' with binding 'helmproof-[a-z-]+' denied request: \S`)
	last := ""
	for {
		out, err := cluster.TryKubectl(ctx, plain, "-n", "apps", "apply", "--dry-run=server", "--request-timeout=10s", "-f", "-")
		said := fmt.Sprint(out, err)
		if err != nil && refused.MatchString(said) {
			break
		}
		if ctx.Err() == nil {
			last = said
		}
		select {
		case <-ctx.Done():
			t.Fatalf("a plain deployment is not refused by a policy:\n%s", last)
		case <-time.After(200 * time.Millisecond):
		}
	}

	out, err = cluster.TryKubectl(ctx, manifests(t, "charts/service", "../testdata/after.yaml"), "-n", "apps", "apply", "--dry-run=server", "--warnings-as-errors", "-f", "-")
	if err != nil {
		t.Errorf("service: %v\n%s", err, out)
	}
}

// TestRequests holds that the guide has a line for each subresource of what holds pods, and
// that those of whom it says so cannot go around the policies.
func TestRequests(t *testing.T) {
	cluster := kube.Start(t, kube.TierA)
	raw, err := os.ReadFile("../../../docs/platform-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(raw), "\n## Which requests are judged\n")
	table, _, _ = strings.Cut(table, "\n## ")
	told := regexp.MustCompile("`([a-z/]+)`").FindAllString(table, -1)
	for path, kinds := range map[string]string{
		"/api/v1": "bindings pods podtemplates replicationcontrollers", "/apis/batch/v1": "cronjobs jobs",
		"/apis/apps/v1": "controllerrevisions daemonsets deployments replicasets statefulsets",
	} {
		var list metav1.APIResourceList
		if err := json.Unmarshal([]byte(cluster.Kubectl(t, "get", "--raw", path)), &list); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, r := range list.APIResources {
			of, sub, _ := strings.Cut(r.Name, "/")
			if !slices.Contains(strings.Fields(kinds), of) {
				continue
			}
			if seen++; !slices.Contains(told, "`"+r.Name+"`") {
				t.Errorf("the guide has no line for %s (%s)", r.Name, sub)
			}
		}
		if seen < len(strings.Fields(kinds)) {
			t.Errorf("%s has only %d of %s", path, seen, kinds)
		}
	}
	for _, role := range []string{"edit", "admin"} {
		var r rbacv1.ClusterRole
		if err := json.Unmarshal([]byte(cluster.Kubectl(t, "get", "clusterrole", "system:aggregate-to-"+role, "-o", "json")), &r); err != nil {
			t.Fatal(err)
		}
		for _, rule := range r.Rules {
			for _, resource := range rule.Resources {
				if slices.Contains([]string{"controllerrevisions", "namespaces", "*"}, resource) && slices.ContainsFunc(rule.Verbs, func(verb string) bool { return !slices.Contains([]string{"get", "list", "watch"}, verb) }) {
					t.Errorf("the role %s may %v %s", role, rule.Verbs, resource)
				}
			}
		}
	}
}
