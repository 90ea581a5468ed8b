package gate

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
)

const goodProfile = `name: strict
title: Strict
scope: release
failOn: low
maxAge: 24h
controls:
  - {id: SEC-1}
  - {id: SEC-2, optional: true, failOn: high, maxAge: 1h}
`

const goodCatalog = `version: "1"
groups: [{id: SEC, title: Security}]
frameworks: [{id: cis, title: CIS, url: "https://example.org"}]
controls:
  - id: SEC-1
    group: SEC
    title: T
    statement: S
    severity: high
    collector: podsecurity
    rules: [podsecurity/*]
    remediation: R
    frameworks: {cis: ["5.2.2"]}
`

const goodWaivers = `waivers:
  - control: SEC-1
    target: {kind: Deployment, name: "legacy-*"}
    reason: replaced in March
    approvedBy: Ada
    expiresAt: 2027-03-31
`

func TestParseGood(t *testing.T) {
	t.Parallel()
	p, err := ParseProfile([]byte(goodProfile))
	if err != nil {
		t.Fatal(err)
	}
	want := &evidence.Profile{
		Name: "strict", Title: "Strict", Scope: evidence.ScopeRelease, FailOn: evidence.SeverityLow, MaxAge: evidence.Duration(24 * time.Hour),
		Controls: []evidence.ProfileControl{{ID: "SEC-1"}, {ID: "SEC-2", Optional: true, FailOn: evidence.SeverityHigh, MaxAge: evidence.Duration(time.Hour)}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	c, err := ParseCatalog([]byte(goodCatalog))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Controls[0].Frameworks["cis"]; len(got) != 1 || got[0] != "5.2.2" {
		t.Errorf("frameworks are %v", c.Controls[0].Frameworks)
	}
	err = ValidateProfile(p, c)
	if err == nil || err.Error() != "profile strict: controls[1].id: \"SEC-2\": unknown control: `helmproof controls` lists them" {
		t.Errorf("a control that the catalog lacks: %v", err)
	}
	ws, err := ParseWaivers([]byte(goodWaivers))
	if err != nil {
		t.Fatal(err)
	}
	wantWaiver := evidence.Waiver{
		Control: "SEC-1", Target: evidence.Selector{Kind: "Deployment", Name: "legacy-*"}, Reason: "replaced in March",
		ApprovedBy: "Ada", ExpiresAt: time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff([]evidence.Waiver{wantWaiver}, ws); diff != "" {
		t.Error(diff)
	}
	for _, empty := range []string{"", "# nothing\n", "waivers: []\n", "---\n"} {
		if ws, err := ParseWaivers([]byte(empty)); err != nil || len(ws) != 0 {
			t.Errorf("%q: %v, %v", empty, ws, err)
		}
	}
}

// Each case replaces one thing in a good file; the error names its place and what is allowed.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	const severity = "want critical, high, medium, low or info"
	tests := []struct{ file, replace, with, want string }{
		{goodProfile, "title: Strict", "titel: Strict", "line 2: titel: unknown key: want one of baseline, controls, description, failOn, maxAge, name, scope, title"},
		{goodProfile, "title: Strict", "title: Strict\ntitle: Lax", "line 3: title: key is given twice"},
		{goodProfile, "title: Strict", "title: 5", `line 2: title: "5": want text, in quotes`},
		{goodProfile, "title: Strict", "title: [a]", `line 2: title: want text, got a list`},
		{goodProfile, "title: Strict", "title:", `line 2: title: want text, got nothing`},
		{goodProfile, "title: Strict\n", "", "title: missing"},
		{goodProfile, "name: strict", "name: Strict Name", `name: "Strict Name": want lower-case letters, digits, - and ., at most 63`},
		{goodProfile, "scope: release", "scope: all", `scope: "all": want release, cluster, drill or composed`},
		{goodProfile, "failOn: low", "failOn: lo", `failOn: "lo": ` + severity},
		{goodProfile, "failOn: low\n", "", "failOn: " + severity},
		{goodProfile, "maxAge: 24h", "maxAge: 24", `line 5: maxAge: "24": want text`},
		{goodProfile, "maxAge: 24h", "maxAge: -24h", `line 5: maxAge: duration "-24h": must not be negative`},
		{goodProfile, "maxAge: 24h\n", "", `maxAge: missing: how old evidence may be when it is gated on, like "168h"`},
		{goodProfile, "{id: SEC-1}", "{id: sec-1}", `controls[0].id: "sec-1": want a control id like SEC-1`},
		{goodProfile, "{id: SEC-1}", "{id: SEC-2}", `controls[1].id: "SEC-2": is named twice`},
		{goodProfile, "{id: SEC-1}", "{id: SEC-1, optional: true}", `controls: all are optional: a profile that requires nothing decides nothing`},
		{goodProfile, "{id: SEC-1}", "{id: SEC-1, severity: low}", `line 7: controls[0].severity: unknown key: want one of added, declared, failOn, id, maxAge, optional`},
		{goodProfile, "{id: SEC-1}", "{id: SEC-1, failOn: severe}", `controls[0].failOn: "severe": ` + severity},
		{goodProfile, "optional: true", "optional: yes please", `line 8: controls[1].optional: "yes please": want true or false`},
		{goodProfile, "controls:", "---\ncontrols:", "line 6: more than one YAML document: want one"},
		{goodProfile, "name: strict", "name: &n strict", "line 1: name: anchors and aliases are not allowed: write the value out"},
		{goodProfile, "name: strict", "name: !!str strict", "line 1: name: YAML tags are not allowed"},
		{goodProfile, "name: strict", "? [a]\n: b\nname: strict", "line 1: want a key that is plain text"},
		{goodProfile, "name: strict", "name: 'strict", "parse profile: line 9: found unexpected end of stream"},

		{goodCatalog, `version: "1"`, "version: 1", `line 1: version: "1": want text, in quotes`},
		{goodCatalog, "id: SEC, ", "id: sec, ", `groups[0].id: "sec": want three capital letters`},
		{goodCatalog, "group: SEC", "group: NET", `controls[0].group: "NET": want one of the catalog's groups`},
		{goodCatalog, "id: SEC-1", "id: NET-1", `controls[0].id: "NET-1": want an id of its group SEC`},
		{goodCatalog, "severity: high", "severity: bad", `controls[0].severity: "bad": ` + severity},
		{goodCatalog, "podsecurity/*", "podsecurity", `controls[0].rules[0]: "podsecurity": want collector/rule; a * may stand at the end`},
		{goodCatalog, "podsecurity/*", "pod*/x", `controls[0].rules[0]: "pod*/x": want collector/rule; a * may stand at the end`},
		{goodCatalog, "[podsecurity/*]", "[]", `controls[0].rules: missing`},
		{goodCatalog, "statement: S", `statement: ""`, `controls[0].statement: missing`},
		{goodCatalog, "{cis: [", "{sic: [", `controls[0].frameworks.sic: want one of the catalog's frameworks`},
		{goodCatalog, "https://", "http://", `frameworks[0].url: "http://example.org": want an https:// address`},

		{goodWaivers, "waivers:", "waiver:", "line 1: waiver: unknown key: want one of waivers"},
		{goodWaivers, "control: SEC-1", "control: SEC", `waivers[0].control: "SEC": want a control id like SEC-1`},
		{goodWaivers, `target: {kind: Deployment, name: "legacy-*"}`, "target: {}", `waivers[0].target: missing: name what is waived, by rule, kind, name, namespace or container; name: "*" means every target`},
		{goodWaivers, `legacy-*`, "legacy-[", `waivers[0].target.name: "legacy-[": bad wildcard: want * for any text without "/", ? for one character, [a-z] for one of a set`},
		{goodWaivers, "reason: replaced in March", `reason: " "`, "waivers[0].reason: missing: say why the risk is accepted"},
		{goodWaivers, "reason: replaced in March", `reason: "\u200b\u2060"`, "waivers[0].reason: missing: say why the risk is accepted"},
		{goodWaivers, "approvedBy: Ada", `approvedBy: "\u3164"`, "waivers[0].approvedBy: missing: name who accepted the risk"},
		{goodWaivers, "    approvedBy: Ada\n", "", "waivers[0].approvedBy: missing: name who accepted the risk"},
		{goodWaivers, "    expiresAt: 2027-03-31\n", "", "waivers[0].expiresAt: missing: a date like 2026-12-31; a waiver without an end is not one"},
		{goodWaivers, "2027-03-31", "never", `line 6: waivers[0].expiresAt: "never": want a date like 2026-12-31 or a time like 2026-12-31T18:00:00Z`},
		{goodWaivers, "2027-03-31", "2027-02-31", `line 6: waivers[0].expiresAt: "2027-02-31": want a date`},
		{goodWaivers, "2027-03-31", "2027", `line 6: waivers[0].expiresAt: "2027": want a date`},
	}
	for _, tt := range tests {
		changed := strings.Replace(tt.file, tt.replace, tt.with, 1)
		if changed == tt.file {
			t.Fatalf("%q is not in the file", tt.replace)
		}
		var err error
		switch tt.file {
		case goodProfile:
			_, err = ParseProfile([]byte(changed))
		case goodCatalog:
			_, err = ParseCatalog([]byte(changed))
		default:
			_, err = ParseWaivers([]byte(changed))
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q instead of %q:\n got %v\nwant …%s", tt.with, tt.replace, err, tt.want)
		}
	}
	big := append([]byte(goodProfile), strings.Repeat("# more\n", MaxPolicyBytes/7+1)...)
	if _, err := ParseProfile(big); err == nil || !strings.Contains(err.Error(), "at most 1048576 are read") {
		t.Errorf("a file over the limit: %v", err)
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte(goodProfile))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProfile(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(p) // JSON is YAML
		if err != nil {
			t.Fatal(err)
		}
		q, err := ParseProfile(again)
		if err != nil {
			t.Fatalf("what was accepted is refused when written again: %v\n%s", err, again)
		}
		if diff := cmp.Diff(p, q); diff != "" {
			t.Fatal(diff)
		}
		if v := Evaluate(Input{Profile: p, Catalog: testCatalog(), At: at}); v.Outcome == evidence.VerdictPass {
			t.Fatalf("PASS without evidence by\n%s", again)
		}
	})
}

func FuzzParseCatalog(f *testing.F) {
	f.Add([]byte(goodCatalog))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCatalog(b)
		if err != nil {
			return
		}
		for _, x := range c.Controls {
			if got, ok := c.Control(x.ID); !ok || got.Title != x.Title || x.Severity.Validate() != nil || len(x.Rules) == 0 {
				t.Fatalf("accepted: %+v", x)
			}
		}
	})
}

func FuzzParseWaivers(f *testing.F) {
	f.Add([]byte(goodWaivers))
	f.Add([]byte("waivers: []\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ws, err := ParseWaivers(b)
		if err != nil {
			return
		}
		for _, w := range ws {
			if w.ExpiresAt.IsZero() || strings.TrimSpace(w.Reason) == "" || strings.TrimSpace(w.ApprovedBy) == "" || w.Target == (evidence.Selector{}) {
				t.Fatalf("accepted: %+v", w)
			}
		}
		Evaluate(Input{Profile: testProfile("AAA-1"), Catalog: testCatalog(), Waivers: ws, At: at})
	})
}
