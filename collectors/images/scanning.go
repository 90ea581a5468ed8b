package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// cacheAge is how long the results of a scanner are kept after they were used last.
const cacheAge = 30 * 24 * time.Hour

// Progress says what Prepare is at: "resolve", or the scanner's name.
type Progress func(what string, done, total int)

// Counts says what Prepare did.
type Counts struct {
	Images  int // distinct, of all releases
	Scanned int // scans made
	Cached  int // scans taken from the cache
	Failed  int
}

// Prepare asks the registry about the images, and has them scanned: each digest
// once for each platform and scanner, and not at all where the cache holds the
// result of the same scanner with the same database. The error is that of ctx,
// or says why no scan at all could be made.
func (g *Gathered) Prepare(ctx context.Context, images []string, progress Progress) (Counts, error) {
	images = slices.Compact(slices.Sorted(slices.Values(images)))
	counts := Counts{Images: len(images)}
	if progress == nil {
		progress = func(string, int, int) {}
	}
	if g.src.Resolve {
		if err := g.resolve(ctx, images, progress); err != nil {
			return counts, err
		}
	}
	targets := g.targets(images)
	for _, s := range g.src.Scanners {
		if err := g.scan(ctx, s, targets, &counts, progress); err != nil {
			return counts, fmt.Errorf("scanner %s: %w", s.Name(), err)
		}
	}
	return counts, nil
}

func (g *Gathered) resolve(ctx context.Context, images []string, progress Progress) error {
	images = slices.DeleteFunc(slices.Clone(images), func(s string) bool { return g.images[s] != nil })
	r, err := newResolver(&g.src)
	if err != nil {
		return err
	}
	ticks := make(chan struct{}, len(images))
	ended := make(chan struct{})
	go func() {
		n := 0
		for range ticks {
			n++
			progress("resolve", n, len(images))
		}
		close(ended)
	}()
	found, err := r.all(ctx, images, func() { ticks <- struct{}{} })
	close(ticks)
	<-ended
	if err != nil {
		return err
	}
	for i, image := range images {
		g.images[image] = found[i]
	}
	return nil
}

// target is one thing to scan.
type target struct {
	scan.Target
	digest evidence.Digest   // that the image is pinned by, or that its tag names
	all    []evidence.Digest // by which a report may name it
}

// targets lists what there is to scan: an image by digest, for each platform.
func (g *Gathered) targets(images []string) []target {
	var out []target
	seen := map[string]bool{}
	for _, image := range images {
		p, err := parseImage(image)
		if err != nil {
			continue // the judge says so
		}
		d, all := p.digest, []evidence.Digest{p.digest}
		platforms := g.src.Platforms
		if r := g.images[image]; r != nil {
			v := viewOf(&r.rec, p, func(d evidence.Digest) ([]byte, error) { return r.blobs[d], nil })
			if v.problem != "" {
				continue // the judge says so
			}
			d, all = v.digest, r.digests()
			if !v.index {
				platforms = sortedKeys(v.platforms)
			}
		}
		if d == "" {
			continue
		}
		for _, platform := range platforms {
			key := string(d) + " " + platform
			if !seen[key] {
				seen[key] = true
				out = append(out, target{scan.Target{Reference: p.repo.Name() + "@" + string(d), Platform: platform}, d, all})
			}
		}
	}
	return out
}

// scan has the targets scanned that the cache does not hold.
func (g *Gathered) scan(ctx context.Context, s scan.Scanner, targets []target, counts *Counts, progress Progress) error {
	state, err := s.State(ctx)
	if err != nil {
		return err
	}
	dir, err := g.cacheDir(s.Name(), state)
	if err != nil {
		return err
	}
	var todo []scan.Target
	var of []target
	for _, t := range targets {
		switch hit, err := g.cached(dir, t); {
		case err != nil:
			return err
		case hit:
			counts.Cached++
		default:
			todo, of = append(todo, t.Target), append(of, t)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	progress(s.Name(), 0, len(todo))
	n, seen := 0, make([]bool, len(todo))
	var failed error
	err = s.Scan(ctx, todo, func(i int, r scan.Result) {
		n++
		seen[i] = true
		if r.Err == nil {
			r.Err = g.keep(dir, of[i], r)
		}
		if r.Err != nil {
			counts.Failed++
			g.failures = append(g.failures, failure{Scanner: s.Name(), Digest: of[i].digest, Platform: of[i].Platform, Error: oci.Clip(oneLine(r.Err.Error()))})
			if errors.Is(r.Err, errCache) {
				failed = r.Err
			}
		} else {
			counts.Scanned++
		}
		progress(s.Name(), n, len(todo))
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	if i := slices.Index(seen, false); i >= 0 {
		return fmt.Errorf("no result for %s", todo[i].Reference)
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// errCache is a result that could not be kept.
var errCache = errors.New("keep the result of a scan")

// cacheDir returns the directory of results of that scanner in that state, and
// removes those that nobody used for long.
func (g *Gathered) cacheDir(scanner string, state evidence.Digest) (string, error) {
	base := g.src.Cache
	if base == "" {
		if g.temp == "" {
			var err error
			if g.temp, err = os.MkdirTemp("", "helmproof-scans-"); err != nil {
				return "", fmt.Errorf("%w: %w", errCache, err)
			}
		}
		base = g.temp
	}
	base = filepath.Join(base, scanner)
	dir := filepath.Join(base, state.Hex())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("%w: %w", errCache, err)
	}
	now := g.src.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return "", fmt.Errorf("%w: %w", errCache, err)
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errCache, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > cacheAge {
			if err := os.RemoveAll(filepath.Join(base, e.Name())); err != nil {
				return "", fmt.Errorf("%w: %w", errCache, err)
			}
		}
	}
	return dir, nil
}

func resultName(t target) string {
	return t.digest.Hex() + "-" + strings.ReplaceAll(t.Platform, "/", "-") + ".json"
}

// cached takes a result from the cache. One that cannot be read is made again.
func (g *Gathered) cached(dir string, t target) (bool, error) {
	path := filepath.Join(dir, resultName(t))
	version, err := readBounded(path+".version", maxVersion)
	var v *file
	switch {
	case err == nil:
		v = &file{"version", version}
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%w: %w", errCache, err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return g.take(path, t, v) == nil, nil
}

// keep stores a result in the cache and takes it from there. A report that is
// about something else is no result.
func (g *Gathered) keep(dir string, t target, r scan.Result) error {
	path := filepath.Join(dir, resultName(t))
	var v *file
	if r.Version != nil {
		v = &file{"version", r.Version}
		if err := writeWhole(path+".version", r.Version); err != nil {
			return err
		}
	}
	if err := writeWhole(path, r.Raw); err != nil {
		return err
	}
	if err := g.take(path, t, v); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// take reads a scanner's report, which has to be about the target, or about
// nothing that has a digest: then it is about what the scanner was told to scan.
func (g *Gathered) take(path string, t target, v *file) error {
	before := len(g.reports)
	if err := g.add(path, "", v); err != nil || len(g.reports) == before {
		return err
	}
	r := g.reports[before]
	switch {
	case len(r.digests) == 0:
		r.declared = t.digest
		r.about = append(r.about, t.digest)
	case !slices.ContainsFunc(r.about, func(d evidence.Digest) bool { return slices.Contains(t.all, d) }):
		g.reports = g.reports[:before]
		return fmt.Errorf("its report is about another image: %v, not %s", r.about, t.digest)
	}
	return nil
}

// writeWhole writes a file that is there whole or not at all.
func writeWhole(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("%w: %w", errCache, err)
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %w", errCache, err), os.Remove(f.Name()))
	}
	return nil
}
