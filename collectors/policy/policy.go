// Package policy judges rendered objects by ValidatingAdmissionPolicies: the
// built-in ones of templates/policies and the user's own, with the API server's
// own CEL, matching and message rules, and without a server.
package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/templates/policies"
)

// Name is the collector's name in the catalog.
const Name = "policy"

type collector struct{}

// New checks policies, made by Bundle, and compiles the user's own among them.
// An error is one of the user's input: it names file, line, field and expression.
// The collector itself judges by the policies.yaml that is sealed.
func New(policies []byte) (collectors.Collector, error) {
	set, err := load(policies)
	if err != nil {
		return nil, err
	}
	own, err := Bundle("")
	if err != nil {
		return nil, err
	}
	// A test compiles the built-in policies; here they compile when first needed.
	ownLines := 0
	if strings.HasPrefix(string(policies), string(own)) {
		ownLines = strings.Count(string(own), "\n")
	}
	var errs []error
	for _, r := range set.policies {
		if r.source.From > ownLines {
			if _, err := r.compile(); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return collector{}, nil
}

// Prepare compiles the policies ahead of the first release: it takes longer than
// the evaluation of a small one, and may run beside the loading of it. What does
// not compile is reported by who needs it.
func Prepare(policies []byte) {
	set, err := load(policies)
	if err != nil {
		return
	}
	// Nearly every release has pods; the others compile when an object needs them.
	var g errgroup.Group
	g.SetLimit(2)
	for _, r := range set.policies {
		if _, ok := r.versions[schema.GroupResource{Resource: "pods"}]; ok {
			g.Go(func() error {
				_, _ = r.compile()
				return nil
			})
		}
	}
	_ = g.Wait() // the functions return no error
}

// Expected returns the ValidatingAdmissionPolicies of a policies.yaml as the API
// server would store them, its defaults filled in.
func Expected(policies []byte) ([]*admissionv1.ValidatingAdmissionPolicy, error) {
	set, err := load(policies)
	if err != nil {
		return nil, err
	}
	out := make([]*admissionv1.ValidatingAdmissionPolicy, 0, len(set.policies))
	for _, r := range set.policies {
		out = append(out, r.policy.DeepCopy())
	}
	return out, nil
}

// Changed lists the built-in policies, by rule, that are absent from a sealed
// policies.yaml or differ in it from this version's: findings derived from it
// are not what this version would find. Sorted; empty when there are none.
func Changed(policies []byte) ([]string, error) {
	raw, err := Bundle("")
	if err != nil {
		return nil, err
	}
	want, err := load(raw)
	if err != nil {
		return nil, err
	}
	have, err := load(policies)
	if err != nil {
		return nil, err
	}
	byRule := map[string]*policyRule{}
	for _, r := range have.policies {
		byRule[r.rule] = r
	}
	var changed []string
	for _, r := range want.policies {
		h := byRule[r.rule]
		if h == nil || !reflect.DeepEqual(h.policy, r.policy) || !reflect.DeepEqual(h.bindings, r.bindings) {
			changed = append(changed, r.rule)
		}
	}
	slices.Sort(changed)
	return changed, nil
}

// Name implements collectors.Collector.
func (collector) Name() string { return Name }

// Rules implements collectors.Collector: a policy's rule is its name, without the
// prefix if it is helmproof's own.
func (collector) Rules() []string {
	files, err := fs.Glob(policies.FS, "*.yaml")
	if err != nil {
		panic("built-in policies: " + err.Error()) // the pattern is a constant
	}
	out := []string{rulePrefix + "*"}
	for _, name := range files {
		out = append(out, rulePrefix+strings.TrimSuffix(name, ".yaml"))
	}
	return out
}

// Collect has nothing to look at: all that the findings rest on, the rendered
// manifests and the policies, is sealed for all collectors.
func (collector) Collect(context.Context, collectors.Input, evidence.ArtifactWriter) error {
	return nil
}

// Findings implements collectors.Collector. For each policy there is a pass for
// every object that it applies to and accepts, a finding for every container
// or object that it refuses, or one not-applicable finding on the chart.
func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	raw, err := in.Read(collectors.PoliciesFile)
	if err != nil {
		return nil, err
	}
	set, err := load(raw)
	if err != nil {
		return nil, err
	}
	objects, err := in.Objects()
	if err != nil {
		return nil, err
	}
	release, err := in.Release()
	if err != nil {
		return nil, err
	}
	return set.findings(in, release, objects)
}

func (s *policySet) findings(in *collectors.Sealed, release *evidence.Release, objects *manifest.ObjectSet) ([]evidence.Finding, error) {
	workloads, err := in.Workloads()
	if err != nil {
		return nil, err
	}
	extra, err := in.ImageFields()
	if err != nil {
		return nil, err
	}
	w := newWorld(release.Namespace, objects.Objects)
	perObject := make([][]evidence.Finding, len(objects.Objects))
	applied := make([]atomic.Bool, len(s.policies)) // policies that said something
	one := func(i int) error {
		o := &objects.Objects[i]
		sub := w.subject(o)
		for n, r := range s.policies {
			results, err := s.evaluate(r, w, sub)
			if err != nil {
				return err
			}
			if len(results) > 0 {
				applied[n].Store(true)
				perObject[i] = append(perObject[i], r.report(in, o, append(results, r.beyond(w, o, results)...))...)
			}
		}
		found, err := s.custom(in, w, o, workloads[i], extra, applied)
		perObject[i] = append(perObject[i], found...)
		return err
	}
	if err := inParallel(len(objects.Objects), one); err != nil {
		return nil, err
	}
	out := slices.Concat(perObject...)
	unseen, err := unseen(in, objects)
	if err != nil {
		return nil, err
	}
	for n, r := range s.policies {
		if applied[n].Load() && unseen == "" {
			continue
		}
		f := evidence.Finding{
			Rule: r.rule, Severity: r.severity,
			Target:  evidence.Target{Kind: "Chart", Name: release.Chart},
			Outcome: evidence.OutcomeNotApplicable, Message: "no rendered object is of a kind that the policy is about",
			Evidence: []evidence.Pointer{in.Pointer(collectors.ManifestsFile, "", "")},
		}
		if unseen != "" {
			f.Outcome, f.Message, f.Controls = evidence.OutcomeNotChecked, unseen, r.alsoFor
		}
		out = append(out, f)
	}
	if !slices.ContainsFunc(s.policies, func(r *policyRule) bool { return !r.builtin }) {
		out = append(out, evidence.Finding{
			Rule: RuleOwn, Severity: evidence.SeverityHigh,
			Target:  evidence.Target{Kind: "Chart", Name: release.Chart},
			Outcome: evidence.OutcomeNotApplicable, Message: "no policies of your own were given",
			Evidence: []evidence.Pointer{in.Pointer(collectors.PoliciesFile, "", "")},
		})
	}
	return out, nil
}

// unseen says why there may be objects that no policy saw; "" when there are none.
func unseen(in *collectors.Sealed, objects *manifest.ObjectSet) (string, error) {
	if n := len(objects.Broken); n > 0 {
		if n == 1 {
			return "1 rendered document is no Kubernetes object: see CHT-3", nil
		}
		return fmt.Sprintf("%d rendered documents are no Kubernetes objects: see CHT-3", n), nil
	}
	if len(objects.Objects) > 0 {
		return "", nil
	}
	record, err := in.Chart()
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	if record.RenderError != "" {
		return "the chart did not render", nil
	}
	return "", nil
}

// report turns what the policy said about the object into findings.
func (r *policyRule) report(in *collectors.Sealed, o *manifest.Object, results []result) []evidence.Finding {
	return r.reportAs(in, o, o, results)
}

// reportAs is report for what was judged as another object, in whose containers' names it is told.
func (r *policyRule) reportAs(in *collectors.Sealed, o, judged *manifest.Object, results []result) []evidence.Finding {
	manifest, declared := in.Lines(o.From, o.To), ""
	if o == judged {
		declared = r.declared(o)
	}
	base := evidence.Finding{
		Rule: r.rule, Severity: r.severity, Target: o.Target(""),
		Evidence: []evidence.Pointer{manifest},
	}
	var out []evidence.Finding
	for _, res := range results {
		if res.outcome == evidence.OutcomePass {
			continue
		}
		f := base
		f.Outcome, f.Remediation, f.Controls = res.outcome, r.remediation, r.alsoFor
		f.Evidence = []evidence.Pointer{manifest, in.Pointer(collectors.PoliciesFile, "", collectors.LineRange(r.source.From, r.source.To))}
		if res.outcome != evidence.OutcomeFail && res.outcome != evidence.OutcomeWarn {
			f.Message, f.Remediation = res.message, ""
			out = append(out, f)
			continue
		}
		f.Declared = declared
		for _, c := range splitMessage(res.message, containerNames(judged)) {
			f.Target.Container, f.Message = c.container, c.text
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		base.Outcome, base.Message = evidence.OutcomePass, r.title
		return []evidence.Finding{base}
	}
	return out
}

// inParallel calls call for 0 … n-1, on all cores where there is enough to do, and
// returns the error of the lowest number.
func inParallel(n int, call func(int) error) error {
	f := func(i int) (err error) {
		defer func() { // the caller's recover does not see other goroutines
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		return call(i)
	}
	const chunk = 8
	workers := min(runtime.GOMAXPROCS(0), n/chunk)
	if workers < 2 {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, n)
	var next atomic.Int64
	var g errgroup.Group
	for range workers {
		g.Go(func() error {
			for {
				from := int(next.Add(chunk)) - chunk
				if from >= n {
					return nil
				}
				for i := from; i < min(from+chunk, n); i++ {
					errs[i] = f(i)
				}
			}
		})
	}
	_ = g.Wait() // the functions return no error
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// sets holds parsed policies by digest of policies.yaml, with what of them is
// compiled: many charts are judged by the same ones. Reading a repository of
// many different bundles must not fill the memory.
var sets = struct {
	sync.Mutex
	byDigest map[evidence.Digest]*policySet
}{byDigest: map[evidence.Digest]*policySet{}}

const maxSets = 16

func load(raw []byte) (*policySet, error) {
	d := evidence.DigestOf(raw)
	sets.Lock()
	defer sets.Unlock()
	if s := sets.byDigest[d]; s != nil {
		return s, nil
	}
	s, err := parseSet(raw)
	if err != nil {
		return nil, err
	}
	if len(sets.byDigest) >= maxSets {
		clear(sets.byDigest)
	}
	sets.byDigest[d] = s
	return s, nil
}
