package pipeline

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

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/review"
	"github.com/companyos/helmproof/internal/readiness"
)

// readinessProfile is whose thresholds, ages and bounds of waivers a checklist's controls
// are judged by.
const readinessProfile = "release"

// ReadinessRequest says what is asked, and of which releases.
type ReadinessRequest struct {
	Checklist *readiness.Checklist
	Names     []string // of releases; none: all that the repository has evidence of
	// Gate has what else evidence has to be of, the time, and what the gate itself is
	// given; Chart, ReleaseName and what is deployed are not asked.
	Gate      GateRequest
	Documents string         // the folder that the files of the checklist are below
	Reviews   *review.Reader // which reviews count
}

// Readiness answers a checklist for each release, by evidence that is found and verified
// as Gate does, and by reviews. Evidence that cannot be verified is an answer; an error
// says that there is none.
func Readiness(ctx context.Context, repo *repository.Repository, v *bundle.Verifier, req ReadinessRequest) (*readiness.Document, error) {
	by, err := LoadRules(RulesOptions{Profile: readinessProfile})
	if err == nil {
		by, err = by.forChecklist(req.Checklist)
	}
	if err != nil {
		return nil, err
	}
	docs, err := os.OpenRoot(req.Documents)
	if err != nil {
		return nil, inputErr("folder of documents: %w", err)
	}
	defer docs.Close()
	r := &ready{ctx: ctx, repo: repo, verifier: v, req: req, rules: by, docs: docs}
	out := &readiness.Document{Repository: repo.URL(), Checklist: req.Checklist.Name, Title: req.Checklist.Title, At: req.Gate.At.UTC(), Releases: []readiness.Report{}}
	list, broken, err := r.releases()
	if err != nil {
		return nil, err
	}
	for _, rel := range list {
		reports, err := r.release(rel, broken)
		if err != nil {
			return nil, err
		}
		out.Releases = append(out.Releases, reports...)
	}
	var all []readiness.Outcome
	for _, rep := range out.Releases {
		all = append(all, rep.Outcome)
	}
	out.Outcome = readiness.Worst(all...)
	return out, nil
}

// forChecklist returns rules that ask for the controls of a checklist, each as profile
// release has it, and not older than the checklist says.
func (r Rules) forChecklist(c *readiness.Checklist) (Rules, error) {
	return r.changed(func(p *evidence.Profile) {
		like := p.Controls
		p.Name, p.Controls = "readiness-"+c.Name, nil
		for _, it := range c.Items {
			for _, id := range it.Controls {
				pc := evidence.ProfileControl{ID: id}
				if i := slices.IndexFunc(like, func(x evidence.ProfileControl) bool { return x.ID == id }); i >= 0 {
					pc = like[i]
				}
				pc.Optional = false
				if it.MaxAge > 0 {
					pc.MaxAge = it.MaxAge
				}
				p.Controls = append(p.Controls, pc)
			}
		}
	})
}

// ready answers for one release after the other.
type ready struct {
	ctx      context.Context //nolint:containedctx // it is what one command asks
	repo     *repository.Repository
	verifier *bundle.Verifier
	req      ReadinessRequest
	rules    Rules
	docs     *os.Root
	all      []entry
}

// named is a release by its names, or only what somebody called it.
type named struct {
	chart, release, namespace string
	absent                    string // why there is no evidence of it; empty where there is some
}

// broken reports whether an error says that evidence cannot be verified.
func broken(err error) bool {
	var integrity *IntegrityError
	return errors.As(err, &integrity) || errors.Is(err, repository.ErrIrregular)
}

// releases are those that are asked about. What a bundle is about that nobody can read is
// not known: it is returned as what makes all evidence unverifiable.
func (r *ready) releases() (list []named, unread, err error) {
	r.all, err = index(r.ctx, r.repo, r.verifier)
	if err != nil && !broken(err) {
		return nil, nil, err
	}
	unread = err
	var there []named
	for i := range r.all {
		e := &r.all[i]
		var rel evidence.Release
		if e.about != nil {
			rel = e.about.Release
		} else {
			g, damage, err := look(r.ctx, r.repo, r.verifier, e.id)
			switch {
			case err != nil:
				return nil, nil, err
			case errors.Is(damage, errNothing) && e.unfinished():
				continue
			case damage != nil:
				unread = unreadable(e.id, fmt.Errorf("%w; %w", e.broken, damage))
				continue
			}
			rel = g.release
		}
		n := named{chart: rel.Chart, release: rel.ReleaseName, namespace: rel.Namespace}
		if (rel.Scope == evidence.ScopeRelease || rel.Scope == evidence.ScopeDrill) && !slices.Contains(there, n) {
			there = append(there, n)
		}
	}
	slices.SortFunc(there, func(a, b named) int {
		return strings.Compare(a.release+"\x00"+a.namespace+"\x00"+a.chart, b.release+"\x00"+b.namespace+"\x00"+b.chart)
	})
	of := r.req.Gate.Namespace
	matching := func(name string) (out []named) {
		for _, n := range there {
			if (name == "" || n.release == name) && (of == "" || n.namespace == of) {
				out = append(out, n)
			}
		}
		return out
	}
	asked := r.req.Names
	if len(asked) == 0 {
		asked = []string{""}
	}
	for _, name := range asked {
		found := matching(name)
		if len(found) == 0 {
			found = []named{{release: name, namespace: of, absent: absent(name, of, there, len(r.all) > 0)}}
		}
		for _, n := range found {
			if !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	return list, unread, nil
}

// absent says that there is no evidence of a release, and of which there is some. other
// says that there are bundles at all.
func absent(name, namespace string, there []named, other bool) string {
	s := "no evidence of any release"
	if name != "" {
		s = "no evidence of release " + name
	}
	if namespace != "" {
		s += " in namespace " + namespace
	}
	var names []string
	for _, n := range there {
		names = append(names, n.release+" in "+n.namespace)
	}
	switch n := len(names); {
	case n == 0 && other:
		return s + ": the repository has evidence of clusters only, and the answers are about a release"
	case n == 0:
		return s + ": the repository has none at all"
	case n > maxNames:
		return fmt.Sprintf("%s; there is some of %s and %d more (helmproof list)", s, strings.Join(names[:maxNames], ", "), n-maxNames)
	}
	return s + "; there is some of " + strings.Join(names, ", ")
}

// release answers for one release: once for each cluster that it is on.
func (r *ready) release(n named, unread error) ([]readiness.Report, error) {
	var judged []*Judged
	bad := unread
	if n.absent == "" && bad == nil {
		req := r.req.Gate
		req.Chart, req.ReleaseName, req.Namespace, req.index = n.chart, n.release, n.namespace, r.all
		var err error
		judged, err = Gate(r.ctx, r.repo, r.verifier, r.rules, req)
		if err != nil && !broken(err) {
			return nil, err
		}
		bad = err
	}
	if len(judged) == 0 {
		judged = []*Judged{{Release: evidence.Release{Chart: n.chart, ReleaseName: n.release, Namespace: n.namespace}}}
	}
	var out []readiness.Report
	for _, j := range judged {
		why := n.absent
		if why == "" && len(j.Inputs) == 0 {
			why = strings.Join(j.Reasons, "; ")
		}
		rep, err := r.report(j, bad, why)
		if err != nil {
			return nil, err
		}
		out = append(out, rep)
	}
	return out, nil
}

// report answers every item for one judged release.
func (r *ready) report(j *Judged, bad error, why string) (readiness.Report, error) {
	rep := readiness.Report{Chart: j.Release.Chart, Version: j.Release.Version, Release: j.Release.ReleaseName, Namespace: j.Release.Namespace, Cluster: j.Release.Cluster, Items: []readiness.Answer{}, Inputs: j.Inputs}
	var all []readiness.Outcome
	for i := range r.req.Checklist.Items {
		it := &r.req.Checklist.Items[i]
		parts, err := r.parts(it, j, bad, why)
		if err != nil {
			return rep, err
		}
		a := readiness.NewAnswer(it, parts)
		rep.Items, all = append(rep.Items, a), append(all, a.Outcome)
	}
	rep.Outcome = readiness.Worst(all...)
	return rep, nil
}

// parts answers an item. bad says why evidence cannot be verified, why that there is none.
func (r *ready) parts(it *readiness.Item, j *Judged, bad error, why string) ([]readiness.Part, error) {
	switch {
	case it.Reviews != nil:
		return r.reviews(it, j, bad, why)
	case it.Training != nil:
		p, err := r.training(it)
		return []readiness.Part{p}, err
	}
	fill := func(get string) string {
		return readiness.Command(get, j.Release.Chart, j.Release.ReleaseName, j.Release.Namespace)
	}
	get := fill(it.Get)
	parts := readiness.Controls(it, j.Verdict.Results, j.deciding, r.rules.Catalog, func(id evidence.ControlID) string {
		if r.unbound(j, id) {
			return fill(getRelease)
		}
		return get
	})
	for i := range parts {
		switch {
		case bad != nil:
			parts[i].Outcome, parts[i].Reason, parts[i].Get = readiness.Unverifiable, bad.Error(), ""
		case why != "":
			parts[i].Outcome, parts[i].Reason, parts[i].Get = readiness.Missing, why, get
		}
	}
	return parts, nil
}

// getRelease gets evidence of a release that names its cluster.
const getRelease = "helmproof collect --release {release} -n {namespace}"

// unbound reports whether evidence about a control is there and was left out, since no
// evidence of the release says which one is meant, or on which cluster it is: of the
// cluster, or of the drill, there is enough then.
func (r *ready) unbound(j *Judged, id evidence.ControlID) bool {
	named := j.Release.Cluster != "" && slices.ContainsFunc(j.Inputs, func(in evidence.BundleRef) bool { return in.Scope == evidence.ScopeRelease })
	if named || len(j.deciding(id)) > 0 {
		return false
	}
	counts := evidence.NewRuleControls(r.rules.Catalog)
	for _, in := range j.Inputs {
		if in.Scope != evidence.ScopeRelease && slices.ContainsFunc(j.found[in.Bundle], func(f evidence.Finding) bool { return slices.Contains(counts.Of(f.Rule), id) }) {
			return true
		}
	}
	return false
}

// deciding are the findings of the evidence that decided a control.
func (j *Judged) deciding(id evidence.ControlID) []evidence.Finding {
	var out []evidence.Finding
	for _, r := range j.Verdict.Results {
		if r.Control != id {
			continue
		}
		for _, ref := range r.Evidence {
			out = append(out, j.found[ref.Bundle]...)
		}
	}
	return out
}

// reviews answers whether a role has reviewed the documents, and the evidence.
func (r *ready) reviews(it *readiness.Item, j *Judged, bad error, why string) ([]readiness.Part, error) {
	var parts []readiness.Part
	for _, name := range it.Reviews.Files {
		p, err := r.document(name, func(d evidence.Digest) (readiness.Part, error) {
			return r.reviewed(it, name, d, review.File)
		})
		if err != nil {
			return nil, err
		}
		if p.Outcome != readiness.Done {
			p.Get = fmt.Sprintf("helmproof attest %s --role %s --reason TEXT --key KEY", readiness.Quote(r.place(name)), it.Reviews.Role)
		}
		parts = append(parts, p)
	}
	if !it.Reviews.Evidence {
		return parts, nil
	}
	p := readiness.Part{What: "evidence", Outcome: readiness.Missing, Reason: why}
	switch id := j.RestsOn(); {
	case bad != nil:
		p.Outcome, p.Reason = readiness.Unverifiable, bad.Error()
	case id == "":
		p.Reason = "there is no evidence to review: " + why
	default:
		var err error
		if p, err = r.reviewed(it, "bundle "+id.Short(), id, review.Bundle); err != nil {
			return nil, err
		}
		if p.Outcome != readiness.Done {
			p.Get = fmt.Sprintf("helmproof attest %s --role %s --reason TEXT --key KEY", id.Short(), it.Reviews.Role)
		}
	}
	return append(parts, p), nil
}

// place is where a document of the checklist lies, for whoever asks.
func (r *ready) place(name string) string {
	return filepath.ToSlash(filepath.Join(r.req.Documents, name))
}

// document reads a document and asks about its digest.
func (r *ready) document(name string, ask func(evidence.Digest) (readiness.Part, error)) (readiness.Part, error) {
	p := readiness.Part{What: name, Outcome: readiness.Missing}
	d, err := documentDigest(r.docs.OpenFile, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Reason = fmt.Sprintf("there is no such document in %s: write it, or say where it is with --documents", r.req.Documents)
		return p, nil
	case err != nil:
		p.Reason = "the document cannot be read: " + err.Error()
		return p, nil
	}
	return ask(d)
}

// statements are the stored statements of a role about a subject: those that count, and
// what is to be said of the others. unverifiable reports whether some cannot be verified.
func (r *ready) statements(role string, of evidence.Digest, maxAge evidence.Duration, fits func(*review.Review) bool) (counting []review.Checked, notes []string, unverifiable bool, err error) {
	list, err := Reviews(r.ctx, r.repo, r.req.Reviews, of)
	if err != nil {
		if broken(err) {
			return nil, []string{err.Error()}, true, nil
		}
		return nil, nil, false, err
	}
	for _, c := range list {
		note := "does not count: " + c.Reason
		switch {
		case c.Status == review.Unverifiable:
			unverifiable = true
			note = fmt.Sprintf("review %s cannot be verified: %s", c.ID.Short(), c.Reason)
		case c.Withdrawal != nil && c.Status == review.Counts: // said of the review
			continue
		case c.Withdrawal != nil && c.Withdrawal.Role == role:
			note = fmt.Sprintf("a withdrawal of review %s does not count: %s", c.Withdraws.Short(), c.Reason)
		case c.Withdrawal != nil:
			continue
		case c.Review.Role != role || !fits(c.Review):
			continue
		case c.Status == review.Counts && maxAge > 0 && r.req.Gate.At.Sub(c.Review.ReviewedAt) > time.Duration(maxAge):
			note = fmt.Sprintf("does not count: older than %s, signed %s", hours(maxAge), c.Review.ReviewedAt.Format(time.RFC3339))
		case c.Status == review.Counts:
			counting = append(counting, c)
			continue
		}
		notes = append(notes, note)
	}
	return counting, notes, unverifiable, nil
}

// hours writes an age as checklists do: 8760h.
func hours(d evidence.Duration) string {
	if n := time.Duration(d); n%time.Hour == 0 {
		return fmt.Sprintf("%dh", n/time.Hour)
	}
	return time.Duration(d).String()
}

// reviewed answers whether a role has reviewed what has the digest.
func (r *ready) reviewed(it *readiness.Item, name string, of evidence.Digest, kind review.Kind) (readiness.Part, error) {
	role := it.Reviews.Role
	p := readiness.Part{What: name, Outcome: readiness.Missing}
	counting, notes, unverifiable, err := r.statements(role, of, it.MaxAge, func(x *review.Review) bool { return x.Kind == kind && len(x.Completed) == 0 })
	if err != nil {
		return p, err
	}
	p.Notes = notes
	switch {
	case len(counting) > 0:
		c := counting[0]
		p.Outcome = readiness.Done
		p.Reason = fmt.Sprintf("reviewed by %s (%s, %s) on %s: %s", role, c.By, review.SignerText(c.Review.Signer), c.Review.ReviewedAt.Format(time.DateOnly), c.Review.Reason)
	case unverifiable:
		p.Outcome, p.Reason = readiness.Unverifiable, "a review of it cannot be verified: restore it from a copy, or delete it if you know what it was"
	default:
		p.Reason = fmt.Sprintf("not reviewed by %s as it is (sha256:%s)", role, of.Short())
		if len(notes) > 0 {
			p.Reason = fmt.Sprintf("no review by %s counts", role)
		} else if kind == review.File {
			earlier, err := r.earlier(role, name, of)
			if err != nil {
				return p, err
			}
			if earlier != "" {
				p.Notes = append(p.Notes, earlier)
			}
		}
	}
	return p, nil
}

// earlier says that a document of that name was reviewed by the role, and changed since.
func (r *ready) earlier(role, name string, now evidence.Digest) (string, error) {
	all, err := Reviews(r.ctx, r.repo, r.req.Reviews, "")
	if err != nil {
		if broken(err) {
			return "whether an earlier state of it was reviewed cannot be told: " + err.Error(), nil
		}
		return "", err
	}
	for _, c := range all {
		if c.Review != nil && c.Status == review.Counts && c.Review.Role == role && c.Review.Kind == review.File && len(c.Review.Completed) == 0 && (c.Subject.Name == name || c.Subject.Name == r.place(name)) && c.Subject.Digest != now {
			return fmt.Sprintf("it changed since it was reviewed on %s, when it was sha256:%s", c.Review.ReviewedAt.Format(time.DateOnly), c.Subject.Digest.Short()), nil
		}
	}
	return "", nil
}

// training answers whether enough people have completed one.
func (r *ready) training(it *readiness.Item) (readiness.Part, error) {
	t := it.Training
	p, err := r.document(t.File, func(d evidence.Digest) (readiness.Part, error) {
		p := readiness.Part{What: t.File, Outcome: readiness.Missing}
		counting, notes, unverifiable, err := r.statements(t.Role, d, it.MaxAge, func(x *review.Review) bool { return x.Kind == review.File && len(x.Completed) > 0 })
		if err != nil {
			return p, err
		}
		var people []string
		for _, c := range counting {
			people = union(people, c.Review.Completed)
		}
		slices.Sort(people)
		p.Notes = notes
		p.Reason = fmt.Sprintf("recorded by %s for %d of %d people (sha256:%s)", t.Role, len(people), t.People, d.Short())
		if len(people) > 0 {
			p.Reason += ": " + strings.Join(people[:min(len(people), maxNames)], ", ")
		}
		switch {
		case len(people) >= t.People:
			p.Outcome = readiness.Done
		case unverifiable:
			p.Outcome = readiness.Unverifiable
		}
		return p, nil
	})
	if err == nil && p.Outcome != readiness.Done {
		p.Get = fmt.Sprintf("helmproof attest %s --role %s --completed PERSON --key KEY", readiness.Quote(r.place(t.File)), t.Role)
	}
	return p, err
}
