// Package manifesttest holds what is parsed to Kubernetes' own decoder.
package manifesttest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/internal/manifest"
)

// CompareWithKubernetes decodes each document of raw as Kubernetes' clients do,
// and compares what it holds with the objects of set.
func CompareWithKubernetes(t *testing.T, ref string, raw []byte, set *manifest.ObjectSet) {
	t.Helper()
	i := 0
	for d := range manifest.Documents(raw) {
		if i >= len(set.Objects) || set.Objects[i].From != d.From {
			continue
		}
		asJSON, err := yaml.YAMLToJSON(d.Text)
		if err != nil {
			t.Errorf("%s: line %d: %v", ref, d.From, err)
			continue
		}
		obj, _, err := unstructured.UnstructuredJSONScheme.Decode(asJSON, nil, nil)
		if err != nil {
			t.Errorf("%s: line %d: %v", ref, d.From, err)
			continue
		}
		u, ok := obj.(*unstructured.Unstructured)
		if !ok { // a list: its items share the document
			for i < len(set.Objects) && set.Objects[i].From == d.From {
				i++
			}
			continue
		}
		if diff := cmp.Diff(u.Object, set.Objects[i].Object); diff != "" {
			t.Errorf("%s: line %d differs from Kubernetes' decoder (-kubernetes +ours):\n%s", ref, d.From, diff)
		}
		i++
	}
	if i != len(set.Objects) {
		t.Errorf("%s: compared %d of %d objects", ref, i, len(set.Objects))
	}
}
