package collectors

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// lasting cleans up after its context has ended, or never returns.
type lasting struct {
	limit, cleanup time.Duration
	started        chan struct{}
	hang           chan struct{} // nil: returns at once
	cleaned        bool
}

func (*lasting) Name() string                                 { return "lasting" }
func (*lasting) Rules() []string                              { return nil }
func (l *lasting) TimeLimit() time.Duration                   { return l.limit }
func (l *lasting) CleanupLimit() time.Duration                { return l.cleanup }
func (*lasting) Findings(*Sealed) ([]evidence.Finding, error) { return nil, nil }
func (l *lasting) Collect(ctx context.Context, _ Input, _ evidence.ArtifactWriter) error {
	close(l.started)
	<-ctx.Done()
	if l.hang != nil {
		<-l.hang
	}
	l.cleaned = true
	return context.Cause(ctx)
}

func TestRunWaitsForCleanup(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	l := &lasting{limit: time.Hour, cleanup: time.Hour, started: make(chan struct{})}
	go func() { <-l.started; cancel(stop) }()
	_, err := Run(ctx, Input{}, []Collector{l}, NewArtifacts(nil), RunOptions{Timeout: time.Nanosecond, Now: time.Now})
	if !errors.Is(err, stop) || !l.cleaned {
		t.Fatalf("error %v, cleaned up: %v", err, l.cleaned)
	}
}

func TestRunGivesUpOnCleanup(t *testing.T) {
	t.Parallel()
	l := &lasting{limit: time.Millisecond, cleanup: time.Millisecond, started: make(chan struct{}), hang: make(chan struct{})}
	defer close(l.hang)
	runs, err := Run(t.Context(), Input{}, []Collector{l}, NewArtifacts(nil), RunOptions{Now: time.Now})
	if err != nil || len(runs) != 1 || runs[0].Outcome != evidence.OutcomeError || runs[0].Error != "no result within 1ms" {
		t.Fatalf("%+v, %v", runs, err)
	}
}

// deriving derives for as long as hang is not closed.
type deriving struct{ hang chan struct{} }

func (deriving) Name() string                                                  { return "deriving" }
func (deriving) Rules() []string                                               { return nil }
func (deriving) Collect(context.Context, Input, evidence.ArtifactWriter) error { return nil }
func (d deriving) Findings(*Sealed) ([]evidence.Finding, error) {
	if d.hang != nil {
		<-d.hang
	}
	return nil, nil
}

// TestDeriveIsBounded: findings that are not derived in time are an errored run.
func TestDeriveIsBounded(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	defer close(hang)
	for name, tt := range map[string]struct {
		collector deriving
		limit     time.Duration
		outcome   evidence.Outcome
		err       string
	}{
		"in time":  {deriving{}, time.Hour, evidence.OutcomePass, ""},
		"no limit": {deriving{}, 0, evidence.OutcomePass, ""},
		"late":     {deriving{hang}, time.Millisecond, evidence.OutcomeError, "derive findings: no result within its time, which is 1ms"},
	} {
		t.Run(name, func(t *testing.T) {
			runs := []evidence.CollectorRun{{Collector: "deriving", Outcome: evidence.OutcomePass}}
			_, got := DeriveLike(nil, nil, []Collector{tt.collector}, runs, tt.limit)
			if got[0].Outcome != tt.outcome || got[0].Error != tt.err {
				t.Errorf("%+v, want %s, %q", got[0], tt.outcome, tt.err)
			}
		})
	}
}
