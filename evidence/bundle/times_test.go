package bundle

import (
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
)

func TestCheckTimes(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	run := func(from, to time.Duration) []evidence.CollectorRun {
		return []evidence.CollectorRun{{Collector: "helm", StartedAt: at.Add(from), FinishedAt: at.Add(to)}}
	}
	for _, tt := range []struct {
		name   string
		runs   []evidence.CollectorRun
		stamps []time.Time
		want   string // part of the error; none if empty
	}{
		{"as it is", run(-2*time.Second, -time.Second), nil, ""},
		{"no runs", nil, nil, ""},
		{"backwards", run(-time.Second, -2*time.Second), nil, "the run of collector helm ends at 2026-11-01T11:59:58Z, before it begins at 2026-11-01T11:59:59Z"},
		{"a clock that was set", run(-time.Second, 4*time.Minute), nil, ""},
		{"a verdict before its evidence", run(time.Hour, 2*time.Hour), nil, "the verdict is of 2026-11-01T12:00:00Z, before the run of collector helm ended at 2026-11-01T14:00:00Z"},
		{"stamped at once", run(-2*time.Second, -time.Second), []time.Time{at.Add(time.Second)}, ""},
		{"stamped later", run(-2*time.Second, -time.Second), []time.Time{at.Add(48 * time.Hour)}, ""},
		{"an authority whose clock is behind", run(-2*time.Second, -time.Second), []time.Time{at.Add(-4 * time.Minute)}, ""},
		{"dated in the future", run(-2*time.Second, -time.Second), []time.Time{at.Add(time.Second), at.Add(-time.Hour)}, "the verdict is dated 2026-11-01T12:00:00Z, but was signed by 2026-11-01T11:00:00Z, as a trusted timestamp says"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := checkTimes(tt.runs, at, tt.stamps)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
