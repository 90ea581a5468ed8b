package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
)

func writeProfiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What an extension says counts, the rest is as in what it extends, and what is sealed
// needs no other file.
func TestExtends(t *testing.T) {
	t.Parallel()
	dir := writeProfiles(t, map[string]string{
		"base.yaml": "name: base\ntitle: Base\nextends: release\nfailOn: medium\nwithout: [CHT-2]\n",
		"team.yaml": "name: team\ntitle: Team\nextends: base.yaml\nbaseline: true\ncontrols:\n  - {id: IMG-2, failOn: critical}\n  - {id: SEC-5, optional: true}\n  - {id: SCR-5, optional: false}\n",
	})
	raw, p, err := Profile(filepath.Join(dir, "team.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	line := func(id evidence.ControlID) evidence.ProfileControl {
		i := slices.IndexFunc(p.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == id })
		if i < 0 {
			return evidence.ProfileControl{}
		}
		return p.Controls[i]
	}
	_, release, err := Profile("release")
	if err != nil {
		t.Fatal(err)
	}
	img := line("IMG-2")
	switch {
	case p.Name != "team" || p.FailOn != evidence.SeverityMedium || p.Scope != release.Scope || p.MaxAge != release.MaxAge || !p.Baseline:
		t.Errorf("profile %+v", p)
	case line("CHT-2").ID != "" || len(p.Controls) != len(release.Controls)-1:
		t.Errorf("%d controls, CHT-2 among them: %v", len(p.Controls), line("CHT-2").ID != "")
	case img.FailOn != evidence.SeverityCritical || img.MaxAge == 0 || !line("SEC-5").Optional || line("SCR-5").Optional:
		t.Errorf("lines %+v %+v %+v", img, line("SEC-5"), line("SCR-5"))
	case strings.Contains(string(raw), "extends"):
		t.Errorf("what is sealed still extends: %s", raw)
	}
}

// A profile that only has the word among its texts extends nothing.
func TestExtendsIsAKey(t *testing.T) {
	t.Parallel()
	dir := writeProfiles(t, map[string]string{"own.yaml": "name: extends\ntitle: extends\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: SEC-1}]\n"})
	if _, p, err := Profile(filepath.Join(dir, "own.yaml")); err != nil || p.Title != "extends" {
		t.Errorf("%+v, %v", p, err)
	}
}

// An extension that accepts more waivers does not lift the bound on their end by that.
func TestExtendsKeepsMaxAge(t *testing.T) {
	t.Parallel()
	dir := writeProfiles(t, map[string]string{
		"base.yaml":   "name: base\ntitle: Base\nextends: chart\nwaivers: {maxAge: 720h, chart: true}\n",
		"same.yaml":   "name: same\ntitle: Same\nextends: base.yaml\nwaivers: {annotations: true}\n",
		"longer.yaml": "name: longer\ntitle: Longer\nextends: base.yaml\nwaivers: {maxAge: 2160h}\n",
	})
	for name, want := range map[string]evidence.WaiverBounds{
		"same.yaml":   {MaxAge: evidence.Duration(720 * time.Hour), Annotations: true},
		"longer.yaml": {MaxAge: evidence.Duration(2160 * time.Hour)},
	} {
		_, p, err := Profile(filepath.Join(dir, name))
		if err != nil || p.Waivers == nil || *p.Waivers != want {
			t.Errorf("%s: %+v, %v; want %+v", name, p, err, want)
		}
	}
}

func TestExtendsRefused(t *testing.T) {
	t.Parallel()
	const head = "name: x\ntitle: X\nextends: "
	dir := writeProfiles(t, map[string]string{
		"self.yaml": head + "./self.yaml\n", "a.yaml": head + "b.yaml\n", "b.yaml": head + "./../" + "x/../b2.yaml\n", "unknown.yaml": head + "chrat\n",
		"nofile.yaml": head + "gone.yaml\n", "empty.yaml": head + "\"\"\n", "line.yaml": head + "chart\nwithout: [ADM-1]\n", "twice.yaml": head + "chart\ncontrols: [{id: SEC-1}, {id: SEC-1}]\n",
		"both.yaml": head + "chart\nwithout: [SEC-1]\ncontrols: [{id: SEC-1}]\n", "scope.yaml": head + "chart\nscope: cluster\n", "added.yaml": head + "chart\ncontrols: [{id: IMG-4, added: true}]\n",
		"control.yaml": head + "chart\ncontrols: [{id: ZZZ-1}]\n", "c.yaml": head + "d.yaml\n", "d.yaml": head + "c.yaml\n",
		"typo.yaml": "name: x\ntitle: X\nextend: chart\n", "alone.yaml": "name: x\ntitle: X\nwithout: [SEC-1]\n",
	})
	for file, want := range map[string]string{
		"self.yaml": "a circle", "c.yaml": "a circle", "a.yaml": "no such file", "unknown.yaml": "want chart,", "nofile.yaml": "no such file", "empty.yaml": "empty", "line.yaml": "has no such line",
		"twice.yaml": "is named twice", "both.yaml": "is named twice", "scope.yaml": "unknown key", "added.yaml": "unknown key", "control.yaml": "unknown control",
		"typo.yaml": "or extends,", "alone.yaml": "or extends,",
	} {
		if _, _, err := Profile(filepath.Join(dir, file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", file, err, want)
		}
	}
}

// Each level asks for all that the one before asks for, as strictly.
func TestLevels(t *testing.T) {
	t.Parallel()
	levels := []string{"starter", "chart", "release"}
	for i := range levels[1:] {
		_, low, err := Profile(levels[i])
		if err != nil {
			t.Fatal(err)
		}
		_, high, err := Profile(levels[i+1])
		if err != nil {
			t.Fatal(err)
		}
		if high.FailOn.Rank() < low.FailOn.Rank() {
			t.Errorf("%s fails on %s, %s on %s", high.Name, high.FailOn, low.Name, low.FailOn)
		}
		for _, pc := range low.Controls {
			if !slices.Contains(high.Controls, pc) {
				t.Errorf("%s has no line %+v of %s", high.Name, pc, low.Name)
			}
		}
	}
}

// A word that is no key extends nothing.
func TestNamedExtends(t *testing.T) {
	t.Parallel()
	dir := writeProfiles(t, map[string]string{"own.yaml": "name: extends\ntitle: extends\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols:\n  - {id: CHT-3}\n"})
	if _, p, err := Profile(filepath.Join(dir, "own.yaml")); err != nil || p.Name != "extends" {
		t.Errorf("%+v, %v", p, err)
	}
}
