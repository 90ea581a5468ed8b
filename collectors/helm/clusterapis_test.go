package helm

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
)

// TestClusterAPIs holds what charts are shown as the APIs of a cluster to Kubernetes'
// own description of them. That has what is no resource of its own, too, and lists
// the kinds of subresources under their own groups.
func TestClusterAPIs(t *testing.T) {
	t.Parallel()
	noResource := []string{"APIGroup", "APIResourceList", "APIVersions", "Status", "WatchEvent"}
	elsewhere := []string{"authentication.k8s.io/v1/TokenRequest", "autoscaling/v1/Scale", "policy/v1/Eviction"}
	subresources := []string{"v1/Eviction", "v1/NodeProxyOptions", "v1/PodAttachOptions", "v1/PodExecOptions", "v1/PodPortForwardOptions", "v1/PodProxyOptions", "v1/Scale", "v1/ServiceProxyOptions", "v1/TokenRequest", "apps/v1/Scale"}
	for _, version := range Versions() {
		doc, err := embeddedDocument(version)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(subresources)
		for key := range doc.Kinds {
			gv, kind, _ := strings.Cut(key, " ")
			if strings.Contains(gv, "alpha") || strings.Contains(gv, "beta") || slices.Contains(noResource, kind) || strings.HasSuffix(kind, "List") || strings.HasSuffix(kind, "Options") {
				continue
			}
			if name := gv + "/" + kind; !slices.Contains(elsewhere, name) {
				want = append(want, name)
			}
			want = append(want, gv)
		}
		_, number, _ := strings.Cut(version, ".")
		minor, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		got := slices.Sorted(slices.Values(chart.ClusterAPIs(minor)))
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Errorf("Kubernetes %s: shown %q, described %q", version, got, want)
		}
	}
}
