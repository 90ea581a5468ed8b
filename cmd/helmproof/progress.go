package main

import (
	"fmt"
	"sync"

	"github.com/schollz/progressbar/v3"
)

// progress shows long work on a terminal's standard error, and nothing elsewhere.
type progress struct {
	mu  sync.Mutex
	bar *progressbar.ProgressBar
}

func (a *app) progress(total int) *progress {
	if a.quiet || !isTerminal(a.io.err) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions(total,
		progressbar.OptionSetWriter(a.io.err), progressbar.OptionSetWidth(20), progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(), progressbar.OptionEnableColorCodes(false), progressbar.OptionSetElapsedTime(true))}
}

func (p *progress) do(f func(*progressbar.ProgressBar)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		f(p.bar)
	}
}

// start, collector and finish are called concurrently. What the bar fails to
// draw is of no consequence, so its errors are not.
func (p *progress) start(ref string) {
	p.do(func(b *progressbar.ProgressBar) { b.Describe(clip(printable(ref), 30)) })
}

func (p *progress) collector(name string) {
	p.do(func(b *progressbar.ProgressBar) { b.Describe("collecting: " + name) })
}

// images shows how far the images are that are asked for or scanned first.
func (p *progress) images(what string, done, total int) {
	p.do(func(b *progressbar.ProgressBar) { b.Describe(fmt.Sprintf("images: %s %d of %d", what, done, total)) })
}

// download shows how far the archive of an ecosystem is.
func (p *progress) download(ecosystem string, done, _ int64) {
	p.do(func(b *progressbar.ProgressBar) { b.Describe(fmt.Sprintf("%s: %d MiB", ecosystem, done>>20)) })
}

func (p *progress) finish() { p.do(func(b *progressbar.ProgressBar) { _ = b.Add(1) }) }
func (p *progress) done()   { p.do(func(b *progressbar.ProgressBar) { _ = b.Finish() }) }
