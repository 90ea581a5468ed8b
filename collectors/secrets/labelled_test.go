package secrets

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/zricethezav/gitleaks/v8/detect"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
)

// labelled is a line of testdata/labelled.tsv.
type labelled struct {
	line                 int
	context, name, value string
	secret               bool
}

func readLabelled(t *testing.T) []labelled {
	t.Helper()
	return readLabelledFrom(t, "testdata/labelled.tsv")
}

func readLabelledFrom(t *testing.T, name string) []labelled {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []labelled
	for i, line := range strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.NewReplacer("¦", "", `\\`, `\`).Replace(line), "\t")
		if len(f) != 4 || f[2] != "secret" && f[2] != "not" {
			t.Fatalf("line %d has not the four fields of one: %q", i+1, line)
		}
		l := labelled{line: i + 1, context: f[0], name: f[1], value: f[3], secret: f[2] == "secret"}
		if l.context != "args" {
			l.value = strings.ReplaceAll(l.value, `\n`, "\n")
		}
		all = append(all, l)
	}
	return all
}

// text is what stands in a chart of it: the rendered object, or the values.
func (l *labelled) text(t *testing.T) string {
	t.Helper()
	object := func(apiVersion, kind string, more map[string]any) any {
		more["apiVersion"], more["kind"], more["metadata"] = apiVersion, kind, map[string]any{"name": "shop"}
		return more
	}
	pod := func(container map[string]any) any {
		container["name"], container["image"] = "app", "registry.example.com/app:1"
		return object("v1", "Pod", map[string]any{"spec": map[string]any{"containers": []any{container}}})
	}
	var v any
	switch l.context {
	case "env":
		v = pod(map[string]any{"env": []any{map[string]any{"name": l.name, "value": l.value}}})
	case "args":
		var args []any
		if err := json.Unmarshal([]byte(l.value), &args); err != nil {
			t.Fatalf("line %d: %v", l.line, err)
		}
		v = pod(map[string]any{"args": args})
	case "configmap":
		v = object("v1", "ConfigMap", map[string]any{"data": map[string]any{l.name: l.value}})
	case "binary":
		v = object("v1", "ConfigMap", map[string]any{"binaryData": map[string]any{l.name: base64.StdEncoding.EncodeToString([]byte(l.value))}})
	case "secret":
		v = object("v1", "Secret", map[string]any{"stringData": map[string]any{l.name: l.value}})
	case "sealed":
		v = object("bitnami.com/v1alpha1", "SealedSecret", map[string]any{"spec": map[string]any{"encryptedData": map[string]any{l.name: l.value}}})
	case "external":
		v = object("external-secrets.io/v1", "ExternalSecret", map[string]any{"spec": map[string]any{"data": []any{map[string]any{"secretKey": l.name, "remoteRef": map[string]any{"key": l.value}}}}})
	case "custom": // a field of a kind that nobody knows
		v = object("example.com/v1", "Shop", map[string]any{"spec": map[string]any{"backend": map[string]any{l.name: l.value}}})
	case "storage":
		v = object("storage.k8s.io/v1", "StorageClass", map[string]any{"provisioner": "example.com/nfs", "parameters": map[string]any{l.name: l.value}})
	case "annotation":
		v = object("v1", "Service", map[string]any{})
		v.(map[string]any)["metadata"] = map[string]any{"name": "shop", "annotations": map[string]any{l.name: l.value}}
	case "values":
		v = map[string]any{"shop": map[string]any{l.name: l.value}}
	case "comment":
		return "# " + strings.ReplaceAll(l.value, "\n", "\n# ") + "\nreplicas: 1\n"
	default:
		t.Fatalf("line %d: no context %q", l.line, l.context)
	}
	raw, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// release is a release with nothing but that text.
func (l *labelled) release(t *testing.T, text string) *chart.Release {
	t.Helper()
	rel := &chart.Release{}
	rel.Info.Chart = "shop"
	if l.context != "values" && l.context != "comment" {
		rel.Manifests = []byte("---\n# Source: shop/templates/a.yaml:1\n" + text)
		return rel
	}
	rel.Files = []chart.File{{Name: "values.yaml", Data: []byte(text)}}
	if err := yaml.Unmarshal([]byte(text), &rel.Values); err != nil {
		t.Fatal(err)
	}
	return rel
}

// score counts answers.
type score struct{ truePositive, falsePositive, falseNegative int }

func (s *score) count(is, said bool) {
	switch {
	case is && said:
		s.truePositive++
	case said:
		s.falsePositive++
	case is:
		s.falseNegative++
	}
}

func (s score) precision() float64 {
	return float64(s.truePositive) / float64(max(1, s.truePositive+s.falsePositive))
}

func (s score) recall() float64 {
	return float64(s.truePositive) / float64(max(1, s.truePositive+s.falseNegative))
}

// TestLabelled holds precision and recall on the labelled set, beside those of
// gitleaks' own rules alone, and that of what was found nothing is left in clear
// where it is sealed. Run with -v, it prints both, and what is judged wrongly.
func TestLabelled(t *testing.T) {
	t.Parallel()
	all := readLabelled(t)
	alone, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	alone.MaxDecodeDepth = 5 // as its command does
	var ours, theirs score
	secrets := 0
	for _, l := range all {
		text := l.text(t)
		rel := l.release(t, text)
		rep, red, err := Scan(t.Context(), rel)
		if err != nil {
			t.Fatalf("line %d: %v", l.line, err)
		}
		said := len(rep.Places) > 0
		ours.count(l.secret, said)
		theirs.count(l.secret, len(alone.DetectString(text)) > 0)
		if l.secret {
			secrets++
		}
		if said != l.secret {
			t.Logf("line %d: %s %s is judged wrongly, secret: %v\n%+v", l.line, l.context, l.name, said, rep.Places)
		}
		if said && l.secret {
			checkSealed(t, fmt.Sprintf("line %d", l.line), rel, red)
		}
	}
	t.Logf("%d lines, %d of them secrets: precision %.3f, recall %.3f; gitleaks alone: precision %.3f, recall %.3f",
		len(all), secrets, ours.precision(), ours.recall(), theirs.precision(), theirs.recall())
	if len(all) < 400 || secrets < 200 || len(all)-secrets < 200 {
		t.Errorf("the set has only %d lines, %d of them secrets", len(all), secrets)
	}
	if ours.precision() < 0.98 || ours.recall() < 0.98 {
		t.Error("precision or recall is below 0.98")
	}
}

// checkSealed holds that what was found is gone from what is sealed, which has the
// same objects in the same shape.
func checkSealed(t *testing.T, what string, rel *chart.Release, red *Redactor) {
	t.Helper()
	set, err := rel.Objects()
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := red.Redact(rel.Manifests)
	values, err := yaml.Marshal(rel.Values)
	if err != nil {
		t.Fatal(err)
	}
	values, _ = red.Redact(values)
	checkClean(t, what, red, rel, sealed, values)
	again := &scan{rel: &chart.Release{Manifests: sealed}, set: set, names: map[string]int{}, known: map[uint64]struct{}{}, index: map[string][]int{}}
	if again.set, err = again.rel.Objects(); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(values, &again.rel.Values); err != nil {
		t.Fatal(err)
	}
	again.objects()
	again.values()
	for _, f := range again.found {
		for _, v := range append(f.also, f.value) {
			if !strings.Contains(v, mask) && !strings.Contains(v, notBase64) && !isMasked(v) {
				t.Errorf("%s: %s is still in clear after redaction: %q", what, f.place.Key, v)
			}
		}
	}
}

func isMasked(v string) bool {
	plain, err := decodeBase64(v)
	return err == nil && strings.Contains(string(plain), mask)
}
