package prober

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/internal/loadgen"
)

// loadVariable is what cmd/prober reads instead of configVariable where it is to send a
// load.
const loadVariable = "PROBER_LOAD"

// loadSlack is how long after its last request a generator may take to say what came of
// them all.
const loadSlack = 30 * time.Second

// LoadCleanup is how long Load may take once its context has ended: the end of the
// generator, beside the requests that are under way, and the removal of its pod.
const LoadCleanup = linger/2 + removal

// Load sends a load from a pod, and returns what its generator says when all has been
// sent. began is called once the generator has begun, at most a second later. Should ctx
// end before that, the generator is told to stop, and what there is comes with the cause.
// The pod is removed; that it could not be is an error too.
func Load(ctx context.Context, o Options, load loadgen.Options, began func()) (*loadgen.Report, error) {
	o.complete()
	// What is dialled is said here: the pod resolves no names.
	to, err := load.Dialled()
	if err != nil {
		return nil, err
	}
	load.Addresses = map[string]string{load.HostPort(): to}
	grace := load.Timeout + linger
	pod, err := newPod(&o, loadVariable, load, grace)
	if err != nil {
		return nil, err
	}
	p := &podSource{r: &Running{o: &o}, name: pod.Name, retry: &jobrun.Runner{Poll: o.Poll, Now: o.Now}}
	if err := p.make(ctx, pod); err != nil {
		return nil, fmt.Errorf("generator in namespace %s: %w", o.Namespace, err)
	}
	w := &loadWait{podSource: p, load: &load, began: began, until: o.Now().Add(o.StartLimit)}
	report, err := w.wait(ctx)
	if ctx.Err() != nil && report == nil {
		err = context.Cause(ctx)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), load.Timeout+linger/2)
		defer cancel()
		lost := p.retry.Retry(last, "tell it to end", func() error { return p.delete(last, int64(grace/time.Second)) })
		if lost == nil {
			report, lost = w.wait(last)
		}
		if lost != nil {
			err = fmt.Errorf("%w; what it sent is not known: %w", err, lost)
		}
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("generator in namespace %s: %w", o.Namespace, err)
	}
	return report, errors.Join(err, p.remove(ctx))
}

// loadWait waits for a generator's log to be whole.
type loadWait struct {
	*podSource
	load  *loadgen.Options
	began func()
	begun bool
	until time.Time // when it has to have begun, then when it has to have ended
}

func (w *loadWait) wait(ctx context.Context) (*loadgen.Report, error) {
	o := w.r.o
	for {
		// The log after the pod: of one that has ended, it is whole.
		ended, over := w.whyEnded(ctx)
		report, begun, err := w.read(ctx)
		if begun && !w.begun {
			w.begun = true
			w.began()
			w.until = o.Now().Add(w.load.Ramp + w.load.Hold + w.load.Timeout + loadSlack)
		}
		var bad *badLog
		switch {
		case err == nil:
			return report, nil
		case errors.As(err, &bad):
			return nil, jobError(bad.Error(), ended)
		case over && (errors.Is(err, loadgen.ErrUnfinished) || apierrors.IsNotFound(err)):
			return nil, jobError("it did not say what came of its requests", ended)
		case apierrors.IsForbidden(err):
			return nil, err
		case o.Now().After(w.until):
			what := "it has not begun in time"
			if w.begun {
				what = "it has not ended in time"
			}
			return nil, jobError(what, ended, jobrun.OneLine(err.Error(), 300))
		}
		if err := pause(ctx, o.Poll); err != nil {
			return nil, err
		}
	}
}

func jobError(parts ...string) error { return errors.New(jobrun.Join(parts...)) }

// read reads the log as far as it goes.
func (w *loadWait) read(ctx context.Context) (*loadgen.Report, bool, error) {
	body, err := w.logs(ctx, false)
	if err != nil {
		return nil, false, err
	}
	report, begun, err := loadgen.ReadLog(body, w.load)
	if closing := body.Close(); err == nil {
		return report, begun, closing
	}
	if errors.Is(err, loadgen.ErrUnfinished) || errors.Is(err, loadgen.ErrUnread) {
		return nil, begun, err
	}
	return nil, begun, &badLog{err}
}
