package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
)

// The design's table of controls: how many each group has. Ids count from 1.
var groups = []struct {
	id    string
	count int
}{
	{"CHT", 5}, {"RES", 4}, {"HLT", 4}, {"AVL", 5}, {"SEC", 7}, {"RBC", 3}, {"IMG", 6}, {"SCR", 5}, {"ASC", 6},
	{"ADM", 8}, {"CIS", 3}, {"DRF", 1}, {"RSL", 5}, {"POL", 1},
}

func TestCatalogIsWhole(t *testing.T) {
	t.Parallel()
	_, c := Catalog()
	var want, got []string
	for _, g := range groups {
		for i := range g.count {
			want = append(want, fmt.Sprintf("%s-%d", g.id, i+1))
		}
	}
	for _, x := range c.Controls {
		got = append(got, string(x.ID))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	collectors := []string{"helm", "podsecurity", "policy", "workload", "rbac", "secrets", "images", "signatures", "kubebench", "admission",
		"externalsecrets", "autoscaling", "live", "spread", "controllers", "chaos", "rollback", "load", "forecast", "accesslog"}
	for _, x := range c.Controls {
		if !slices.Contains(collectors, x.Collector) {
			t.Errorf("%s: unknown collector %s", x.ID, x.Collector)
		}
		for _, r := range x.Rules {
			if !strings.HasPrefix(r, x.Collector+"/") {
				t.Errorf("%s: rule %s is not one of collector %s", x.ID, r, x.Collector)
			}
		}
		for _, s := range []string{x.Statement, x.Remediation} {
			if !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "…") || strings.Contains(s, "  ") {
				t.Errorf("%s: not a sentence: %q", x.ID, s)
			}
		}
	}
}

// Each policy repeats the title, severity and remediation of its control, for
// whoever reads it in a cluster.
func TestPoliciesSayWhatTheCatalogSays(t *testing.T) {
	t.Parallel()
	const prefix = "helmproof.companyos.github.io/"
	_, c := Catalog()
	for _, x := range c.Controls {
		rule, ok := strings.CutPrefix(x.Rules[0], "policy/")
		if !ok || rule == "*" {
			continue
		}
		raw, err := os.ReadFile("../templates/policies/" + rule + ".yaml")
		if err != nil {
			t.Errorf("%s: %v", x.ID, err)
			continue
		}
		first, _, _ := strings.Cut(string(raw), "\n---\n")
		var policy struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(first), &policy); err != nil {
			t.Errorf("%s: %v", rule, err)
			continue
		}
		want := map[string]string{
			prefix + "controls": string(x.ID), prefix + "title": x.Title,
			prefix + "severity": string(x.Severity), prefix + "remediation": x.Remediation,
		}
		if diff := cmp.Diff(want, policy.Metadata.Annotations); diff != "" {
			t.Errorf("%s (catalog -, policy +):\n%s", rule, diff)
		}
	}
}

func TestReferencesAreWellFormed(t *testing.T) {
	t.Parallel()
	nsa := []string{ // section titles of the guidance
		`"Non-root" containers and "rootless" container engines`, "Immutable container file systems", "Building secure container images",
		"Pod security enforcement", "Protecting Pod service account tokens", "Hardening container environments",
		"Namespaces", "Network policies", "Resource policies", "Control plane hardening", "Worker node segmentation", "Encryption", "Secrets",
		"Audit Logging and Threat Detection", "Authentication and authorization", "Upgrading and application security practices",
	}
	for i := range nsa {
		nsa[i] = regexp.QuoteMeta(nsa[i])
	}
	baseline := `HostProcess|Host Namespaces|Privileged Containers|Capabilities|HostPath Volumes|Host Ports|Host Probes / Lifecycle Hooks|AppArmor|SELinux|/proc Mount Type|Seccomp|Sysctls`
	restricted := `Volume Types|Privilege Escalation|Running as Non-root|Running as Non-root user|Seccomp|Capabilities`
	patterns := map[string]*regexp.Regexp{
		"pss": regexp.MustCompile(`^(baseline: (` + baseline + `)|restricted: (` + restricted + `))$`),
		// Section 5 of v1.12: 5.1 to 5.6 with that many recommendations each; or a whole section.
		"cis":      regexp.MustCompile(`^([1-5]|5\.1\.([1-9]|1[0-3])|5\.2\.([1-9]|1[0-2])|5\.3\.[12]|5\.4\.[12]|5\.5\.1|5\.6\.[1-4])$`),
		"nsa":      regexp.MustCompile(`^(` + strings.Join(nsa, "|") + `)$`),
		"nist":     regexp.MustCompile(`^(AC|AT|AU|CA|CM|CP|IA|IR|MA|MP|PE|PL|PM|PS|PT|RA|SA|SC|SI|SR)-[1-9][0-9]?(\([1-9][0-9]?\))?$`),
		"soc2":     regexp.MustCompile(`^(CC[1-9]\.[1-9]|A1\.[1-3]|C1\.[12]|PI1\.[1-5]|P[1-8]\.[1-9])$`),
		"iso27001": regexp.MustCompile(`^A\.(5\.([1-9]|[12][0-9]|3[0-7])|6\.[1-8]|7\.([1-9]|1[0-4])|8\.([1-9]|[12][0-9]|3[0-4]))$`),
	}
	_, c := Catalog()
	if len(c.Frameworks) != len(patterns) {
		t.Errorf("%d frameworks, %d patterns", len(c.Frameworks), len(patterns))
	}
	for _, x := range c.Controls {
		for f, refs := range x.Frameworks {
			seen := map[string]bool{}
			for _, r := range refs {
				if p := patterns[f]; p == nil || !p.MatchString(r) || seen[r] {
					t.Errorf("%s: %s: %q is malformed or given twice", x.ID, f, r)
				}
				seen[r] = true
			}
		}
		for _, f := range []string{"nist", "soc2", "iso27001"} {
			if len(x.Frameworks[f]) == 0 {
				t.Errorf("%s maps to nothing in %s", x.ID, f)
			}
		}
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string{"chart", "cluster", "drill", "images", "live", "node-agent", "release", "starter"}, Profiles()); diff != "" {
		t.Error(diff)
	}
	_, c := Catalog()
	scopes := map[string]evidence.Scope{"chart": evidence.ScopeRelease, "cluster": evidence.ScopeCluster, "drill": evidence.ScopeDrill, "images": evidence.ScopeRelease, "live": evidence.ScopeRelease, "node-agent": evidence.ScopeRelease, "release": evidence.ScopeComposed, "starter": evidence.ScopeRelease}
	for _, name := range Profiles() {
		raw, p, err := Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != name || p.Scope != scopes[name] || len(raw) == 0 {
			t.Errorf("profile %s is named %s and of scope %s", name, p.Name, p.Scope)
		}
		if !slices.IsSortedFunc(p.Controls, func(a, b evidence.ProfileControl) int {
			at := func(id evidence.ControlID) int {
				return slices.IndexFunc(c.Controls, func(x evidence.Control) bool { return x.ID == id })
			}
			return at(a.ID) - at(b.ID)
		}) {
			t.Errorf("profile %s is not in the catalog's order", name)
		}
	}
	_, release, err := Profile("release")
	if err != nil {
		t.Fatal(err)
	}
	// SCR-5 needs logs that only some can export: it is shown where there are any.
	for _, x := range c.Controls {
		if !slices.ContainsFunc(release.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == x.ID && pc.Optional == (x.ID == "SCR-5") }) {
			t.Errorf("profile release does not require %s", x.ID)
		}
	}
}

func TestOwnProfilesAndWaivers(t *testing.T) {
	t.Parallel()
	const head = "name: own\ntitle: Own\nscope: release\nfailOn: high\nmaxAge: 24h\ncontrols:\n"
	const waiver = "waivers:\n  - control: SEC-1\n    target: {name: x}\n    reason: r\n    approvedBy: a\n    expiresAt: 2027-01-01\n"
	dir := write(t, map[string]string{
		"good.yaml": head + "  - {id: SEC-1}\n", "control.yaml": head + "  - {id: SEC-1}\n  - {id: SEC-99}\n", "broken.yaml": head + "  - {id: SEC-1, optional: maybe}\n",
		"waivers.yaml": waiver, "waivers-control.yaml": strings.Replace(waiver, "SEC-1", "SEC-99", 1), "waivers-broken.yaml": strings.Replace(waiver, "r\n", "''\n", 1),
	})
	raw, p, err := Profile(filepath.Join(dir, "good.yaml"))
	if err != nil || p.Name != "own" || !strings.HasPrefix(string(raw), "name: own") {
		t.Errorf("own profile: %v, %v", p, err)
	}
	raw, ws, err := Waivers(filepath.Join(dir, "waivers.yaml"))
	if err != nil || len(ws) != 1 || string(raw) != waiver {
		t.Errorf("waivers: %v, %v", ws, err)
	}
	if raw, ws, err := Waivers(""); raw != nil || ws != nil || err != nil {
		t.Errorf("no waivers: %q, %v, %v", raw, ws, err)
	}
	profile := func(name string) error { _, _, err := Profile(name); return err }
	waivers := func(name string) error { _, _, err := Waivers(name); return err }
	tests := []struct {
		load       func(string) error
		name, want string
	}{
		{profile, "char", `profile: "char": want chart, cluster, drill, images, live, node-agent, release, starter or a file like ./profile.yaml`},
		{profile, "../profiles/chart", "read profile: open ../profiles/chart: no such file or directory"},
		{profile, dir + "/gone.yaml", "read profile: open " + dir + "/gone.yaml: no such file or directory"},
		{profile, dir + "/control.yaml", dir + "/control.yaml: controls[1].id: \"SEC-99\": unknown control: `helmproof controls` lists them"},
		{profile, dir + "/broken.yaml", dir + `/broken.yaml: controls[0].optional: "maybe": want true or false`},
		{waivers, dir + "/gone.yaml", "read waivers: open " + dir + "/gone.yaml: no such file or directory"},
		{waivers, dir + "/waivers-control.yaml", dir + "/waivers-control.yaml: waivers[0].control: \"SEC-99\": want a control of the catalog: `helmproof controls` lists them"},
		{waivers, dir + "/waivers-broken.yaml", dir + "/waivers-broken.yaml: waivers[0].reason: missing: say why the risk is accepted"},
	}
	for _, tt := range tests {
		err := tt.load(tt.name)
		var bad *Error
		if !errors.As(err, &bad) || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.name, err, tt.want)
		}
	}
	big := write(t, map[string]string{"big.yaml": strings.Repeat("#", gate.MaxPolicyBytes+1)})
	if err := profile(big + "/big.yaml"); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("a file over the limit: %v", err)
	}
}
