package collectors

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// sealedFiles are artifacts in memory.
type sealedFiles map[string][]byte

func (s sealedFiles) Read(name string) ([]byte, error) {
	if raw, ok := s[name]; ok {
		return raw, nil
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

func (s sealedFiles) Names() []string { return nil }

func TestFieldsOfFindings(t *testing.T) {
	t.Parallel()
	const pod = `
    spec:
      securityContext: {runAsNonRoot: true}
      containers:
      - name: web
        image: a
        securityContext:
          allowPrivilegeEscalation: true
        env:
        - name: A
          value: b
      initContainers:
      - name: init
        image: b
      volumes:
      - name: v
        secret: {secretName: s}
`
	stream := "---\n# Source: templates/a.yaml:1\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  template:" + pod
	var b manifest.MapBuilder
	b.Add("templates/a.yaml", 3, strings.Count(stream, "\n")-2, func(i int) (manifest.Origin, bool) {
		return manifest.Origin{At: evidence.Place{File: "templates/a.yaml", Line: 100 + i}}, true
	})
	sources, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	files := sealedFiles{ManifestsFile: []byte(stream), SourcesFile: sources}
	w := NewSealed(files, nil).where()
	if w == nil {
		t.Fatal("nothing finds places")
	}
	const spec = "spec.template.spec"
	for _, tc := range []struct {
		rule, container, message string
		field                    string
		line                     int
	}{
		{"policy/image-digest", "web", "image a has no sha256 digest", spec + ".containers[0].image", 110},
		{"policy/image-digest", "init", "image b has no sha256 digest", spec + ".initContainers[0].image", 118},
		{"policy/resource-limits", "web", "no cpu limit, no memory limit", spec + ".containers[0].resources.limits", 109},
		{"policy/resource-limits", "web", "no memory limit", spec + ".containers[0].resources.limits.memory", 109},
		{"policy/privilege-escalation", "web", "allowPrivilegeEscalation is not false, capabilities do not drop ALL", spec + ".containers[0].securityContext.allowPrivilegeEscalation", 112},
		{"policy/privilege-escalation", "web", "capabilities do not drop ALL", spec + ".containers[0].securityContext.capabilities.drop", 111},
		{"policy/run-as-non-root", "web", "no runAsUser", spec + ".containers[0].securityContext.runAsUser", 111},
		{"policy/run-as-non-root", "", "no fsGroup in the pod's securityContext", spec + ".securityContext.fsGroup", 107},
		{"workload/replicas", "", "fewer than 2 replicas: spec.replicas is 1", "spec.replicas", 104},
		{"workload/secret-from-externalsecret", "", "volume v refers to Secret s, which nothing makes", spec + ".volumes[0].secret.secretName", 121},
		{"secrets/env-literal", "web", "a literal value that looks like a secret in env A", spec + ".containers[0].env[0].value", 115},
		{"podsecurity/restricted", "web", `allowPrivilegeEscalation != false: container "web" must set securityContext.allowPrivilegeEscalation=false`, spec + ".containers[0].securityContext.allowPrivilegeEscalation", 112},
		{"helm/kubernetes-schema", "", `spec.template.spec.containers[0].image: Invalid value: "a"`, spec + ".containers[0].image", 110},
		{"workload/network-policy", "", "no NetworkPolicy restricts ingress to its pods", "", 100},
		{"policy/startup-probe", "gone", "no startupProbe", "", 100},
	} {
		t.Run(tc.rule+" "+tc.message, func(t *testing.T) {
			t.Parallel()
			f := evidence.Finding{Rule: tc.rule, Message: tc.message, Outcome: evidence.OutcomeFail,
				Target: evidence.Target{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Container: tc.container, File: "templates/a.yaml", Line: 1}}
			w.locate(&f)
			if f.Field != tc.field || f.Target.Line != tc.line {
				t.Errorf("have %s at line %d, want %s at line %d", f.Field, f.Target.Line, tc.field, tc.line)
			}
		})
	}
	passed := evidence.Finding{Rule: "policy/image-digest", Outcome: evidence.OutcomePass, Target: evidence.Target{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", File: "templates/a.yaml", Line: 1}}
	if w.locate(&passed); passed.Field != "" || passed.Target.Line != 1 {
		t.Errorf("a pass was given a place: %+v", passed)
	}
	// A bundle without the map, or with one that cannot be read, shows what it showed.
	for name, raw := range map[string][]byte{"none": nil, "damaged": []byte(`{"files":[],"documents":[{"file":3}]}`)} {
		files := sealedFiles{ManifestsFile: []byte(stream)}
		if raw != nil {
			files[SourcesFile] = raw
		}
		if NewSealed(files, nil).where() != nil {
			t.Errorf("%s: there are places", name)
		}
	}
}
