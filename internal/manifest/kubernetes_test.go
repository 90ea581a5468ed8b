package manifest_test

import (
	"testing"

	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/manifest/manifesttest"
)

func TestSameAsKubernetes(t *testing.T) {
	t.Parallel()
	raw := []byte("apiVersion: v1\nkind: A\nnumbers: [1, 1.0, 1.5, 0777, 0x1F, 1e3, 1e21, -0.0, 18446744073709551615, 123456789012345678901]\nb: [yes, no]\nkeys: {1: a, true: b, 1.5: c}\nd: 2001-01-01\nempty:\n")
	set, err := manifest.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	manifesttest.CompareWithKubernetes(t, "types", raw, set)
}
