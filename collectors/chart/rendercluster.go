package chart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
)

// What a chart is judged by is rendered for a cluster of the target version as it
// comes: its APIs alone, and a version without a provider's suffix. A chart that asks
// for either is rendered as a provider's cluster would have it, too, and compared.

// Modes of rendering, in Record.Modes, besides those of rendermodes.go.
const (
	modeProvider = "on a provider's cluster"
	modeFound    = "install, lookup finds objects"
	modeServed   = "where all APIs are served that it asks for"
)

// builtinGroups are the API groups of Kubernetes itself, "" among them.
var builtinGroups = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{"apiregistration.k8s.io": true, "extensions": true, "": true}
	for _, v := range common.DefaultVersionSet {
		out[groupOf(v)] = true
	}
	return out
})

// groupOf is the group of an API version, with or without a kind.
func groupOf(version string) string {
	group, _, ok := strings.Cut(version, "/")
	if !ok {
		return ""
	}
	if len(group) > 1 && group[0] == 'v' && group[1] >= '0' && group[1] <= '9' { // v1/Pod
		return ""
	}
	return group
}

// providerAPIs are groups that clusters have which nobody installed anything on.
var providerAPIs = []string{"metrics.k8s.io", "snapshot.storage.k8s.io", "gke.io", "cloud.google.com", "k8s.aws", "amazonaws.com", "azmk8s.io"}

// servedByProvider reports whether an API is one that a provider's cluster has.
func servedByProvider(version string) bool {
	group := groupOf(version)
	return slices.ContainsFunc(providerAPIs, func(p string) bool { return group == p || strings.HasSuffix(group, "."+p) })
}

// servedSomewhere reports whether an API is there where somebody installed it.
// OpenShift is another kind of cluster: who has one says so with --api-versions.
func servedSomewhere(version string) bool {
	group := groupOf(version)
	return !builtinGroups()[group] && group != "openshift.io" && !strings.HasSuffix(group, ".openshift.io")
}

// providerCapabilities are those of a cluster of the same minor version. Its version
// has what the providers write, all at once, or what one of them does, counted from 1,
// unless the user said whose cluster it is.
func (l *load) providerCapabilities(caps *common.Capabilities, one int) (*common.Capabilities, error) {
	v, err := semver.NewVersion(caps.KubeVersion.Version)
	if err != nil {
		return nil, fmt.Errorf("kube version: %w", err)
	}
	out := caps.Copy()
	setHelmVersion(out, true)
	if v.Prerelease() == "" && v.Metadata() == "" {
		version := providerVersion(v)
		if one > 0 {
			version = fmt.Sprintf("v%d.%d.%d%s", v.Major(), v.Minor(), otherPatch, fmt.Sprintf(suffixes[one-1], otherPatch))
		}
		kube, err := common.ParseKubeVersion(version)
		if err != nil {
			return nil, fmt.Errorf("kube version: %w", err)
		}
		out.KubeVersion = *kube
	}
	return out, nil
}

// providerVersion is the same minor version with what every provider writes after it.
func providerVersion(v *semver.Version) string {
	return fmt.Sprintf("v%d.%d.%[3]d-eks-%[3]d-gke.%[3]d-aliyun.%[3]d-tke.%[3]d+IKS.k3s%[3]d.rke2r%[3]d", v.Major(), v.Minor(), otherPatch)
}

// suffixes are what providers write after a version, each on its own.
var suffixes = []string{"-eks-%d", "-gke.%d", "-aliyun.%d", "-tke.%d", "+IKS-%d", "+k3s%d", "+rke2r%d"}

// comparison compares one rendering, of an install, with the others that there may be.
type comparison struct {
	l      *load
	t      *templates
	c      *chartv2.Chart
	rec    *Record
	scope  common.Values
	values any
	caps   *common.Capabilities
	base   map[string]string
	seen   *recorder
	done   []view          // the modes that were rendered
	told   map[string]bool // differences that were told: what one mode does is not for the next
}

// way is one of the ways in which a template can be told where it is rendered.
type way struct {
	provider bool // on a cluster of a provider's version
	serves   bool // that has the APIs that providers' clusters have
	one      int  // which provider's, counted from 1; 0: that of all at once
	upgrade  bool
}

// ways are all that the templates could tell from an install on a cluster as it comes,
// by what they were seen to ask for.
func (t *rendering) ways() []way {
	out := []way{{}}
	if t.asksCluster {
		out = append(out, way{provider: true, serves: true})
	}
	if t.asksVersion && t.asksAPI { // a cluster of one's own can have metrics, and a provider's none
		out = append(out, way{serves: true}, way{provider: true})
	}
	if t.asksSuffix { // one provider's, and not another's
		for i := range suffixes {
			out = append(out, way{provider: true, serves: true, one: i + 1})
		}
	}
	if t.asksRelease {
		for _, w := range slices.Clone(out) {
			w.upgrade = true
			out = append(out, w)
		}
	}
	return out
}

// serveIn has the APIs there that a cluster has in that way.
func (t *rendering) serveIn(w way) {
	t.serves = nil
	if w.serves {
		t.serves = servedByProvider
	}
}

// run renders the other modes, each only where a template could tell it from an install
// on a cluster as it comes: what asks for the cluster alone is the same as an upgrade.
func (m *comparison) run(ctx context.Context) error {
	t := m.t
	if err := m.each(ctx, map[way]bool{{}: true}, func(w way) string {
		t.serveIn(w)
		if w.upgrade {
			return modeUpgrade
		}
		return modeProvider
	}, nil); err != nil {
		return err
	}
	if !slices.Contains(m.rec.Modes, modeUpgrade) {
		m.rec.Modes = append(m.rec.Modes, modeUpgrade) // the same
	}
	if len(m.seen.lookups) > 0 {
		t.present = true
		err := m.each(ctx, map[way]bool{}, func(w way) string {
			t.serveIn(w)
			if w.upgrade || !t.asksRelease { // who does not ask is told the same
				return modePresent
			}
			return modeFound
		}, nil)
		t.present = false
		if err != nil {
			return err
		}
	}
	return m.further(ctx)
}

// each renders in all ways that are not done: those that templates ask for on their
// way, too. prepare makes a cluster, and says what that is called.
func (m *comparison) each(ctx context.Context, done map[way]bool, prepare func(way) string, ignore func(any) bool) error {
	t := m.t
	for again := true; again; {
		again = false
		if !t.tracing && (t.asksPatch || t.asksRelease && t.asksNumber) { // a mark can be seen, perhaps since the last rendering
			t.startTrace()
			first := done[way{}]
			clear(done)
			done[way{}] = first
		}
		for _, w := range t.ways() {
			if done[w] {
				continue
			}
			done[w], again = true, true
			caps := m.caps
			if w.provider {
				var err error
				if caps, err = m.l.providerCapabilities(m.caps, w.one); err != nil {
					return err
				}
			}
			render := m.onCluster(ctx, caps)
			if w.upgrade {
				render = func(values any, rec *recorder) (map[string]string, error) {
					return t.again(ctx, m.c, m.scope, values, caps, rec)
				}
			}
			if err := m.with(ctx, prepare(w), render, ignore); err != nil {
				return err
			}
			break // it may have asked for more
		}
	}
	return nil
}

// further renders what depends on optional APIs and objects. What is asked only there
// was not rendered in all ways.
func (m *comparison) further(ctx context.Context) error {
	t := m.t
	cluster, release := t.asksCluster, t.asksRelease
	if err := m.served(ctx); err != nil {
		return err
	}
	if err := m.some(ctx); err != nil {
		return err
	}
	if !cluster && t.asksCluster || !release && t.asksRelease {
		t.depend("where optional APIs or objects are there it asks for the cluster's version, its APIs or the revision: not all of them were rendered")
	}
	return nil
}

// served compares with a cluster that has every API that was asked for. What is made
// only where its kind is known is of no use to anybody elsewhere, and no difference.
func (m *comparison) served(ctx context.Context) error {
	more := false
	for version := range m.t.asked {
		more = more || servedSomewhere(version) && !servedByProvider(version) && !m.caps.APIVersions.Has(version)
	}
	if !more {
		return nil
	}
	all := func(version string) bool { return servedByProvider(version) || servedSomewhere(version) }
	return m.each(ctx, map[way]bool{}, func(w way) string {
		m.t.serves = all
		if m.t.asksVersion && m.t.asksAPI && !w.serves {
			m.t.serves = servedSomewhereElse
		}
		return modeServed
	}, ofUnknownKind)
}

// servedSomewhereElse reports whether an API is one that no provider installs.
func servedSomewhereElse(version string) bool {
	return servedSomewhere(version) && !servedByProvider(version)
}

// ofUnknownKind reports whether an object is of a kind that somebody has to install.
func ofUnknownKind(object any) bool {
	o, _ := object.(map[string]any)
	version, _ := o["apiVersion"].(string)
	return !builtinGroups()[groupOf(version)]
}

// onCluster renders an install with these capabilities.
func (m *comparison) onCluster(ctx context.Context, caps *common.Capabilities) func(any, *recorder) (map[string]string, error) {
	return func(values any, rec *recorder) (map[string]string, error) {
		given, ok := values.(map[string]any)
		if !ok {
			return nil, errors.New("no values to render with")
		}
		sources, err := inScope(ctx, m.c, m.t.sources, common.Values{"Chart": m.scope["Chart"], "Release": m.scope["Release"], "Capabilities": caps, "Values": common.Values(given)})
		if err != nil {
			return nil, err
		}
		return m.t.render(sources, rec)
	}
}

// with renders by render, and notes where other objects come out than of an install.
func (m *comparison) with(ctx context.Context, mode string, render func(values any, rec *recorder) (map[string]string, error), ignore func(object any) bool) error {
	other := new(recorder)
	serves, present, chosen := m.t.serves, m.t.present, m.t.chosen
	m.done = append(m.done, view{render, func() { m.t.serves, m.t.present, m.t.chosen = serves, present, chosen }})
	got, err := render(copyValue(m.values), other)
	if m.t.kept != nil && m.t.changed { // what is kept of others may not have seen that
		m.t.kept, other = nil, new(recorder)
		got, err = render(copyValue(m.values), other)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	m.seen.add(other)
	if !slices.Contains(m.rec.Modes, mode) {
		m.rec.Modes = append(m.rec.Modes, mode)
	}
	if err != nil {
		// What refuses the objects that lookup found here may take others.
		if !refusedByChart(err) || mode != modeProvider && mode != modeServed && mode != modeSome && len(m.seen.lookups) > 0 {
			short, _ := renderProblem(err, m.c.Name())
			m.t.depend(mode + ": it does not render: " + oneLine(short.Error()) + standIns(mode, len(m.seen.lookups) > 0))
		}
		return nil
	}
	for _, d := range differences(m.base, got, ignore) {
		if !m.told[d] {
			m.t.depend(mode + ": it renders " + d + standIns(mode, len(m.seen.lookups) > 0))
		}
		m.told[d] = true
	}
	return nil
}

// standIns says what lookup gave.
func standIns(mode string, lookups bool) string {
	if mode == modePresent || mode == modeFound || mode == modeSome && lookups {
		return " (lookup gave stand-ins without content for the objects of a cluster)"
	}
	return ""
}
