package helm_test

import (
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
)

// TestAPIVersionsAreThoseOfTheVersion: charts can ask for what the OpenAPI document
// of each embedded version has, alpha and beta apart, and for nothing else. The kinds
// of subresources Helm lists in the group of what they are of.
func TestAPIVersionsAreThoseOfTheVersion(t *testing.T) {
	t.Parallel()
	for _, version := range helm.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			kinds, err := helm.EmbeddedKinds(version)
			if err != nil {
				t.Fatal(err)
			}
			kube, err := common.ParseKubeVersion(version)
			if err != nil {
				t.Fatal(err)
			}
			got := chart.APIVersions(*kube)
			want := []string{
				"apps/v1/Scale", "v1/Eviction", "v1/NodeProxyOptions", "v1/PodAttachOptions", "v1/PodExecOptions", "v1/PodPortForwardOptions",
				"v1/PodProxyOptions", "v1/Scale", "v1/ServiceProxyOptions", "v1/TokenRequest",
			}
			subresources := []string{"authentication.k8s.io/v1 TokenRequest", "autoscaling/v1 Scale", "policy/v1 Eviction"}
			for _, k := range kinds {
				gv, kind, _ := strings.Cut(k, " ")
				if strings.Contains(gv, "alpha") || strings.Contains(gv, "beta") || strings.HasSuffix(kind, "List") || slices.Contains(subresources, k) ||
					gv == "v1" && slices.Contains([]string{"APIGroup", "APIVersions", "Status"}, kind) {
					continue
				}
				want = append(want, gv, gv+"/"+kind)
			}
			slices.Sort(want)
			want = slices.Compact(want)
			for _, id := range want {
				if !got.Has(id) {
					t.Errorf("%s is served, and is not among them", id)
				}
			}
			for _, id := range got {
				if !slices.Contains(want, id) {
					t.Errorf("%s is not served", id)
				}
			}
		})
	}
}
