package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/harden"
)

// maxTrials bounds how often a chart is rendered to find what its values fix.
const maxTrials = 40

// HardenedFix is what makes a finding that is left go away.
type HardenedFix struct {
	Rule    string          `json:"rule"`
	Target  evidence.Target `json:"target"`
	Message string          `json:"message"`        // the finding's
	Keys    []string        `json:"keys,omitempty"` // of the values, set together
	Flag    string          `json:"flag,omitempty"` // the option of harden
}

// ValuesRenderer renders the chart that is hardened once more, with further values as
// Helm's --set takes them. Whoever calls it closes the release.
type ValuesRenderer func(ctx context.Context, set []string) (*chart.Release, error)

// trial is a change of values that may fix findings of the rules.
type trial struct {
	keys, set []string // set is how Helm's --set takes keys and values
	values    []harden.Value
	rules     []string
}

func (t *trial) add(path []string, value string) {
	name := make([]string, len(path))
	for i, p := range path {
		name[i] = setEscaper.Replace(p)
	}
	t.keys = append(t.keys, strings.Join(name, "."))
	t.set = append(t.set, strings.Join(name, ".")+"="+value)
	t.values = append(t.values, harden.Value{Path: slices.Clone(path), Value: typed(value)})
}

// typed is the value as Helm's --set reads it.
func typed(s string) any {
	if inner, ok := strings.CutPrefix(s, "{"); ok {
		var list []any
		for item := range strings.SplitSeq(strings.TrimSuffix(inner, "}"), ",") {
			list = append(list, item)
		}
		return list
	}
	if b, err := strconv.ParseBool(s); err == nil && len(s) > 1 {
		return b
	}
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return s
}

// setEscaper keeps a key from being taken for several, or for a list.
var setEscaper = strings.NewReplacer(`\`, `\\`, ".", `\.`, ",", `\,`, "=", `\=`, "[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`)

// recipe says what is tried at a value: where its path, joined by dots, matches.
type recipe struct {
	at    *regexp.Regexp
	inner bool     // the path is of a mapping, or of what may become one; fields lie below it
	set   []string // field=value; the field is empty for the value itself
	rules []string
}

const anyDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// recipes, in the order in which they are tried.
var recipes = []recipe{
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*resources$`), true, []string{"limits.cpu=64", "limits.memory=64Gi"}, []string{"policy/resource-limits", "policy/limits-at-least-requests"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*resources$`), true, []string{"requests.cpu=10m", "requests.memory=16Mi"}, []string{"policy/resource-requests", "policy/limits-at-least-requests"}},
	{regexp.MustCompile(`(?i)(^|\.)(replicaCount|replicas|minReplicas)$`), false, []string{"=2"}, []string{"workload/replicas", "workload/pdb-allows-disruption", "workload/pdb-selects"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*(pdb|disruptionBudgets?)\.(enabled|create)$`), false, []string{"=true"}, []string{"workload/pdb-selects"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*networkPolic(y|ies)\.(enabled|create)$`), false, []string{"=true"}, []string{"workload/network-policy"}},
	{regexp.MustCompile(`(?i)(^|\.)automount(ServiceAccount(Token)?)?$`), false, []string{"=false"}, []string{"policy/service-account-token"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*readinessProbe\.enabled$`), false, []string{"=true"}, []string{"policy/readiness-probe", "policy/distinct-probes"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*livenessProbe\.enabled$`), false, []string{"=true"}, []string{"policy/liveness-probe", "policy/distinct-probes"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*startupProbe\.enabled$`), false, []string{"=true"}, []string{"policy/startup-probe"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*securityContext$`), true, []string{"runAsNonRoot=true"}, []string{"policy/run-as-non-root", "podsecurity/restricted"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*securityContext$`), true, []string{"runAsNonRoot=true", "runAsUser=10001", "fsGroup=10001"}, []string{"policy/run-as-non-root"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*securityContext$`), true, []string{"seccompProfile.type=RuntimeDefault"}, []string{"policy/seccomp", "podsecurity/restricted"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*securityContext$`), true, []string{"allowPrivilegeEscalation=false", "capabilities.drop={ALL}"}, []string{"policy/privilege-escalation", "podsecurity/restricted"}},
	{regexp.MustCompile(`(?i)(^|\.)[a-z]*securityContext$`), true, []string{"readOnlyRootFilesystem=true"}, []string{"policy/read-only-root"}},
	{regexp.MustCompile(`(?i)image(\.[a-z]+)*\.(digest|sha)$`), false, []string{"=" + anyDigest}, []string{"policy/image-digest"}},
	{regexp.MustCompile(`(?i)image(\.[a-z]+)*\.tag$`), false, []string{"=1@" + anyDigest}, []string{"policy/image-digest"}},
}

// trials are what may fix findings of the rules, in order: by recipe, and of each
// by path. What a list holds is not tried.
func trials(values map[string]any, rules []string) []trial {
	var out []trial
	for _, r := range recipes {
		if !slices.ContainsFunc(r.rules, func(s string) bool { return slices.Contains(rules, s) }) {
			continue
		}
		walkValues(values, nil, func(path []string, value any) {
			if !r.at.MatchString(strings.Join(path, ".")) {
				return
			}
			inside, mapping := value.(map[string]any)
			if list, ok := value.([]any); ok && len(list) > 0 || r.inner != mapping && value != nil {
				return
			}
			t := trial{rules: r.rules}
			if on, ok := inside["enabled"].(bool); ok && !on {
				t.add(append(slices.Clone(path), "enabled"), "true")
			}
			for _, s := range r.set {
				field, v, _ := strings.Cut(s, "=")
				full := slices.Clone(path)
				if field != "" {
					full = append(full, strings.Split(field, ".")...)
				}
				t.add(full, v)
			}
			out = append(out, t)
		})
	}
	return out
}

// walkValues visits every value that has a path of keys, mappings too, sorted.
func walkValues(m map[string]any, path []string, visit func([]string, any)) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		at := append(slices.Clone(path), k)
		visit(at, m[k])
		if inner, ok := m[k].(map[string]any); ok && len(at) < 12 {
			walkValues(inner, at, visit)
		}
	}
}

// findingKey is what a finding is about, whatever line it stands on.
type findingKey struct{ rule, object, container string }

func keyOf(f *evidence.Finding) findingKey {
	t := f.Target
	t.File, t.Line, t.Container = "", 0, ""
	return findingKey{f.Rule, t.Object(), f.Target.Container}
}

// judgement is what is open after a change, to compare with what was before.
type judgement struct {
	open    map[findingKey]int
	objects map[string]bool
	said    map[string]bool // of the open findings, with what they are about
}

func judgementOf(found []evidence.Finding) judgement {
	j := judgement{map[findingKey]int{}, map[string]bool{}, map[string]bool{}}
	for i := range found {
		k := keyOf(&found[i])
		j.objects[k.object] = true
		if needsSomebody(found[i].Outcome) {
			j.open[k]++
			j.said[fmt.Sprint(k, found[i].Message)] = true
		}
	}
	return j
}

// without reports that a finding went away while its object stayed: fewer are
// open than before, and none says the same.
func (j judgement) without(f *evidence.Finding, before judgement) bool {
	k := keyOf(f)
	return j.objects[k.object] && j.open[k] < before.open[k] && !j.said[fmt.Sprint(k, f.Message)]
}

// valueFixes looks for keys of the values with which findings that are left go
// away while their object stays: it renders with each changed by itself. whole
// reports that all candidates were tried. The error is that of ctx.
func (p *Pipeline) valueFixes(ctx context.Context, rel *chart.Release, left []evidence.Finding, o harden.Options, render ValuesRenderer) (fixes []HardenedFix, whole bool, err error) {
	before := judgementOf(left)
	var rules []string
	for k := range before.open {
		rules = append(rules, k.rule)
	}
	all := trials(rel.Values, rules)
	limited, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	done := make([]bool, len(left))
	for i, t := range all {
		if i == maxTrials || limited.Err() != nil {
			return fixes, false, context.Cause(ctx)
		}
		var wanted []int
		for j := range left {
			if !done[j] && slices.Contains(t.rules, left[j].Rule) {
				wanted = append(wanted, j)
			}
		}
		if len(wanted) == 0 {
			continue
		}
		after, err := p.tryValues(limited, rel, t.set, o, render)
		if err != nil || after == nil {
			if limited.Err() != nil {
				return fixes, false, context.Cause(ctx)
			}
			continue // the chart does not take this value: it fixes nothing
		}
		now := judgementOf(after.Findings)
		for _, j := range wanted {
			if f := &left[j]; now.without(f, before) {
				done[j] = true
				fixes = append(fixes, HardenedFix{Rule: f.Rule, Target: f.Target, Message: f.Message, Keys: t.keys})
			}
		}
	}
	return fixes, true, nil
}

// tryValues judges the hardened release with changed values; nil where they
// change nothing.
func (p *Pipeline) tryValues(ctx context.Context, rel *chart.Release, set []string, o harden.Options, render ValuesRenderer) (j *Judged, err error) {
	other, err := render(ctx, set)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, other.Close()) }()
	if other.Info.ManifestsDigest == rel.Info.ManifestsDigest {
		return nil, nil //nolint:nilnil // nothing to judge
	}
	res, err := harden.Harden(other.Manifests, o)
	if err != nil {
		return nil, fmt.Errorf("with %s: %w", strings.Join(set, ","), err)
	}
	return p.Release(ctx, hardenedRelease(other, res.Manifests))
}

// flagFixes are the findings for which an option of harden adds what is missing:
// those that are gone once all is asked for.
func (p *Pipeline) flagFixes(ctx context.Context, rel *chart.Release, left []evidence.Finding, kept []harden.Kept, o harden.Options) ([]HardenedFix, error) {
	var out []HardenedFix
	var of []*evidence.Finding
	for i := range left {
		f, flag := &left[i], ""
		k := keyOf(f)
		for _, kept := range kept {
			at := keyOf(&evidence.Finding{Target: kept.Target})
			if kept.Flag != "" && at.object == k.object && (at.container == "" || at.container == k.container) && kept.Rule.Settles(f.Rule, f.Message) {
				flag = kept.Flag // capabilities come last: their option adds more
			}
		}
		if flag != "" {
			out = append(out, HardenedFix{Rule: f.Rule, Target: f.Target, Message: f.Message, Flag: flag})
			of = append(of, f)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	o.Aggressive()
	res, err := harden.Harden(rel.Manifests, o)
	if err != nil {
		return nil, &InputError{err}
	}
	all, err := p.Release(ctx, hardenedRelease(rel, res.Manifests))
	if err != nil {
		return nil, err
	}
	before, now := judgementOf(left), judgementOf(all.Findings)
	var fixes []HardenedFix
	for i := range out {
		if now.without(of[i], before) {
			fixes = append(fixes, out[i])
		}
	}
	return fixes, nil
}
