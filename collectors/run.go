package collectors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/evidence"
)

// Redactor removes secret values from bytes that are about to be sealed.
type Redactor interface {
	// Redact returns b without the secret values, and how many it replaced. With
	// nothing to replace it returns b itself.
	Redact(b []byte) (out []byte, replaced int)
}

// Artifacts is what a run sealed so far, by name in evidence.zip: the only owner
// of these bytes. It is an evidence.ArtifactReader and safe for concurrent use.
type Artifacts struct {
	mu       sync.Mutex
	files    map[string][]byte
	true     map[string][]byte // what was sealed redacted, as it was
	redactor Redactor
	replaced int
}

// NewArtifacts returns an empty set whose content passes through r (nil: nothing is redacted).
func NewArtifacts(r Redactor) *Artifacts {
	return &Artifacts{files: map[string][]byte{}, true: map[string][]byte{}, redactor: r}
}

// Put seals content under a name of evidence.zip, redacted. It returns what was sealed.
func (a *Artifacts) Put(name string, content []byte) ([]byte, error) {
	if name == "" || path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\\x00") {
		return nil, fmt.Errorf("artifact %q: unsafe name", name)
	}
	n, was := 0, content
	if a.redactor != nil {
		content, n = a.redactor.Redact(content)
	}
	if err := a.put(name, content, n); err != nil {
		return nil, err
	}
	if n > 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.true[name] = was
	}
	return content, nil
}

// PutRule seals, unaltered, what a release is judged by: policies, profile, catalog
// or waivers. Nothing that a chart says changes them.
func (a *Artifacts) PutRule(name string, content []byte) error { return a.put(name, content, 0) }

func (a *Artifacts) put(name string, content []byte, replaced int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.files[name]; ok {
		return fmt.Errorf("artifact %q: written twice", name)
	}
	a.files[name] = content
	a.replaced += replaced
	return nil
}

// readable are the files that findings are derived from.
func readable(name string) bool {
	return name == ReleaseFile || name == PoliciesFile || strings.HasPrefix(name, "artifacts/")
}

// Read implements evidence.ArtifactReader.
func (a *Artifacts) Read(name string) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, ok := a.files[name]
	if !ok || !readable(name) {
		return nil, fmt.Errorf("artifact %q: %w", name, fs.ErrNotExist)
	}
	return b, nil
}

// Names implements evidence.ArtifactReader.
func (a *Artifacts) Names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := make([]string, 0, len(a.files))
	for n := range a.files {
		if readable(n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// True reads the artifacts as they were before redaction: for comparison, in memory
// only.
func (a *Artifacts) True() evidence.ArtifactReader { return trueArtifacts{a} }

type trueArtifacts struct{ *Artifacts }

func (t trueArtifacts) Read(name string) ([]byte, error) {
	t.mu.Lock()
	b, ok := t.true[name]
	t.mu.Unlock()
	if ok {
		return b, nil
	}
	return t.Artifacts.Read(name)
}

// Replaced is how many secret values were redacted so far.
func (a *Artifacts) Replaced() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replaced
}

// Files returns all that is sealed by name; the caller owns the map.
func (a *Artifacts) Files() map[string][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string][]byte, len(a.files))
	for n, b := range a.files {
		out[n] = b
	}
	return out
}

// folder is one collector's ArtifactWriter; after its collector's time limit
// it takes nothing more.
type folder struct {
	a    *Artifacts
	ctx  context.Context
	name string
}

func (f folder) Write(name string, content []byte) error {
	if err := context.Cause(f.ctx); err != nil {
		return err
	}
	_, err := f.a.Put(Artifact(f.name, name), content)
	return err
}

// RunOptions tunes Run.
type RunOptions struct {
	Timeout time.Duration    // per collector that is not Lasting; 0 means none
	Now     func() time.Time // the clock for runs.json
	Started func(string)     // progress, may be nil; called concurrently
}

// Run calls Collect of every collector side by side. A collector that fails,
// panics or exceeds its time limit is recorded, and the others go on; the
// error is non-nil only when ctx ended. Runs are in the order of list.
func Run(ctx context.Context, in Input, list []Collector, out *Artifacts, o RunOptions) ([]evidence.CollectorRun, error) {
	in.Now = o.Now
	runs := make([]evidence.CollectorRun, len(list))
	var g errgroup.Group
	for i, c := range list {
		g.Go(func() error {
			if o.Started != nil {
				o.Started(c.Name())
			}
			run := evidence.CollectorRun{Collector: c.Name(), Outcome: evidence.OutcomePass, StartedAt: o.Now().UTC()}
			if err := collectOne(ctx, in, c, out, o.Timeout); err != nil {
				run.Outcome, run.Error = evidence.OutcomeError, err.Error()
			}
			run.FinishedAt = o.Now().UTC()
			runs[i] = run
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return runs, context.Cause(ctx)
}

func collectOne(ctx context.Context, in Input, c Collector, out *Artifacts, limit time.Duration) error {
	var cleanup time.Duration
	if l, ok := c.(Lasting); ok {
		limit, cleanup = l.TimeLimit(), l.CleanupLimit()
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("no result within %s", limit))
		defer cancel()
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("collector panicked: %v", p)
			}
		}()
		done <- c.Collect(ctx, in, folder{a: out, ctx: ctx, name: c.Name()})
	}()
	select {
	case err := <-done:
		if err != nil && errors.Is(err, context.DeadlineExceeded) {
			return context.Cause(ctx)
		}
		return err
	case <-ctx.Done():
	}
	if cleanup > 0 {
		late := time.NewTimer(cleanup)
		defer late.Stop()
		select {
		case <-done: //nolint:errcheck // the time limit is what is reported
		case <-late.C:
		}
	}
	return context.Cause(ctx)
}

// ErrTime says that something was not finished within its time.
var ErrTime = errors.New("no result within its time")

// Within runs f and returns what it returns, or what comes of waiting longer than limit
// for it (0: for ever): an error that wraps ErrTime. f, which cannot be ended, then
// goes on; what it returns is dropped.
func Within[T any](limit time.Duration, f func() (T, error)) (T, error) {
	if limit <= 0 {
		return f()
	}
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("panic: %v", p)
			}
			done <- r
		}()
		r.v, r.err = f()
	}()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case r := <-done:
		return r.v, r.err
	case <-late.C:
		var none T
		return none, fmt.Errorf("%w, which is %s", ErrTime, limit)
	}
}

// Derive derives the findings of every collector that ran, from sealed data
// alone. A collector whose Findings fails is turned into an errored run. The
// findings are normalized. verify calls it with the runs that are in the bundle.
func Derive(in *Sealed, list []Collector, runs []evidence.CollectorRun) ([]evidence.Finding, []evidence.CollectorRun) {
	return DeriveLike(in, nil, list, runs, 0)
}

// DeriveLike is Derive for who has the artifacts before redaction as well (nil: there
// was none). A collector that finds something else in them has judged the redaction,
// not the release: that is an errored run, as is one that takes longer than limit (0:
// there is none).
func DeriveLike(in, before *Sealed, list []Collector, runs []evidence.CollectorRun, limit time.Duration) ([]evidence.Finding, []evidence.CollectorRun) {
	runs = slices.Clone(runs)
	results := make([][]evidence.Finding, len(runs))
	var g errgroup.Group
	for i, run := range runs {
		if run.Outcome != evidence.OutcomePass {
			continue
		}
		g.Go(func() error {
			found, err := Within(limit, func() ([]evidence.Finding, error) {
				found, err := findingsOf(in, list, run.Collector)
				if err == nil && before != nil {
					err = sameFindings(found, before, list, run.Collector)
				}
				return found, err
			})
			if errors.Is(err, ErrTime) {
				err = fmt.Errorf("derive findings: %w", err)
			}
			if err != nil {
				runs[i].Outcome, runs[i].Error = evidence.OutcomeError, err.Error()
				return nil //nolint:nilerr // the run holds it
			}
			results[i] = found
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return evidence.NormalizeFindings(slices.Concat(results...)), runs
}

func findingsOf(in *Sealed, list []Collector, name string) (found []evidence.Finding, err error) {
	defer func() {
		if p := recover(); p != nil {
			found, err = nil, fmt.Errorf("derive findings: panic: %v", p)
		}
	}()
	i := slices.IndexFunc(list, func(c Collector) bool { return c.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("derive findings: unknown collector %q", name)
	}
	return Findings(in, list[i])
}

// errRedacted hides what the collector says of the true artifacts: a secret may be in it.
var errRedacted = errors.New("with its secrets redacted the release is judged otherwise than with them: nothing is concluded; take the secrets out of it")

// sameFindings holds findings to those that the artifacts before redaction give:
// as many of each rule, outcome and kind of object. Names and messages may differ.
func sameFindings(found []evidence.Finding, before *Sealed, list []Collector, name string) error {
	was, err := findingsOf(before, list, name)
	if err != nil {
		return errRedacted
	}
	count := map[string]int{}
	for sign, findings := range map[int][]evidence.Finding{1: found, -1: was} {
		for _, f := range findings {
			count[fmt.Sprint(f.Rule, f.Controls, f.Outcome, f.Severity, f.Target.Kind)] += sign
		}
	}
	for _, n := range count {
		if n != 0 {
			return errRedacted
		}
	}
	return nil
}
