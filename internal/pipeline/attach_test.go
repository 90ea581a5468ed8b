package pipeline

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAttachBoundsWaivers: what is attached rests on no waiver that the gate refuses.
func TestAttachBoundsWaivers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.pod()
	folder := t.TempDir()
	profile := "name: p\ntitle: P\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: %s}]\n"
	waiver := func(target, expires string) string {
		return "waivers:\n- {control: SEC-1, target: {" + target + "}, reason: of old, approvedBy: Ada, expiresAt: " + expires + "}\n"
	}
	year, never := at.AddDate(0, 11, 0).Format(time.RFC3339), "9999-12-31T00:00:00Z"
	const refused = "without the waivers that do not count at the gate, which have expired or which the profile does not allow, it is FAIL: SEC-1 fail: "
	for name, tt := range map[string]struct {
		control, bounds, waivers string
		after                    time.Duration
		want                     string
	}{
		"an object, within a year":      {"SEC-1", "", waiver("name: a", year), time.Hour, ""},
		"an object, expired by now":     {"SEC-1", "", waiver("name: a", year), 365 * 24 * time.Hour, refused},
		"an object, for ever":           {"SEC-1", "", waiver("name: a", never), time.Hour, refused},
		"every object":                  {"SEC-1", "", waiver(`name: "*"`, year), time.Hour, refused},
		"every object, that is allowed": {"SEC-1", "waivers: {wildcards: true}\n", waiver(`name: "*"`, year), time.Hour, ""},
		"for another control":           {"SCR-1", "", waiver(`name: "*"`, never), time.Hour, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.write(filepath.Join(folder, name+".yaml"), strings.Replace(profile, "%s", tt.control, 1)+tt.bounds)
			w := b.write(filepath.Join(folder, name+"-waivers.yaml"), tt.waivers)
			var err error
			if b.Rules, err = LoadRules(RulesOptions{Profile: p, Waivers: w}); err != nil {
				t.Fatal(err)
			}
			id := b.collect(rel)
			v, err := stored(t.Context(), b.verifier, b.Repo, id)
			if err != nil {
				t.Fatal(err)
			}
			if v.Verdict().Outcome != "PASS" {
				t.Fatalf("sealed as %s: %s", v.Verdict().Outcome, v.Verdict().Reason)
			}
			err = Bounded(v, v.Verdict().EvaluatedAt.Add(tt.after))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
