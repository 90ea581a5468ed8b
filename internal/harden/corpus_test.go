package harden

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// holds says what is wrong with a result: an object that went, moved or lost
// something, a second run that changes, an addition that is not annotated.
func holds(in []byte, o Options) (*Result, error) {
	res, err := Harden(in, o)
	if err != nil {
		return nil, err
	}
	if len(res.Changes) == 0 && !bytes.Equal(res.Manifests, in) {
		return res, fmt.Errorf("no changes listed, but other bytes")
	}
	again, err := Harden(res.Manifests, o)
	if err != nil {
		return res, fmt.Errorf("second run: %w", err)
	}
	if !bytes.Equal(again.Manifests, res.Manifests) || len(again.Changes) > 0 {
		return res, fmt.Errorf("a second run changes %d things: %+v", len(again.Changes), again.Changes)
	}
	before, err := manifest.Parse(in)
	if err != nil {
		return res, err
	}
	after, err := manifest.Parse(res.Manifests)
	if err != nil {
		return res, err
	}
	if len(before.Broken) != len(after.Broken) {
		return res, fmt.Errorf("%d broken documents, %d before: %+v", len(after.Broken), len(before.Broken), after.Broken)
	}
	budgets := 0
	for _, c := range res.Changes {
		if c.Rule == RuleBudget {
			budgets++
		}
	}
	i := 0
	for _, a := range after.Objects {
		if i < len(before.Objects) {
			b := before.Objects[i]
			if b.GetKind() == a.GetKind() && b.GetName() == a.GetName() && b.GetNamespace() == a.GetNamespace() {
				i++
				if err := within(b.Object, a.Object, ""); err != nil {
					return res, fmt.Errorf("%s: %w", b.Target("").Object(), err)
				}
				if changed := !reflect.DeepEqual(a.Object, b.Object); changed && a.GetAnnotations()[Annotation] == "" {
					return res, fmt.Errorf("%s: changed without the annotation", b.Target("").Object())
				}
				continue
			}
		}
		if a.GetKind() != "PodDisruptionBudget" || a.GetAnnotations()[Annotation] == "" {
			return res, fmt.Errorf("%s was not there before, or moved", a.Target("").Object())
		}
		budgets--
	}
	if i != len(before.Objects) || budgets != 0 {
		return res, fmt.Errorf("%d of %d objects are left, %d budgets are missing", i, len(before.Objects), budgets)
	}
	return res, nil
}

// within reports what of b is missing or different in a. Only the annotation
// that lists the changes may have another value.
func within(b, a any, path string) error {
	switch b := b.(type) {
	case map[string]any:
		am, ok := a.(map[string]any)
		if !ok {
			return fmt.Errorf("%s was a mapping, is %v", path, a)
		}
		for k, v := range b {
			if strings.HasSuffix(path, ".annotations") && k == Annotation {
				continue
			}
			if _, ok := am[k]; !ok {
				return fmt.Errorf("%s.%s is gone", path, k)
			}
			if err := within(v, am[k], path+"."+k); err != nil {
				return err
			}
		}
		return nil
	case []any:
		al, ok := a.([]any)
		if !ok || len(al) != len(b) {
			return fmt.Errorf("%s was a list of %d, is %v", path, len(b), a)
		}
		for i := range b {
			if err := within(b[i], al[i], fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case nil:
		return nil // null is unset
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("%s was %v, is %v", path, b, a)
	}
	return nil
}

// allOptions is the zero value, and everything that can be asked for.
var allOptions = []Options{{}, {ReadOnlyRoot: true, RunAsNonRoot: true, DropCapabilities: true, Probes: ProbesTCP, Controls: askedFor.Controls}}

// askedFor asks for what nothing in the manifests speaks against.
var askedFor = Options{Controls: []evidence.ControlID{"SEC-3", "SEC-4", "SEC-6"}}

// TestCorpus hardens each chart below the folder that HELMPROOF_CHARTS names, or
// whose path the file HELMPROOF_CHART_LIST holds.
func TestCorpus(t *testing.T) {
	t.Parallel()
	var refs []string
	if dir := os.Getenv("HELMPROOF_CHARTS"); dir != "" {
		for _, pattern := range []string{"*", "*/*", "*/*/*"} {
			found, err := filepath.Glob(filepath.Join(dir, pattern, "Chart.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				refs = append(refs, filepath.Dir(f))
			}
		}
	}
	if file := os.Getenv("HELMPROOF_CHART_LIST"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, strings.Fields(string(b))...)
	}
	if len(refs) == 0 {
		t.Skip("neither HELMPROOF_CHARTS nor HELMPROOF_CHART_LIST names charts")
	}
	loaded, objects, unread := 0, 0, 0
	changes := map[Rule]int{}
	for _, ref := range refs {
		rel, err := chart.Load(t.Context(), ref, chart.LoadOptions{})
		if err != nil {
			t.Logf("not loaded: %v", err)
			continue
		}
		for i, o := range allOptions {
			res, err := holds(rel.Manifests, o)
			if err != nil {
				if res == nil {
					unread++
				}
				t.Errorf("%s: options %d: %v", ref, i, err)
				break
			}
			if i == 0 {
				loaded++
				objects += res.Objects
				for _, c := range res.Changes {
					changes[c.Rule]++
				}
				for _, k := range res.Kept {
					if k.Rule == "" {
						t.Logf("%s: %s: %s", ref, k.Target.Object(), k.Reason)
					}
				}
			}
		}
		if err := rel.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d charts, %d objects, %d not read, additions by default: %v", loaded, objects, unread, changes)
}
