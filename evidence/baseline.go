package evidence

import "time"

// BaselineVersion is the version of the layout of a baseline.
const BaselineVersion = 1

// BaselineFile is where evidence.zip has the release's part of the baseline that it was
// judged with.
const BaselineFile = "artifacts/baseline/known.json"

// Baseline is what failed when somebody began to judge releases: only what fails beside
// it is new. It is a file that people review, so each entry says what it is about.
type Baseline struct {
	Version  int               `json:"version"`
	Releases []BaselineRelease `json:"releases"`
}

// Release is the part about one release; without known failures where the baseline
// says nothing of it.
func (b *Baseline) Release(chart, name string) BaselineRelease {
	for _, r := range b.Releases {
		if r.Chart == chart && r.Release == name {
			return r
		}
	}
	return BaselineRelease{Chart: chart, Release: name, Known: []KnownFailure{}}
}

// BaselineRelease is what was known of one release.
type BaselineRelease struct {
	Chart   string         `json:"chart"`
	Release string         `json:"release"`          // its name, which those of its objects begin with
	At      time.Time      `json:"at"`               // when it was judged
	Bundle  Digest         `json:"bundle,omitempty"` // from which it was read; empty: written by check
	Known   []KnownFailure `json:"known"`
}

// KnownFailure are findings of one rule about one thing. Nothing in it moves with a
// line, a version of the chart or an image's tag.
type KnownFailure struct {
	Control ControlID `json:"control"`
	Rule    string    `json:"rule"`
	Outcome Outcome   `json:"outcome"` // fail or not-checked
	// Severity is the worst of them: what is worse by now is new.
	Severity  Severity `json:"severity"`
	Kind      string   `json:"kind,omitempty"`
	Name      string   `json:"name,omitempty"`
	Namespace string   `json:"namespace,omitempty"` // where it is not the release's own
	Container string   `json:"container,omitempty"`
	File      string   `json:"file,omitempty"` // of what is about no object
	// Detail is the finding's message with # for each place in a list and each
	// word that has a digit.
	Detail string `json:"detail,omitempty"`
	Count  int    `json:"count"` // how many there were: one more is new
}

// BaselineResult is the verdict with what the baseline knows left out.
type BaselineResult struct {
	At      time.Time      `json:"at"` // when the baseline was written
	Outcome VerdictOutcome `json:"outcome"`
	Reason  string         `json:"reason"`
	// Allowed says that the profile takes a baseline: the verdict itself is by it. Otherwise
	// the verdict counts everything.
	Allowed  bool        `json:"allowed,omitempty"`
	Known    int         `json:"known"`              // findings that the baseline knows
	New      int         `json:"new"`                // failing or unchecked, and neither known nor waived
	Gone     int         `json:"gone"`               // that the baseline knows, and that are not there any more
	Controls []ControlID `json:"controls,omitempty"` // that hold by the baseline only
}
