package pipeline

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
)

func rules(t *testing.T, profile string) Rules {
	t.Helper()
	r, err := LoadRules(RulesOptions{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ownProfile is a profile with a threshold and an age of its own, and IMG-5 optional.
func ownProfile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "own.yaml")
	text := "name: own\ntitle: Own\nscope: release\nfailOn: medium\nmaxAge: 72h\ncontrols:\n  - {id: SEC-1}\n  - {id: IMG-5, optional: true, failOn: high}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestWith holds what is added, and that the raw profile, which is sealed, says it.
func TestWith(t *testing.T) {
	t.Parallel()
	hours := func(n int) evidence.Duration { return evidence.Duration(time.Duration(n) * time.Hour) }
	for _, tt := range []struct {
		name, profile string
		limit         time.Duration
		add           []evidence.ControlID
		want          []evidence.ProfileControl // those that are marked as added
		text          string
	}{
		{"built-in, as the profile images has it", "chart", 0, []evidence.ControlID{"IMG-3", "IMG-2"},
			[]evidence.ProfileControl{{ID: "IMG-2", FailOn: "high", MaxAge: hours(48), Added: true}, {ID: "IMG-3", MaxAge: hours(48), Added: true}}, "chart, with IMG-2, IMG-3 added"},
		{"optional there, required here", "chart", 0, []evidence.ControlID{"IMG-6"}, []evidence.ProfileControl{{ID: "IMG-6", Added: true}}, "chart, with IMG-6 added"},
		{"an age limit holds for what is added", "chart", time.Hour, []evidence.ControlID{"IMG-3"}, []evidence.ProfileControl{{ID: "IMG-3", MaxAge: hours(1), Added: true}}, "chart, with IMG-3 added"},
		{"one's own: its own threshold and age", "own", 0, []evidence.ControlID{"IMG-2"}, []evidence.ProfileControl{{ID: "IMG-2", Added: true}}, "own, with IMG-2 added"},
		{"optional becomes required, its threshold stays", "own", 0, []evidence.ControlID{"IMG-5"}, []evidence.ProfileControl{{ID: "IMG-5", FailOn: "high", Added: true}}, "own, with IMG-5 added"},
		{"twice is once", "own", 0, []evidence.ControlID{"IMG-4", "IMG-4"}, []evidence.ProfileControl{{ID: "IMG-4", Added: true}}, "own, with IMG-4 added"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.profile == "own" {
				tt.profile = ownProfile(t)
			}
			was := rules(t, tt.profile)
			r := was
			var err error
			if tt.limit > 0 {
				if r, err = r.LimitAge(tt.limit); err != nil {
					t.Fatal(err)
				}
			}
			if r, err = r.With(tt.add...); err != nil {
				t.Fatal(err)
			}
			sealed, err := gate.ParseProfile(r.ProfileRaw)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []*evidence.Profile{r.Profile, sealed} {
				got := slices.DeleteFunc(slices.Clone(p.Controls), func(c evidence.ProfileControl) bool { return !c.Added })
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Error(d)
				}
				if p.Text() != tt.text || p.Name != was.Profile.Name {
					t.Errorf("%q of profile %s, want %q", p.Text(), p.Name, tt.text)
				}
			}
			if len(was.Profile.Added()) > 0 {
				t.Error("the rules that it was called on changed")
			}
			if again, err := r.With(tt.add...); err != nil || !bytes.Equal(again.ProfileRaw, r.ProfileRaw) {
				t.Errorf("adding them again: %v, and another profile", err)
			}
		})
	}
}

// TestWithNothing: what is required already stays as it is, to the byte.
func TestWithNothing(t *testing.T) {
	t.Parallel()
	r := rules(t, "images")
	if got, err := r.With("IMG-2", "IMG-3", "IMG-4", "IMG-5"); err != nil || !bytes.Equal(got.ProfileRaw, r.ProfileRaw) || got.Profile.Text() != "images" {
		t.Errorf("%v, %s", err, got.ProfileRaw)
	}
	// What the catalog lacks, as a newer version may have added it, is asked for and
	// cannot hold.
	got, err := r.With("ABC-9")
	if err != nil || !got.Asks("ABC-9") {
		t.Fatalf("unknown control: %v", err)
	}
	j, err := compose(nil, got, time.Now(), "helmproof test", &gateGiven{Images: images.DefaultLists()})
	if err != nil {
		t.Fatal(err)
	}
	last := j.Verdict.Results[len(j.Verdict.Results)-1]
	if last.Control != "ABC-9" || last.Outcome != evidence.ControlIncomplete || !strings.Contains(last.Reason, "not in the catalog") {
		t.Errorf("unknown control: %+v", last)
	}
}

func TestGiven(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		given Given
		want  []evidence.ControlID
	}{
		{"nothing", Given{}, nil},
		{"registries", Given{Registries: true}, []evidence.ControlID{"IMG-5"}},
		{"signatures", Given{Signatures: true}, []evidence.ControlID{"IMG-4"}},
		{"scans", Given{Scans: true}, []evidence.ControlID{"IMG-2", "IMG-3"}},
		{"resolve", Given{Resolve: true}, []evidence.ControlID{"IMG-6"}},
		{"own policies", Given{Policies: true}, []evidence.ControlID{"POL-1"}},
		{"access logs", Given{AccessLogs: true}, []evidence.ControlID{"SCR-5"}},
	} {
		if got := tt.given.Controls(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
