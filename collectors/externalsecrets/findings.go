package externalsecrets

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

type derivation struct{ *collectors.Derivation }

func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	d := derivation{collectors.NewDerivation(in, Name, rules)}
	var seen Seen
	if err := d.Parse(file, &seen); err != nil {
		return nil, err
	}
	byIndex := map[int]int{}
	for i, s := range seen.Secrets {
		if s.Index < 0 || s.Index >= len(set.Objects) || !isExternalSecret(&set.Objects[s.Index]) || set.Objects[s.Index].GetName() != s.Name {
			return nil, fmt.Errorf("parse %s: entry %d is not about an ExternalSecret of the manifests", file, i)
		}
		byIndex[s.Index] = i
	}
	for i := range set.Objects {
		o := &set.Objects[i]
		if !isExternalSecret(o) {
			continue
		}
		k, ok := byIndex[i]
		if !ok {
			d.add(RuleSynced, o, evidence.OutcomeNotChecked, "the cluster was not asked about it", "Collect again.", "/secrets")
			continue
		}
		d.secret(o, &seen.Secrets[k], &seen, fmt.Sprintf("/secrets/%d", k))
	}
	d.Unreadable(RuleSynced, rel.Chart, set.Broken, d.Own(file, ""))
	if len(d.Out) == 0 {
		d.Add(RuleSynced, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, "the release has no ExternalSecret", "", d.Own(file, ""))
	}
	return d.Out, nil
}

func (d derivation) add(rule string, o *manifest.Object, outcome evidence.Outcome, message, fix, pointer string) {
	d.Add(rule, o.Target(""), outcome, message, fix, d.Own(file, pointer))
}

const (
	askAgain = "Let helmproof's account get ExternalSecrets, their stores and the metadata of Secrets, and collect again."
	readWhy  = "Read the ExternalSecret's status conditions and events; mend the store's access or the path that it names."
)

func (d derivation) secret(o *manifest.Object, s *Secret, seen *Seen, pointer string) {
	switch {
	case s.Error != "":
		d.add(RuleSynced, o, evidence.OutcomeNotChecked, "could not be looked at: "+s.Error, askAgain, pointer)
		return
	case !s.Found:
		d.add(RuleSynced, o, evidence.OutcomeFail, "is not in the cluster", "Install or upgrade the release.", pointer)
		return
	}
	outcome, message := synced(s, seen.At)
	d.add(RuleSynced, o, outcome, message, readWhy, pointer)
	for i := range s.Stores {
		outcome, message := storeReady(&s.Stores[i])
		d.add(RuleStore, o, outcome, message, "Mend the store: its provider's address, its credentials, its role.", fmt.Sprintf("%s/stores/%d", pointer, i))
	}
	if len(s.Stores) == 0 {
		d.add(RuleStore, o, evidence.OutcomeNotApplicable, "names no store: a generator makes its values", "", pointer)
	}
	if s.Target != nil {
		outcome, message := produced(s.Target)
		d.add(RuleSecret, o, outcome, message, "Let the ExternalSecret make the Secret: remove one of the same name that somebody else made.", pointer+"/target")
		outcome, message = rotated(s, seen.At, time.Duration(seen.Rotation))
		d.add(RuleRotated, o, outcome, message, "Make a new value in the store and the old one invalid; let the ExternalSecret alone write the Secret. The interval is rotationInterval of helmproof.yaml.", pointer+"/target")
	}
}

// synced judges the conditions and the age of the last refresh. A condition can
// stay true after refreshing has stopped, so that the age counts as well.
func synced(s *Secret, at time.Time) (evidence.Outcome, string) {
	i := slices.IndexFunc(s.Conditions, func(c Condition) bool { return c.Type == "Ready" })
	switch {
	case i < 0:
		return evidence.OutcomeNotChecked, "has no condition Ready: no operator has looked at it yet"
	case s.Conditions[i].Status != "True":
		return evidence.OutcomeFail, fmt.Sprintf("is not ready: %s: %s", s.Conditions[i].Reason, s.Conditions[i].Message)
	}
	if s.Outdated {
		return evidence.OutcomeNotChecked, "its status is of an earlier generation: what it says now has not been synced"
	}
	if s.Policy == "CreatedOnce" || s.Policy == "OnChange" {
		return evidence.OutcomeFail, "is never refreshed: refreshPolicy " + s.Policy
	}
	interval := time.Hour // the operator's default
	if s.Interval != "" {
		var err error
		if interval, err = time.ParseDuration(s.Interval); err != nil {
			return evidence.OutcomeError, fmt.Sprintf("refreshInterval %q is no duration", s.Interval)
		}
	}
	if interval <= 0 {
		return evidence.OutcomeFail, "is never refreshed: refreshInterval " + s.Interval
	}
	if s.RefreshTime == "" {
		return evidence.OutcomeNotChecked, "says ready, but not when it was refreshed"
	}
	refreshed, err := time.Parse(time.RFC3339, s.RefreshTime)
	if err != nil {
		return evidence.OutcomeError, fmt.Sprintf("refreshTime %q is no time", s.RefreshTime)
	}
	age := at.Sub(refreshed).Round(time.Second)
	switch {
	case at.IsZero():
		return evidence.OutcomeError, "the evidence does not say when it was looked at"
	case age < -margin:
		return evidence.OutcomeError, fmt.Sprintf("refreshTime %s is later than the time of looking, %s", s.RefreshTime, at.Format(time.RFC3339))
	}
	if age > interval+margin {
		return evidence.OutcomeFail, fmt.Sprintf("was last refreshed %s before it was looked at; its interval is %s", age, interval)
	}
	return evidence.OutcomePass, fmt.Sprintf("is ready, and was refreshed within its interval of %s", interval)
}

func storeReady(s *Store) (evidence.Outcome, string) {
	name := s.Kind + " " + s.Name
	i := slices.IndexFunc(s.Conditions, func(c Condition) bool { return c.Type == "Ready" })
	switch {
	case s.Error != "":
		return evidence.OutcomeNotChecked, name + " could not be looked at: " + s.Error
	case !s.Found:
		return evidence.OutcomeFail, name + " is not in the cluster"
	case i < 0:
		return evidence.OutcomeNotChecked, name + " has no condition Ready"
	case s.Conditions[i].Status != "True":
		return evidence.OutcomeFail, fmt.Sprintf("%s is not ready: %s: %s", name, s.Conditions[i].Reason, s.Conditions[i].Message)
	}
	return evidence.OutcomePass, name + " is ready"
}

func produced(t *Target) (evidence.Outcome, string) {
	switch {
	case t.Policy == "None":
		return evidence.OutcomeNotApplicable, "makes no Secret (creationPolicy None)"
	case t.Error != "":
		return evidence.OutcomeNotChecked, "Secret " + t.Name + " could not be looked at: " + t.Error
	case !t.Found:
		return evidence.OutcomeFail, "Secret " + t.Name + " is not there"
	case !t.Owned && (t.Policy == "Merge" || t.Policy == "Orphan"):
		return evidence.OutcomeWarn, fmt.Sprintf("Secret %s is there, but not owned by the ExternalSecret (creationPolicy %s): it may hold what somebody else wrote", t.Name, t.Policy)
	case !t.Owned:
		return evidence.OutcomeFail, "Secret " + t.Name + " is there, but the ExternalSecret does not own it: somebody else made it"
	}
	return evidence.OutcomePass, "Secret " + t.Name + " is made and owned by the ExternalSecret"
}

// longest is the longest refreshInterval with which a rotated secret still arrives in
// time: that of SCR-3, here held to what runs.
const longest = 24 * time.Hour

// operators start the names under which External Secrets writes: its program's, and
// that of an ExternalSecret's own fields.
var operators = []string{"external-secrets", "externalsecrets.external-secrets.io/"}

// rotated judges when the Secret's entries were last written to. The API server moves
// that time only when something changes, so that an old one proves an old value; a
// new one may be of another field of the same writer, and says no more than that.
func rotated(s *Secret, at time.Time, interval time.Duration) (evidence.Outcome, string) {
	t := s.Target
	switch {
	case t.Policy == "None":
		return evidence.OutcomeNotApplicable, "makes no Secret (creationPolicy None)"
	case t.Error != "" || !t.Found:
		return evidence.OutcomeNotChecked, "nobody knows when Secret " + t.Name + " last changed: it could not be looked at"
	case interval <= 0 || at.IsZero():
		return evidence.OutcomeNotChecked, "the evidence does not say what rotation interval it was held to, and when"
	}
	if refresh, err := time.ParseDuration(s.Interval); err == nil && refresh > longest {
		return evidence.OutcomeFail, fmt.Sprintf("is refreshed every %s in the cluster: a rotated secret arrives more than a day late", refresh)
	}
	var last *Change
	for i, c := range t.Changes {
		switch {
		case c.Error != "":
			return evidence.OutcomeNotChecked, fmt.Sprintf("nobody knows when Secret %s last changed: of writer %s %s", t.Name, c.Manager, c.Error)
		case c.Data && c.At.IsZero():
			return evidence.OutcomeNotChecked, fmt.Sprintf("nobody knows when Secret %s last changed: writer %s has no time", t.Name, c.Manager)
		case c.Data && (last == nil || c.At.After(last.At)):
			last = &t.Changes[i]
		}
	}
	if last == nil {
		return evidence.OutcomeNotChecked, fmt.Sprintf("nobody knows when Secret %s last changed: no writer of its entries is on record", t.Name)
	}
	when := last.At.Format(time.RFC3339)
	age := at.Sub(last.At).Round(time.Second)
	switch {
	case age < -margin:
		return evidence.OutcomeError, fmt.Sprintf("Secret %s changed at %s, which is later than the time of looking, %s", t.Name, when, at.Format(time.RFC3339))
	case age > interval:
		return evidence.OutcomeFail, fmt.Sprintf("Secret %s has not changed since %s, for %s; the rotation interval is %s", t.Name, when, days(age), days(interval))
	case !slices.ContainsFunc(operators, func(p string) bool { return strings.HasPrefix(last.Manager, p) }):
		return evidence.OutcomeWarn, fmt.Sprintf("Secret %s was last written to at %s by %s, which is not External Secrets: whether that was a rotation is not known", t.Name, when, last.Manager)
	case !last.At.After(t.Created):
		return evidence.OutcomePass, fmt.Sprintf("Secret %s was made %s ago and has not changed since; the rotation interval is %s", t.Name, days(age), days(interval))
	}
	return evidence.OutcomePass, fmt.Sprintf("Secret %s last changed %s ago, at %s, by %s; the rotation interval is %s", t.Name, days(age), when, last.Manager, days(interval))
}

// days is a duration in words, with whole days from two of them on.
func days(d time.Duration) string {
	if d < 2*longest {
		return d.String()
	}
	return fmt.Sprintf("%d days", d/longest)
}
