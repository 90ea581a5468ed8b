// Package server installs charts/platform into a real API server.
package server

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"testing"
	"time"

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
