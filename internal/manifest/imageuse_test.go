package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestImageUses(t *testing.T) {
	t.Parallel()
	const own = "example.com/Engine:.spec.images[*].ref"
	for title, tt := range map[string]struct {
		manifest string
		want     []string
	}{
		"pod template of a rollout": {"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: r}\nspec: {template: {spec: {initContainers: [{name: i, image: a/i}], containers: [{name: c, image: a/c}], volumes: [{name: v, image: {reference: a/v}}]}}}\n",
			[]string{"i=a/i", "c=a/c", "=a/v"}},
		"rollout of a workload":        {"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: r}\nspec: {workloadRef: {name: x}}\n", nil},
		"same kind of another group":   {"apiVersion: example.org/v1\nkind: Rollout\nmetadata: {name: r}\nspec: {template: {spec: {containers: [{name: c, image: a/c}]}}}\n", []string{"! images unknown: spec.template.spec.containers looks like part of a pod template, and what Rollout makes of it is not known"}},
		"workflow":                     {"apiVersion: argoproj.io/v1alpha1\nkind: CronWorkflow\nmetadata: {name: w}\nspec: {workflowSpec: {templates: [{name: t, container: {image: a/c}, sidecars: [{name: s, image: a/s}]}]}}\n", []string{"t=a/c", "s=a/s"}},
		"field of one's own":           {"apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: {images: [{ref: a/1}, {ref: a/2}, {}]}\n", []string{"=a/1", "=a/2"}},
		"field that is no text":        {"apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: {images: [{ref: {a: b}}]}\n", []string{"! spec.images[0].ref: no image"}},
		"field that is no list":        {"apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: {images: 3}\n", []string{"! images unknown: spec.images is no list"}},
		"list of what are no objects":  {"apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: {images: [x]}\n", []string{"! images unknown: spec.images[0] is no object"}},
		"no object on the way":         {"apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: x\n", []string{"! images unknown: spec is no object"}},
		"pod template that is no such": {"apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: s}\nspec: {template: 1}\n", []string{"! images unknown: spec.template: no pod template"}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			set, err := Parse([]byte(tt.manifest))
			if err != nil || len(set.Objects) != 1 {
				t.Fatalf("%d objects, %v", len(set.Objects), err)
			}
			field, err := ParseImageField(own)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, u := range set.Objects[0].ImageUses([]ImageField{field}) {
				s := fmt.Sprintf("%s=%s", u.Container, u.Image)
				if u.Problem != "" {
					s = "! " + u.Problem
				}
				got = append(got, s)
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Error(cmp.Diff(tt.want, got))
			}
			if n := len(Images(set, []ImageField{field})); n != len(slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "!") })) {
				t.Errorf("imagesOf: %d", n)
			}
		})
	}
}

func TestParseImageFieldRefuses(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"spec.image": "no path", "Engine:spec": "no group and kind", "a.io/:spec": "no group and kind",
		"a.io/E:": `"" is no field`, "a.io/E:spec..x": `"" is no field`, "a.io/E:spec[0].x": `"spec[0]" is no field`,
	} {
		if _, err := ParseImageField(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseImageField(%q): %v, want %q", s, err, want)
		}
	}
	f, err := ParseImageField("a.io/E:.spec.t!")
	if err != nil || f.String() != "a.io/E:spec.t!" {
		t.Errorf("%v %v", f, err)
	}
}
