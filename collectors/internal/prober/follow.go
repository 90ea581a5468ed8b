package prober

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/internal/probe"
)

// podSource are probes in a pod, known by its log. The log is followed; where that
// breaks off it is read again from its beginning, since what is known already can
// be told.
type podSource struct {
	r       *Running
	name    string
	uid     types.UID
	node    string
	created time.Time
	retry   *jobrun.Runner
	// patience is how long the files' ends are waited for.
	patience time.Duration

	stopFollowing func()
	changed       chan struct{} // the log has grown, or broken
	ended         chan struct{} // following has ended

	mu      sync.Mutex
	demux   probe.Demux
	heard   time.Time // when something new was read last
	broken  string    // why the log is of no use any more
	told    bool      // the prober was told to end, by us
	early   string    // all files were whole before that
	skewLow time.Duration
	beaten  bool
	skewTop time.Duration
}

func (p *podSource) api() typedcorev1.PodInterface {
	return p.r.o.Kube.CoreV1().Pods(p.r.o.Namespace)
}

func (p *podSource) logs(ctx context.Context, follow bool) (io.ReadCloser, error) {
	return p.api().GetLogs(p.name, &corev1.PodLogOptions{Container: "prober", Follow: follow}).Stream(ctx)
}

// follow begins to follow the log, in a goroutine that ends with the pod, or with
// endFollowing.
func (p *podSource) follow(ctx context.Context) {
	ctx, p.stopFollowing = context.WithCancel(context.WithoutCancel(ctx))
	p.mu.Lock()
	p.heard = p.r.o.Now()
	p.mu.Unlock()
	go func() {
		defer close(p.ended)
		for p.followOnce(ctx) {
			if pause(ctx, p.r.o.Poll) != nil {
				return
			}
		}
	}()
}

func (p *podSource) endFollowing() {
	if p.stopFollowing != nil {
		p.stopFollowing()
		<-p.ended
	}
}

// followOnce follows the log until it ends, and reports whether to go on.
func (p *podSource) followOnce(parent context.Context) bool {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	watched := make(chan struct{})
	// A connection that is dead without saying so is given up.
	go func() {
		defer close(watched)
		for begun := p.r.o.Now(); pause(ctx, p.r.o.Poll) == nil; {
			now := p.r.o.Now()
			if now.Sub(p.lastHeard()) > p.r.o.Silence/2 && now.Sub(begun) > p.r.o.Silence/2 {
				cancel()
			}
		}
	}()
	err := p.stream(ctx)
	cancel()
	<-watched
	if parent.Err() != nil {
		return false
	}
	var bad *badLog
	if errors.As(err, &bad) {
		p.lose(bad.Error())
		return false
	}
	p.mu.Lock()
	whole := p.demux.Ended() || p.early != ""
	p.mu.Unlock()
	if whole {
		return false
	}
	why, over := p.whyEnded(parent)
	if !over {
		return true // it lives: a connection broke, or the node was slow to say so
	}
	// What it printed last may have come too late for the connection that follows.
	if err := p.readWhole(parent); errors.As(err, &bad) {
		why = jobrun.Join(why, bad.Error())
	}
	p.lose(why)
	return false
}

func (p *podSource) stream(ctx context.Context) error {
	body, err := p.logs(ctx, true)
	if err != nil {
		return err
	}
	return errors.Join(p.lines(body), body.Close())
}

// badLog is for a log that does not get better by being read again.
type badLog struct{ err error }

func (b *badLog) Error() string { return "its log: " + b.err.Error() }
func (b *badLog) Unwrap() error { return b.err }

// lines takes the log's lines as they come. One that is cut at the end is left for
// the next reading.
func (p *podSource) lines(body io.Reader) error {
	in := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return &badLog{fmt.Errorf("a line longer than %d bytes", in.Size())}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := p.line(trimEnd(line)); err != nil {
			return &badLog{err}
		}
	}
}

func (p *podSource) line(line []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, news := p.demux.Beaten, p.demux.News
	if err := p.demux.Line(line); err != nil {
		return err
	}
	if p.demux.News > news { // and not an old line, read again
		p.heard = p.r.o.Now()
	}
	if p.demux.Beaten.After(before) {
		// It was printed before it was heard.
		if low := p.demux.Beaten.Sub(p.heard); !p.beaten || low > p.skewLow {
			p.skewLow, p.beaten = low, true
		}
	}
	if p.demux.Done() && !p.told && p.early == "" {
		p.early = "it ended, and not because we said so"
	}
	p.signal()
	return nil
}

// sample is told of each new one, while mu is held.
func (p *podSource) sample(i int, _ *probe.Header, s probe.Sample) {
	if i < len(p.r.configs) {
		c := &p.r.configs[i]
		c.Live.Add(s, c.Slow, p.r.o.Now())
	}
}

func (p *podSource) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *podSource) lose(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == "" {
		p.broken = why
	}
	p.signal()
}

func (p *podSource) lastHeard() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

func (p *podSource) lost(int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken != "" {
		return p.broken
	}
	if p.early != "" {
		return p.early
	}
	return silent(p.r.o.Now().Sub(p.heard), p.r.o.Silence)
}

// stop tells the prober to end, reads what it printed, and removes its pod.
func (p *podSource) stop(ctx context.Context) ([]outcome, error) {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.patience)
	defer cancel()
	p.mu.Lock()
	p.told = true
	told, early := p.r.o.Now(), p.early
	p.mu.Unlock()
	if early != "" {
		why, _ := p.whyEnded(limit)
		early = jobrun.Join(early, why)
	}
	err := p.retry.Retry(limit, "tell it to end", func() error { return p.delete(limit, int64((longest(p.r.configs)+linger)/time.Second)) })
	if err == nil {
		err = p.awaitFiles(limit)
	}
	p.endFollowing()
	p.mu.Lock()
	missing := p.broken
	if !p.demux.Done() && missing == "" {
		missing = fmt.Sprintf("it did not end its file within %s of being told to", p.patience)
		if err != nil {
			missing += ": " + jobrun.OneLine(err.Error(), 300)
		}
	}
	out := make([]outcome, len(p.r.configs))
	for i := range out {
		raw, series := p.demux.File(i)
		out[i] = outcome{raw: append([]byte(nil), raw...), lost: early}
		if series.Header.Version != 0 {
			out[i].series = series
		}
		if missing != "" {
			out[i].lost = missing
		}
	}
	p.skewTop = p.top(told)
	p.mu.Unlock()
	return out, p.remove(ctx)
}

// awaitFiles waits until all files are whole, or nothing more is to be expected.
func (p *podSource) awaitFiles(ctx context.Context) error {
	for {
		p.mu.Lock()
		over := p.demux.Ended() || p.early != "" || p.broken != ""
		p.mu.Unlock()
		if over {
			return nil
		}
		select {
		case <-p.changed:
		case <-p.ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// top is the most by which the prober's clock can be ahead: what it did after we
// asked for it, it did not do before that.
func (p *podSource) top(told time.Time) time.Duration {
	_, s := p.demux.File(0)
	top := s.Header.Start.Sub(p.created)
	if p.demux.Ended() {
		top = min(top, p.demux.Beaten.Sub(told))
	}
	return top
}

func (p *podSource) skew() (ahead, within time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	top := p.skewTop
	if top == 0 {
		_, s := p.demux.File(0)
		top = s.Header.Start.Sub(p.created)
	}
	if !p.beaten {
		return 0, 0
	}
	return (top + p.skewLow) / 2, (top - p.skewLow).Abs() / 2
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
