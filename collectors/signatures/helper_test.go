package signatures

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/signatures/signtest"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// signtest's, by short names.
var (
	newHost, newKey, publicPEM, sign     = signtest.NewHost, signtest.NewKey, signtest.PublicPEM, signtest.Sign
	simplePayload, statementOf, pae      = signtest.SimplePayload, signtest.Statement, signtest.PAE
	attachLegacy, legacyLayer            = signtest.AttachLegacy, signtest.LegacyLayer
	attachBundle, keyBundle, newSigstore = signtest.AttachBundle, signtest.KeyBundle, signtest.NewSigstore
)

type (
	host  = signtest.Host
	layer = signtest.Layer
)

const issuer, identity = signtest.Issuer, signtest.Identity

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// policyYAML is a ClusterImagePolicy for all images with those authorities (YAML of a list, indented by two).
func policyYAML(name, authorities string) PolicyFile {
	return PolicyFile{Name: name + ".yaml", Raw: []byte(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: ` + name + `
spec:
  images:
    - glob: "**"
  authorities:
` + authorities)}
}

func keyAuthority(pem string) string {
	return "    - name: team\n      key:\n        data: |\n          " + strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n          ") + "\n"
}

// writer is the collector's folder.
type writer struct{ a *collectors.Artifacts }

func (w writer) Write(name string, content []byte) error {
	_, err := w.a.Put(folder+name, content)
	return err
}

// collect runs Collect for the images.
func collect(t testing.TB, o Options, images ...string) *collectors.Artifacts {
	t.Helper()
	c, err := New(o)
	check(t, err)
	art := collectors.NewArtifacts(nil)
	info := evidence.Release{Chart: "demo", Images: images}
	body, err := json.Marshal(info)
	check(t, err)
	_, err = art.Put(collectors.ReleaseFile, body)
	check(t, err)
	check(t, c.Collect(context.Background(), collectors.Input{Release: &chart.Release{Info: info}}, writer{art}))
	return art
}

// derive derives the findings twice, by a collector that knows no options: from the sealed bytes alone.
func derive(t testing.TB, art evidence.ArtifactReader) []evidence.Finding {
	t.Helper()
	var last []evidence.Finding
	for i := range 2 {
		c, err := New(Options{})
		check(t, err)
		found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), c)
		check(t, err)
		if diff := cmp.Diff(last, found); i > 0 && diff != "" {
			t.Errorf("derived again:\n%s", diff)
		}
		last = found
	}
	for _, f := range last {
		if f.Rule != RuleVerified {
			t.Errorf("finding %+v: another rule", f)
		}
		if (f.Outcome == evidence.OutcomePass || f.Outcome == evidence.OutcomeNotApplicable) == (f.Remediation != "") {
			t.Errorf("finding %+v: remediation", f)
		}
		for _, p := range f.Evidence {
			if p.Digest == "" {
				t.Errorf("finding %q points to %s, which is not sealed", f.Message, p.Artifact)
			}
		}
	}
	return last
}

// want is a finding by outcome and parts of its message.
type want struct {
	outcome evidence.Outcome
	parts   []string
}

func verdict(t testing.TB, found []evidence.Finding, w want) {
	t.Helper()
	if len(found) != 1 {
		t.Fatalf("%d findings, want 1: %+v", len(found), found)
	}
	f := found[0]
	if f.Outcome != w.outcome {
		t.Errorf("outcome %s, want %s: %s", f.Outcome, w.outcome, f.Message)
	}
	for _, p := range w.parts {
		if !strings.Contains(f.Message, p) {
			t.Errorf("message %q, want %q in it", f.Message, p)
		}
	}
}
