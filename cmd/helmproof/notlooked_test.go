package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNotLookedAt holds what the threat model says is not looked at: where a control
// begins to see one of these, it is to say so.
func TestNotLookedAt(t *testing.T) {
	t.Parallel()
	const objects = `
apiVersion: v1
kind: Service
metadata: {name: taken, namespace: shop}
spec: {selector: {app: shop}, ports: [{port: 443}], externalIPs: [8.8.8.8]}
---
apiVersion: v1
kind: Service
metadata: {name: metadata, namespace: shop}
spec: {type: ExternalName, externalName: metadata.google.internal}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: reader}
webhooks:
  - name: reader.example.com
    clientConfig: {url: "https://reader.example.com/objects"}
    rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
    sideEffects: None
    failurePolicy: Ignore
    admissionReviewVersions: [v1]
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: everybody}
value: 1000000
globalDefault: true
`
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(objects), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"check", "--manifests", file, "--profile", "chart", "-o", "json"}, stdio{in: strings.NewReader(""), out: &out, err: &errs})
	if code != exitPass {
		t.Fatalf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	var got struct {
		Releases []struct {
			Verdict struct {
				Results []struct {
					Control string
					Counts  struct{ Fail, Warn, NotChecked, Error int }
				}
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Releases) != 1 || len(got.Releases[0].Verdict.Results) == 0 {
		t.Fatalf("no results: %v %s", err, out.String())
	}
	for _, r := range got.Releases[0].Verdict.Results {
		if c := r.Counts; c.Fail+c.Warn+c.NotChecked+c.Error > 0 {
			t.Errorf("%s looks at something: %+v", r.Control, c)
		}
	}
}
