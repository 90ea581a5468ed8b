package manifest_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/internal/manifest"
)

// TestDeclared holds what is a reason: ten characters that a reader sees.
func TestDeclared(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                          "",
		"because":                   "",
		"it has a lock":             "it has a lock",
		" because it may\n":         "because it may",
		"b e c a u s e":             "",
		"because\u200b\u200b\ufeff": "",
		"日志收集器需要":                   "", // more bytes than characters
		"日志收集器需要读取节点":               "日志收集器需要读取节点",
	} {
		o := manifest.Object{Unstructured: unstructured.Unstructured{Object: map[string]any{}}}
		o.SetAnnotations(map[string]string{manifest.DeclaredAnnotation + "AVL-4": text})
		if got := o.Declared("AVL-4"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if got := o.Declared("SEC-1"); got != "" {
			t.Errorf("%q: of another control: %q", text, got)
		}
	}
}
