package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/pipeline"
)

const (
	// clockSkew is how far evidence may be dated ahead of this machine's clock.
	clockSkew = 5 * time.Minute
	// again is after how long a bundle that was verified is verified once more: what is
	// altered later shows by then.
	again = 24 * time.Hour
	// patience bounds the time between two tries of a bundle that does not verify: it may
	// still be being stored, or be restored.
	patience = time.Hour
)

// Why a bundle does not count.
const (
	reasonSignature  = "signature"  // no trusted key signed it
	reasonUnreadable = "unreadable" // it is altered, cut, too large, or gone
	reasonTime       = "time"       // it is dated in the future
	reasonOther      = "other"      // what it says does not follow from it, or it was sealed for another repository
)

var reasons = []string{reasonSignature, reasonUnreadable, reasonTime, reasonOther}

// Evidence is what is kept of a bundle.
type Evidence struct {
	Release evidence.Release // without images
	Profile string           // as reports name it
	Outcome evidence.VerdictOutcome
	At      time.Time
	// Waivers are the earliest ends of the waivers that were applied, by control.
	Waivers map[evidence.ControlID]time.Time
	Drill   *Drill // nil: it is of no drill

	id         evidence.Digest
	series     string // the profile without its digest: a changed profile goes on where the old one ended
	repository string // for which it was sealed
}

// Drill is what is kept of a drill.
type Drill struct {
	Target, Experiment string
	// Failed says that it did not pass when it was done, whatever newer rules say of it.
	Failed bool
}

// Survey verifies the bundles of a repository, each once, and keeps of them what the
// metrics say. It is not safe for concurrent use.
type Survey struct {
	Repo     *repository.Repository
	Verifier *bundle.Verifier
	// ID is the id of the repository whose bundles count; empty: the one that it says itself.
	ID string
	// AnyRepository lets bundles count that were sealed for another one, or for none.
	AnyRepository bool
	Interval      time.Duration // between two readings
	Now           func() time.Time

	known map[evidence.Digest]*checked
}

// checked is what is known of one bundle.
type checked struct {
	is    *Evidence // nil: it does not verify
	why   string    // one of the reasons
	tries int
	due   time.Time // when it is verified again
}

// Census is what a repository holds.
type Census struct {
	All          []*Evidence // that counts, newest first
	Unverifiable map[string]int
}

// Read reads what is new in the repository. With an error there may still be a census, of
// what could be read: a file that cannot be reached says nothing about its bundle, and the
// bundle counts as it did before.
func (s *Survey) Read(ctx context.Context) (*Census, error) {
	id, err := s.id(ctx)
	if err != nil {
		return nil, err
	}
	if s.known == nil {
		s.known = map[evidence.Digest]*checked{}
	}
	now, there := s.Now(), map[evidence.Digest]bool{}
	var unreached []error
	err = pipeline.EachBundleOf(ctx, s.Repo, func(id evidence.Digest) bool {
		there[id] = true
		c := s.known[id]
		return c == nil || !now.Before(c.due)
	}, func(f *pipeline.Found) error {
		c, err := s.check(ctx, f)
		switch {
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case err != nil:
			unreached = append(unreached, err)
		default:
			s.known[f.ID] = c
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(there) == 0 && (len(s.known) > 0 || s.ID != "") {
		return nil, fmt.Errorf("%s holds no evidence any more: is it the right place, and is it mounted?", s.Repo.URL())
	}
	maps.DeleteFunc(s.known, func(id evidence.Digest, _ *checked) bool { return !there[id] })
	return s.census(id, now), errors.Join(unreached...)
}

// id is the id whose bundles count: once it is known, a repository that says another one
// is refused, since whoever can write to it can swap what it says.
func (s *Survey) id(ctx context.Context) (string, error) {
	if s.AnyRepository {
		return "", nil
	}
	id, err := s.Repo.ID(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.ID, nil
	case err != nil:
		return "", err
	case s.ID != "" && id != s.ID:
		return "", fmt.Errorf("%s says that it is repository %s, and was %s: its evidence is from elsewhere, or somebody swapped its id", s.Repo.URL(), id, s.ID)
	}
	s.ID = id
	return id, nil
}

// check verifies one bundle. The error says that it could not be reached.
func (s *Survey) check(ctx context.Context, f *pipeline.Found) (*checked, error) {
	r := f.Verify(ctx, s.Verifier)
	damaged := errors.Is(r.Err(), repository.ErrTooLarge) || errors.Is(r.Err(), repository.ErrIrregular) || errors.Is(r.Err(), fs.ErrNotExist)
	if r.Err() != nil && !damaged {
		return nil, fmt.Errorf("read bundle %s: %w", f.ID.Short(), r.Err())
	}
	now := s.Now()
	b := r.Verified()
	if b == nil {
		c := &checked{why: reasonOf(r), tries: 1}
		if was := s.known[f.ID]; was != nil && was.is == nil {
			c.tries = was.tries + 1
		}
		c.due = now.Add(min(patience, s.Interval<<min(c.tries, 16)))
		return c, nil
	}
	e := &Evidence{
		Release: pipeline.WithObjects(b), Profile: b.Runs().ProfileName(b.Verdict().Profile, b.Verdict().ProfileDigest), Outcome: r.Counts().Outcome,
		At: b.Verdict().EvaluatedAt, id: b.ID(), repository: b.Runs().Repository,
	}
	e.Release.Images = nil
	e.series, _, _ = strings.Cut(e.Profile, "@sha256:")
	for _, w := range b.Verdict().Waivers {
		if w.Status != "applied" {
			continue
		}
		if end, ok := e.Waivers[w.Waiver.Control]; !ok || w.Waiver.ExpiresAt.Before(end) {
			if e.Waivers == nil {
				e.Waivers = map[evidence.ControlID]time.Time{}
			}
			e.Waivers[w.Waiver.Control] = w.Waiver.ExpiresAt
		}
	}
	if e.Release.Scope == evidence.ScopeDrill {
		e.Drill = drillOf(b)
	}
	return &checked{is: e, due: now.Add(again)}, nil
}

// reasonOf sorts a bundle that does not verify by the first check that failed.
func reasonOf(r *bundle.Result) string {
	i := slices.IndexFunc(r.Checks, func(c bundle.Check) bool { return c.Outcome == evidence.OutcomeFail })
	switch {
	case r.Err() != nil, i < 0:
		return reasonUnreadable
	case r.Checks[i].Name == "signature":
		return reasonSignature
	case r.Checks[i].Name == "id", r.Checks[i].Name == "contents":
		return reasonUnreadable
	}
	return reasonOther
}

// drillOf reads a drill's plan. What it aimed at is a workload, or the whole release.
func drillOf(b *bundle.Bundle) *Drill {
	d := &Drill{Failed: b.Verdict().Outcome != evidence.VerdictPass, Target: "Release/" + b.Release().ReleaseName, Experiment: strings.TrimPrefix(b.Verdict().Profile, "drill-")}
	if runs := b.Runs().Collectors; len(runs) > 0 {
		if r, err := drill.ReadRecord(b, runs[0].Collector); err == nil { // what cannot be read did not pass, and its profile names it
			d.Experiment = string(r.Plan.Experiment)
			d.Target = cmp.Or(r.Plan.Target.Workload, d.Target)
		}
	}
	return d
}

// census sorts what is known.
func (s *Survey) census(id string, now time.Time) *Census {
	c := &Census{Unverifiable: map[string]int{}}
	for _, r := range reasons {
		c.Unverifiable[r] = 0
	}
	for _, k := range s.known {
		switch {
		case k.is == nil:
			c.Unverifiable[k.why]++
		case k.is.At.After(now.Add(clockSkew)):
			c.Unverifiable[reasonTime]++
		case !s.AnyRepository && (k.is.repository == "" || k.is.repository != id):
			c.Unverifiable[reasonOther]++
		default:
			c.All = append(c.All, k.is)
		}
	}
	slices.SortFunc(c.All, func(a, b *Evidence) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.id, b.id)) })
	return c
}
