package platform

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

var quoted = regexp.MustCompile("`([a-z/]+)`")

// TestRequests holds that the guide says which policies judge which requests, as the
// policies do, and that it has a line for each kind that holds pods.
func TestRequests(t *testing.T) {
	t.Parallel()
	got := map[string]string{} // operations and policies by resource
	files, err := filepath.Glob(filepath.Join(root, chartDir, "files/policies/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	policies, operations := map[string][]string{}, map[string]string{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		text, _, _ := strings.Cut(read(t, filepath.Join(chartDir, "files/policies", filepath.Base(file))), "\n---\n")
		p := new(admissionv1.ValidatingAdmissionPolicy)
		if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
			t.Fatal(err)
		}
		if m := p.Spec.MatchConstraints; m.NamespaceSelector != nil || m.ObjectSelector != nil || m.MatchPolicy != nil || m.ExcludeResourceRules != nil {
			t.Errorf("%s does not match what its resources say", name)
		}
		for _, rule := range p.Spec.MatchConstraints.ResourceRules {
			for _, resource := range rule.Resources {
				policies[resource] = append(policies[resource], name)
				operations[resource] = fmt.Sprint(rule.Operations)
			}
		}
	}
	for resource, names := range policies {
		if slices.Sort(names); operations[resource] != "[CREATE UPDATE]" {
			t.Errorf("%s: %s", resource, operations[resource])
		}
		got[resource] = strings.Join(names, ", ")
	}

	_, table, _ := strings.Cut(read(t, "docs/platform-guide.md"), "\n## Which requests are judged\n")
	table, _, _ = strings.Cut(table, "\n## ")
	want, not := map[string]string{}, map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		if len(cells) < 3 {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			if cells[1] == "–" {
				not[m[1]] = true
				continue
			}
			by := strings.Split(strings.ReplaceAll(cells[1], "as `pods`", want["pods"]), ", ")
			slices.Sort(by)
			want[m[1]] = strings.Join(by, ", ")
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what judges requests (-guide +policies):\n%s", d)
	}

	pod := reflect.TypeFor[corev1.PodSpec]()
	holding := map[string]bool{}
	for gvk, typed := range scheme.Scheme.AllKnownTypes() {
		if list := strings.HasSuffix(gvk.Kind, "List"); !list && gvk.Version == "v1" && holds(typed, pod, map[reflect.Type]bool{}) {
			plural, _ := meta.UnsafeGuessKindToResource(gvk)
			holding[plural.Resource] = true
		}
	}
	for _, resource := range slices.Sorted(maps.Keys(holding)) {
		if want[resource] == "" && !not[resource] {
			t.Errorf("the guide has no line for %s, which hold pods", resource)
		}
	}
	if len(holding) < 9 {
		t.Errorf("only %v hold pods", holding)
	}
}

// holds reports whether a type has a field of another type, at any depth.
func holds(t, field reflect.Type, seen map[reflect.Type]bool) bool {
	switch {
	case t == field:
		return true
	case seen[t]:
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return holds(t.Elem(), field, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if holds(t.Field(i).Type, field, seen) {
				return true
			}
		}
	default:
	}
	return false
}
