package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/signatures/signtest"
)

// Somebody without a key reviews, and withdraws: what is to be signed is written, signed
// with a certificate as cosign does, and stored where it counts and nowhere else.
func TestAttestIdentity(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), signtest.NewSigstore(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	identity := "issuer: " + signtest.Issuer + "\nsubject: " + signtest.Identity + "\ntrustedRoot: root.json\n"
	writeFiles(t, dir, map[string]string{
		"runbook.md": "# Runbook\n", "root.json": string(s.TrustedRoot(t)), "ci.identity.yaml": identity,
		"none.identity.yaml":  strings.Replace(identity, "subject: ", "subject: ''\nmore: ", 1),
		"plain.identity.yaml": strings.Replace(identity, "https://", "http://", 1),
		"empty.identity.yaml": strings.Replace(identity, "subject: "+signtest.Identity, "subject: ''", 1),
		"lost.identity.yaml":  strings.Replace(identity, "root.json", "gone.json", 1),
		"key.identity.yaml":   strings.Replace(identity, "root.json", "runbook.md", 1),
	})
	as := "security=" + at("ci.identity.yaml")
	ask := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), append(args, "--repo", at("repo")), stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != want {
			t.Fatalf("%v: exit code %d, want %d\n%s%s", args, code, want, out.String(), errs.String())
		}
		return out.String(), errs.String()
	}
	sign := func(statement string) string {
		now := time.Now().Add(-time.Second).Truncate(time.Second)
		cert, key := s.Leaf(t, signtest.Identity, now, true)
		must(t, os.WriteFile(at("signed.json"), signtest.Marshal(t, s.Bundle(t, cert, key, []byte(statement), now)), 0o600))
		return at("signed.json")
	}
	review := []string{"attest", at("runbook.md"), "--role", "security", "--reason", "read it all"}

	for name, want := range map[string]string{
		"none": `unknown key`, "plain": "want the https URL", "empty": "want a mail address", "lost": "gone.json", "key": "trusted root",
	} {
		if _, stderr := ask(exitUsage, append(review, "--identity", at(name+".identity.yaml"))...); !strings.Contains(stderr, want) {
			t.Errorf("%s: %s", name, stderr)
		}
		if _, stderr := ask(exitUsage, append(review, "--role-key", "security="+at(name+".identity.yaml"))...); !strings.Contains(stderr, want) {
			t.Errorf("%s: %s", name, stderr)
		}
	}

	statement, _ := ask(exitPass, append(review, "--identity", at("ci.identity.yaml"))...)
	signed := sign(statement)
	if _, stderr := ask(exitUsage, "attest", "store", signed); !strings.Contains(stderr, "it is not stored, since it does not count here (untrusted): no key is named for role security") {
		t.Error(stderr)
	}
	if stdout, _ := ask(exitPass, "list", "--reviews"); !strings.Contains(stdout, "no reviews in") {
		t.Error(stdout)
	}
	stdout, _ := ask(exitPass, "attest", "store", signed, "--role-key", as, "-o", "json")
	var stored struct{ Review struct{ ID, Status string } }
	must(t, json.Unmarshal([]byte(stdout), &stored))
	if stdout, _ := ask(exitPass, "verify", "--reviews", "--role-key", as); !strings.Contains(stdout, "COUNTS") || !strings.Contains(strings.Join(strings.Fields(stdout), ""), signtest.Identity) {
		t.Error(stdout)
	}

	statement, _ = ask(exitPass, "attest", "withdraw", stored.Review.ID, "--reason", "too fast", "--identity", at("ci.identity.yaml"), "--role-key", as)
	ask(exitPass, "attest", "store", sign(statement), "--role-key", as)
	if stdout, _ := ask(exitPass, "list", "--reviews", "--role-key", as); !strings.Contains(stdout, "DOES NOT COUNT") || !strings.Contains(stdout, "too fast") {
		t.Error(stdout)
	}
	if _, stderr := ask(exitUsage, "attest", "store", at("runbook.md"), "--role-key", as); !strings.Contains(stderr, "not a Sigstore bundle") {
		t.Error(stderr)
	}
}
