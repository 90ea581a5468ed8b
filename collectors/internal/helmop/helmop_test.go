package helmop

import (
	"strings"
	"testing"
	"time"

	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
)

// Only what a drill made and left unfinished is taken back.
func TestOurs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		r    Revision
		want bool
	}{
		{"before the drill", Revision{Revision: 3, Status: "deployed"}, false},
		{"the upgrade failed", Revision{Revision: 4, Status: "failed", Drill: true}, true},
		{"killed in the upgrade", Revision{Revision: 4, Status: "pending-upgrade", Drill: true}, true},
		{"somebody else's upgrade", Revision{Revision: 4, Status: "failed"}, false},
		{"somebody else upgraded since", Revision{Revision: 5, Status: "deployed"}, false},
		{"rolled back", Revision{Revision: 5, Status: "deployed", RollbackTo: 3}, false},
		{"the rollback failed", Revision{Revision: 5, Status: "failed", RollbackTo: 3}, true},
		{"killed in the rollback", Revision{Revision: 5, Status: "pending-rollback", RollbackTo: 3}, true},
		{"another rollback", Revision{Revision: 5, Status: "failed", RollbackTo: 2}, false},
		{"an older drill's", Revision{Revision: 2, Status: "failed", Drill: true}, false},
	} {
		if got := ours(tt.r, 3); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	hook := func(manifest string) *releasev1.Hook {
		return &releasev1.Hook{Name: "h", Kind: "Job", Manifest: manifest, Events: []releasev1.HookEvent{releasev1.HookPreUpgrade}, LastRun: releasev1.HookExecution{StartedAt: now, Phase: releasev1.HookPhaseFailed}}
	}
	r := &releasev1.Release{
		Version: 4, Manifest: "m", Hooks: []*releasev1.Hook{hook("a"), nil, hook("b")}, Labels: map[string]string{DrillLabel: "rollback"},
		Info: &releasev1.Info{Status: common.StatusPendingUpgrade, Description: strings.Repeat("é", maxDescription), LastDeployed: now},
	}
	d := describe(r)
	if !d.Drill || !d.Pending() || d.Revision != 4 || !d.Deployed.Equal(now) || len(d.Hooks) != 2 || !d.Hooks[0].On("pre-upgrade") || d.Hooks[0].Phase != "Failed" || d.Hooks[0].Completed != nil {
		t.Errorf("%+v", d)
	}
	if len(d.Description) > maxDescription+3 || strings.ContainsRune(d.Description, '\uFFFD') {
		t.Errorf("%d bytes of description", len(d.Description))
	}
	r.Hooks[0], r.Hooks[2] = r.Hooks[2], r.Hooks[0]
	if got := describe(r).Digest; got != d.Digest {
		t.Error("the digest depends on the order of hooks")
	}
	r.Hooks[0].Manifest = "c"
	if got := describe(r).Digest; got == d.Digest {
		t.Error("the digest does not depend on hooks")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]release.Releaser{
		"a record of another kind":              "text",
		"the record of revision 2 is not whole": &releasev1.Release{Version: 2, Info: &releasev1.Info{}},
		"the record of revision 3 is not whole": &releasev1.Release{Version: 3, Chart: &chartv2.Chart{Metadata: &chartv2.Metadata{}}},
		"a record of another kind: *v1.Release": (*releasev1.Release)(nil),
	} {
		if _, err := parse(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
