package prober

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/companyos/helmproof/internal/probe"
)

// outside are probes in this process.
type outside struct {
	r      *Running
	begun  time.Time
	cancel func()
	ended  sync.WaitGroup
	probes []outsideProbe
}

type outsideProbe struct {
	file bytes.Buffer // that of its goroutine until ended

	mu   sync.Mutex
	over bool
	err  error
}

func startOutside(ctx context.Context, r *Running) *outside {
	o := &outside{r: r, begun: r.o.Now(), probes: make([]outsideProbe, len(r.configs))}
	// Probes see the drill through to where it has restored everything, also when it
	// is interrupted.
	ctx, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for i := range r.configs {
		o.ended.Go(func() {
			p := &o.probes[i]
			err := probe.Run(ctx, r.configs[i], &p.file)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.over, p.err = true, err
		})
	}
	return o
}

func (o *outside) lost(i int) string {
	p, c := &o.probes[i], &o.r.configs[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return ended(p.err)
	}
	last := c.Live.Counts().Last
	if last.IsZero() {
		last = o.begun
	}
	// One that is slow and waits long is heard of seldom.
	usual := c.Timeout + time.Duration(float64(time.Second)/c.Rate)
	return silent(o.r.o.Now().Sub(last), o.r.o.Silence+usual)
}

func ended(err error) string {
	if err != nil {
		return err.Error()
	}
	return "it ended by itself"
}

// silent says for how long nothing was heard, where that is too long.
func silent(since, limit time.Duration) string {
	if since <= limit {
		return ""
	}
	return fmt.Sprintf("nothing was heard of it for %s", since.Round(time.Second))
}

func (o *outside) stop(context.Context) ([]outcome, error) {
	out := make([]outcome, len(o.probes))
	for i := range o.probes {
		p := &o.probes[i]
		p.mu.Lock()
		if p.over {
			out[i].lost = ended(p.err)
		}
		p.mu.Unlock()
	}
	o.cancel()
	o.ended.Wait() // at most the timeout of a request
	for i := range o.probes {
		p := &o.probes[i]
		out[i].raw = p.file.Bytes()
		var err error
		if out[i].series, err = probe.Read(out[i].raw); err != nil && out[i].lost == "" {
			out[i].lost = err.Error()
		}
		if p.err != nil && out[i].lost == "" {
			out[i].lost = p.err.Error()
		}
	}
	return out, nil
}

func (o *outside) skew() (ahead, within time.Duration) { return 0, 0 }
