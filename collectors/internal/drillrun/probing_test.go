package drillrun

import (
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/internal/prober"
	"github.com/companyos/helmproof/internal/probe"
)

// TestCounts: a request that was not sent neither fails, nor takes back one that did.
func TestCounts(t *testing.T) {
	t.Parallel()
	var live probe.Live
	for _, outcome := range []string{probe.Good, probe.Reset, probe.Reset, probe.Unsent, probe.Unsent, probe.Unsent} {
		live.Add(probe.Sample{Outcome: outcome}, 0, time.Unix(1, 0))
	}
	if c := countOf(prober.State{Name: "web", Counts: live.Counts()}); c != (Count{"web", 6, 2}) {
		t.Errorf("%+v", c)
	}
}
