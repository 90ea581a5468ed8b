// Package accesslog says who read a release's secrets from the secret manager, by
// access logs that were exported to files: audit logs of Google Cloud's Secret
// Manager, of AWS CloudTrail and of Vault. No value of a secret stands in such a log,
// and nothing of a log but who, what, how often, and when first and last is sealed.
package accesslog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

// Name is the collector's name in the catalog.
const Name = "accesslog"

// The rules.
const (
	// RuleReaders holds for a secret that an ExternalSecret of the release names: all
	// who read it by the logs are allowed to.
	RuleReaders = "accesslog/readers"
	// RuleLog holds for a log that was read to its end, every entry of it, and that is
	// not too old.
	RuleLog = "accesslog/log"
)

var rules = collectors.Rules{RuleReaders: evidence.SeverityHigh, RuleLog: evidence.SeverityMedium}

const file = "access.json"

// Options is what access is judged by. The zero value is enough to derive findings
// again: all of it is sealed.
type Options struct {
	Logs    *Logs         // nil: none were given, and the collector has nothing to do
	Readers []string      // patterns of those who may read; see ParseReader
	MaxAge  time.Duration // how old the newest entry of a provider's logs may be
}

// Seen is what is sealed.
type Seen struct {
	At      time.Time         `json:"at"`
	Readers []string          `json:"readers"` // who may read
	MaxAge  evidence.Duration `json:"maxAge"`
	Logs    []File            `json:"logs"`
	Reads   []Read            `json:"reads"` // of the secrets that the release names
}

type collector struct{ o Options }

// New returns the collector; the error names a reader that is no pattern.
func New(o Options) (collectors.Collector, error) {
	_, err := parseReaders(o.Readers)
	return collector{o}, err
}

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

// Collect seals what the logs say of the secrets that the release names.
func (c collector) Collect(_ context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if c.o.Logs == nil {
		return errors.New("no access log: give --access-log FILE")
	}
	set, err := in.Release.Objects()
	if err != nil {
		return err
	}
	var wanted []string
	for i := range set.Objects {
		wanted = append(wanted, secretsOf(&set.Objects[i])...)
	}
	wanted = distinct(wanted)
	seen := Seen{
		At: in.Now().UTC(), Readers: append([]string{}, c.o.Readers...), MaxAge: evidence.Duration(c.o.MaxAge),
		Logs: append([]File{}, c.o.Logs.Files...), Reads: []Read{},
	}
	for _, r := range c.o.Logs.Reads {
		if slices.ContainsFunc(wanted, r.of) {
			seen.Reads = append(seen.Reads, r)
		}
	}
	return collectors.WriteJSON(out, file, seen)
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// Logs is what a run's access logs say, read once for all of its releases.
type Logs struct {
	Files []File
	Reads []Read // by provider, secret and principal
}

// File is one log, and how much of it could be read.
type File struct {
	Name   string          `json:"name"` // without its folder: where it lay is no evidence
	Digest evidence.Digest `json:"digest"`
	Bytes  int64           `json:"bytes"`
	// Spans says of each provider how many entries of it there are, and from when to when.
	Spans     map[string]Span `json:"spans"`
	Reads     int             `json:"reads"`               // entries that are reads of secrets
	Malformed int             `json:"malformed,omitempty"` // entries that are none of a known provider, or lack what a read has
	FirstBad  string          `json:"firstBad,omitempty"`  // where the first of those is, and what is wrong with it
	Cut       string          `json:"cut,omitempty"`       // why it was not read to its end
	LeftOut   int             `json:"leftOut,omitempty"`   // reads over the bound of pairs of secrets and readers
}

// Span is the time that a log's entries of a provider cover.
type Span struct {
	Entries int       `json:"entries"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Read is what one principal read of one secret.
type Read struct {
	Provider  string    `json:"provider"`
	Secret    string    `json:"secret"`          // as the log names it, without a version
	Mount     string    `json:"mount,omitempty"` // of Vault: the engine's, where the log tells it
	Principal string    `json:"principal"`       // empty: the log does not tell
	Count     int       `json:"count"`           // entries, refused ones too
	Refused   int       `json:"refused,omitempty"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

func (r *Read) who() string {
	if r.Principal == "" {
		return "somebody whom the log does not name"
	}
	return r.Principal
}

func (r *Read) text() string {
	const stamp = "2006-01-02T15:04Z"
	s := fmt.Sprintf("%s (%d times, %s to %s", r.who(), r.Count, r.First.Format(stamp), r.Last.Format(stamp))
	if r.Count == 1 {
		s = fmt.Sprintf("%s (once, %s", r.who(), r.First.Format(stamp))
	}
	if r.Refused > 0 {
		s += fmt.Sprintf(", %d refused", r.Refused)
	}
	return s + ")"
}
