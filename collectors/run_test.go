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
