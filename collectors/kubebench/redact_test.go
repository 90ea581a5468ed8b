package kubebench

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/etcd.json")
	if err != nil {
		t.Fatal(err)
	}
	got, checks, err := redact(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"made-up-cluster-token", "another-made-up", "second line", "first line", "hunter2", "opensesame"} {
		if bytes.Contains(got, []byte(secret)) {
			t.Errorf("%q is still there", secret)
		}
	}
	want := []redactedCheck{{"2.1", 4}, {"2.2", 3}, {"2.3", 1}}
	if d := cmp.Diff(want, checks, cmp.AllowUnexported(redactedCheck{})); d != "" {
		t.Error(d)
	}
	r, err := parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if f := r.faults("cis-1.12"); len(f) != 0 {
		t.Error(f)
	}
	var o struct {
		Controls []struct {
			Tests []struct {
				Results []struct {
					Actual string `json:"actual_value"`
					Reason string `json:"reason"`
				}
			}
		}
	}
	if err := json.Unmarshal(got, &o); err != nil {
		t.Fatal(err)
	}
	res := o.Controls[0].Tests[0].Results
	for i, want := range []string{
		"HOME=[redacted]\nETCD_INITIAL_CLUSTER_TOKEN=[redacted]\nETCD_LISTEN=\nPEM=[redacted]\n[redacted]",
		"root 7 etcd --initial-cluster-token=[redacted] --password=[redacted] --peer=https://root:[redacted]@10.0.0.1:2379/x --cert-file=/pki/tls.crt", "",
	} {
		if res[i].Actual != want {
			t.Errorf("actual value %d:\n got %s\nwant %s", i, res[i].Actual, want)
		}
	}
	if res[2].Reason != redacted {
		t.Errorf("reason %q", res[2].Reason)
	}
	// All else is as it was.
	for _, line := range strings.Split(string(raw), "\n") {
		if !strings.Contains(line, "actual_value") && !strings.Contains(line, "reason") && !strings.Contains(string(got), line) {
			t.Errorf("a line was changed: %s", line)
		}
	}
	again, more, err := redact(got)
	if err != nil || !bytes.Equal(again, got) && len(more) == 0 {
		t.Errorf("redacting again: %v", err)
	}
}

func TestRedactLeavesTheRest(t *testing.T) {
	t.Parallel()
	raw := record{benchmark: "cis-1.12", targets: map[string]string{"node": "PASS FAIL WARN INFO"}}.bytes(t)
	got, checks, err := redact(raw)
	if err != nil || len(checks) != 0 || !bytes.Equal(got, raw) {
		t.Fatalf("%v %v", checks, err)
	}
}

// A check's environment is redacted in whatever order and case its keys come.
func TestRedactHostile(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"order":      `[{"tests":[{"results":[{"actual_value":"A=secretsecret","test_number":"1","AuditEnv":"x"}]}]}]`,
		"case":       `[{"tests":[{"results":[{"auditenv":"x","Actual_Value":"A=secretsecret"}]}]}]`,
		"twice":      `[{"tests":[{"results":[{"AuditEnv":"x","AuditEnv":"","actual_value":"A=secretsecret","actual_value":"B=secretsecret"}]}]}]`,
		"no text":    `[{"tests":[{"results":[{"AuditEnv":["x"],"actual_value":"A=secretsecret"}]}]}]`,
		"escaped":    `[{"tests":[{"results":[{"Audit\u0045nv":"x","actual\u005fvalue":"A=secret\u0073ecret"}]}]}]`,
		"elsewhere":  `[{"tests":[{"results":[{"AuditEnv":"x","actual_value":"A=secretsecret"},{"actual_value":"etcd --x secretsecret"}]}]}]`,
		"one object": `{"AuditEnv":"x","reason":"output: \"A=secretsecret\""}`,
	} {
		got, checks, err := redact([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !json.Valid(got) || bytes.Contains(got, []byte("secret")) || bytes.Contains(got, []byte(`\u0073`)) || len(checks) == 0 {
			t.Errorf("%s: %s (%v)", name, got, checks)
		}
	}
	for in, want := range map[string]string{
		``: "empty or cut off", `{"a":`: "is not JSON", `[] []`: "more than one", `x`: "is not JSON", `[{"a":"b"`: "not JSON", `["a"]x`: "not JSON",
		`[{"AuditEnv":"x","actual_value":["A=secret"]}]`: "actual_value is no text",
	} {
		if _, _, err := redact([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	raw, err := os.ReadFile("testdata/etcd.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`[{"AuditEnv":"x","actual_value":"A=b"}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, checks, err := redact(raw)
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("not JSON any more: %q", got)
		}
		if len(checks) == 0 && !bytes.Equal(got, raw) {
			t.Fatalf("changed, and not declared: %q", got)
		}
	})
}
