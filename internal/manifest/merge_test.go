package manifest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/internal/manifest"
)

// TestMergeKeys: what merge keys bring in may be overridden, as Kubernetes' own
// reader reads it; a key that a mapping has twice itself is an error.
func TestMergeKeys(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for name, tt := range map[string]struct {
		text string
		want string // part of the error; empty: read as Kubernetes does
	}{
		"merged":                          {text: "x: &x {a: 1}\ny: {<<: *x, b: 2}\n"},
		"overridden":                      {text: "x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}\n"},
		"overridden in a list":            {text: "ports:\n- &p {name: http, port: 80}\n- <<: *p\n  name: alt\n"},
		"overridden by null":              {text: "x: &x {a: 1}\ny:\n  <<: *x\n  a:\n"},
		"overridden by a mapping":         {text: "x: &x {a: {b: 1}}\ny:\n  <<: *x\n  a: {c: 2}\n"},
		"merged after the key":            {text: "x: &x {a: 1}\ny:\n  a: 2\n  <<: *x\n"},
		"two merged into one":             {text: "x: &x {a: 1}\ny: &y {a: 2, b: 3}\nz:\n  <<: [*x, *y]\n"},
		"two merges":                      {text: "x: &x {a: 1}\ny: &y {a: 2, b: 3}\nz:\n  <<: *x\n  <<: *y\n"},
		"merged through another":          {text: "x: &x {a: 1}\ny: &y {<<: *x, a: 2}\nz: {<<: *y, a: 3}\n"},
		"merged into an alias":            {text: "x: &x {a: 1}\ny: &y {<<: *x, a: 2}\nz: *y\n"},
		"an inline mapping":               {text: "y: {<<: {a: 1}, a: 2}\n"},
		"at the top":                      {text: "x: &x {data: {a: b}}\n<<: *x\ndata: {c: d}\n"},
		"a key that is no merge":          {text: "y: {\"<<\": 1, a: 2}\n"},
		"twice":                           {text: "y: {a: 1, a: 2}\n", want: `key "a" already set`},
		"twice beside a merge":            {text: "x: &x {b: 1}\ny: {<<: *x, a: 1, a: 2}\n", want: `key "a" already set`},
		"twice beside one that overrides": {text: "x: &x {b: 1}\ny: {<<: *x, b: 1, a: 1, a: 2}\n", want: `already set`},
		"twice in what is merged":         {text: "x: &x {b: 1, b: 2}\ny: {<<: *x, b: 3}\n", want: `already set`},
		"twice in another mapping":        {text: "x: &x {b: 1}\ny: {<<: *x, b: 3}\nz: [{c: 1, c: 2}]\n", want: `already set`},
		"twice, a number and a text":      {text: "x: &x {b: 1}\ny: {<<: *x, b: 3}\nz: {1: a, \"1\": b}\n", want: `already set`},
		"twice in an inline mapping":      {text: "y: {<<: {a: 1, a: 3}, a: 2}\n", want: `already set`},
		"twice the quoted sign":           {text: "y: {\"<<\": 1, \"<<\": 2}\n", want: `already set`},
		"a merge of no mapping":           {text: "y: {<<: 1, a: 2}\n", want: "map merge requires map"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := manifest.Parse([]byte(head + tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != "" {
				if len(set.Broken) != 1 || !strings.Contains(set.Broken[0].Error, tt.want) {
					t.Errorf("want an error with %q, have %+v", tt.want, set.Broken)
				}
				return
			}
			if len(set.Broken) > 0 || len(set.Objects) != 1 {
				t.Fatalf("not read: %+v", set.Broken)
			}
			var want map[string]any
			if err := yaml.Unmarshal([]byte(head+tt.text), &want); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(set.Objects[0].Object)
			if err != nil {
				t.Fatal(err)
			}
			wanted, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(wanted), string(got)); diff != "" {
				t.Errorf("not as Kubernetes reads it:\n%s", diff)
			}
		})
	}
}

// TestListsLikeKubernetes: lists hold what Kubernetes' clients find in
// them, and are broken where those find an error.
func TestListsLikeKubernetes(t *testing.T) {
	t.Parallel()
	const cm = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NAME"}}`
	a, b := strings.ReplaceAll(cm, "NAME", "a"), strings.ReplaceAll(cm, "NAME", "b")
	list := func(items string) string { return `{"apiVersion":"v1","kind":"List","items":` + items + `}` }
	for name, text := range map[string]string{
		"no items":              list(`[]`),
		"null":                  list(`null`),
		"null, with metadata":   `{"apiVersion":"v1","kind":"List","metadata":{},"items":null}`,
		"two":                   list(`[` + a + `,` + b + `]`),
		"a list in it":          list(`[` + a + `,` + list(`[`+b+`]`) + `]`),
		"an empty list in it":   list(`[` + list(`[]`) + `]`),
		"a null list in it":     list(`[` + list(`null`) + `,` + a + `]`),
		"five levels":           list(`[` + list(`[`+list(`[`+list(`[`+list(`[`+a+`]`)+`]`)+`]`)+`]`) + `]`),
		"a null item":           list(`[null]`),
		"a null item of two":    list(`[` + a + `,null]`),
		"an item without kind":  list(`[{"apiVersion":"v1","metadata":{"name":"a"}}]`),
		"an empty item":         list(`[{}]`),
		"a text":                list(`["a"]`),
		"a mapping":             list(`{"a":1}`),
		"typed":                 `{"apiVersion":"v1","kind":"ConfigMapList","items":[{"metadata":{"name":"a"}}]}`,
		"typed, nothing":        `{"apiVersion":"v1","kind":"ConfigMapList","items":[]}`,
		"typed, null":           `{"apiVersion":"v1","kind":"ConfigMapList","items":null}`,
		"typed, with another":   `{"apiVersion":"v1","kind":"ConfigMapList","items":[` + strings.Replace(a, "ConfigMap", "Secret", 1) + `]}`,
		"a kind that has items": `{"apiVersion":"example.com/v1","kind":"Basket","items":[` + a + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := manifest.Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			infos, err := resource.NewLocalBuilder().ContinueOnError().Flatten().Unstructured().Stream(strings.NewReader(text), "").Do().Infos()
			var want, got []string
			for _, i := range infos {
				o := i.Object.(*unstructured.Unstructured)
				if o.GetKind() == "" {
					err = errors.New("no kind") // the server has no resource for it
				}
				want = append(want, fmt.Sprint(o.Object))
			}
			if (err != nil) != (len(set.Broken) > 0) {
				t.Fatalf("Kubernetes says %v, we %+v", err, set.Broken)
			}
			if err != nil {
				return
			}
			for i := range set.Objects {
				got = append(got, fmt.Sprint(set.Objects[i].Object))
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("not what Kubernetes finds:\n%s", diff)
			}
		})
	}
}
