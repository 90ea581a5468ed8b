package chart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"

	"github.com/companyos/helmproof/internal/manifest"
)

// A chart must not tell this program from Helm, nor show it another face than the
// one that is installed. Templates see what those of a released helm see; and they
// are rendered as an install and as an upgrade, on a cluster where lookup finds
// nothing and on one where it finds everything. What is judged is the install.
// Where the others give other objects, that is recorded: nobody looked at those.

// Modes of rendering, in Record.Modes.
const (
	modeInstall = "install"
	modeUpgrade = "upgrade"
	modePresent = "upgrade, lookup finds objects"
)

// otherRevision is the revision of an upgrade: a number that stands for itself
// wherever it is printed, and that no chart can write but by .Release.Revision.
var otherRevision = 1_000_000_000 + rand.N(1_000_000_000) //nolint:gosec // no secret: a chart that guesses it is compared with other renderings all the same

// setHelmVersion gives templates the build of a helm that `go install` made of the
// release whose library this is: neither the library nor its module says which commit
// a released binary names. What reads more of it than a range of versions is not
// checked. other is a released binary of another version; of its commit only the form
// is known.
func setHelmVersion(caps *common.Capabilities, other bool) {
	v := &caps.HelmVersion
	v.Version, v.GitCommit, v.GitTreeState = "v4.3", "", ""
	v.GoVersion, v.KubeClientVersion = "go1.27.0", "v1.37"
	if other {
		v.Version, v.GitCommit, v.GitTreeState = "v4.2.4", strings.Repeat("0", 40), "clean"
		v.GoVersion, v.KubeClientVersion = "go1.26.5", "v1.36"
	}
}

// rendered is what became of rendering.
type rendered struct {
	files, texts map[string]string // what the templates render, and are
	record       Record            // what was seen of it
	lintsWithin  bool              // as in Release
	calls        []string          // likewise
	track        *tracker          // likewise: what wrote the lines of files
	err          error
}

// renderModes renders the chart as an install, into r, and compares with the other
// modes.
func (l *load) renderModes(ctx context.Context, r *rendered, c *chartv2.Chart, scope common.Values, lint lintInput) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a template function panicked: %v", p)
		}
	}()
	values, ok := scope["Values"]
	caps, isCaps := scope["Capabilities"].(*common.Capabilities)
	if !ok || !isCaps {
		return errors.New("no values to render with")
	}
	values = copyValue(values) // templates change the values that they get
	sources, err := chartSources(ctx, c, scope)
	if err != nil {
		return err
	}
	t, err := parseSources(ctx, sources)
	if err != nil {
		return err
	}
	t.own = broughtAlong(c)
	for _, s := range sources {
		r.texts[s.name] = s.text
	}
	seen := new(recorder)
	first := t.keep(sources)
	r.track = markTemplates(t.set, sources)
	t.keeping, t.track = first, r.track
	r.files, err = t.render(sources, seen)
	t.keeping, t.asking, t.track = nil, nil, nil
	r.track.unmark()
	if err != nil {
		return err
	}
	if t.changed {
		first = nil
	}
	draws := len(seen.generated)+len(seen.ordered) > 0
	if err := t.tryOrder(ctx, c, scope, values, r.files, seen); err != nil {
		return err
	}
	m := &comparison{l: l, t: t, c: c, rec: &r.record, scope: scope, values: values, caps: caps, base: r.files, seen: seen, told: map[string]bool{}}
	if !l.stored {
		r.record.Modes = []string{modeInstall}
		t.kept = first
		err := m.run(ctx)
		t.kept = nil
		if err != nil {
			return err
		}
	}
	if !l.stored && len(seen.lookups) > 0 {
		for _, file := range slices.Sorted(maps.Keys(t.reads)) { // the first ones, where they are too many
			t.depend(file + " reads what lookup found: only nothing, and objects without content, were tried")
		}
	}
	for g := range seen.generated {
		r.calls = append(r.calls, g.Function)
	}
	slices.Sort(r.calls)
	r.calls = slices.Compact(r.calls)
	if err := t.dependsOn(ctx, m.views(ctx), values, r.files, seen); err != nil {
		return err
	}
	r.record.Generated, r.record.Lookups = seen.generatedValues(), seen.lookupCalls()
	r.record.Network = seen.networkCalls()
	r.record.Depends = slices.Sorted(maps.Keys(t.depends))
	if !l.stored && !draws && l.o.Workers != nil { // the linter may do so in this process
		r.lintsWithin = t.lintsWithin(ctx, c, lint, caps)
	}
	return nil
}

// again renders the parsed templates as an upgrade, by another release of Helm on
// another patch of Kubernetes.
func (t *templates) again(ctx context.Context, c *chartv2.Chart, scope common.Values, values any, caps *common.Capabilities, rec *recorder) (map[string]string, error) {
	release := map[string]any{}
	if r, ok := scope["Release"].(map[string]any); ok {
		maps.Copy(release, r)
	}
	release["IsInstall"], release["IsUpgrade"], release["Revision"] = false, true, otherRevision
	caps = caps.Copy()
	setHelmVersion(caps, true)
	if v, err := semver.NewVersion(caps.KubeVersion.Version); err == nil && v.Prerelease() == "" {
		caps.KubeVersion.Version = upgradeVersion(v)
	}
	top := common.Values{"Chart": scope["Chart"], "Release": release, "Capabilities": caps, "Values": common.Values(values.(map[string]any))}
	sources, err := inScope(ctx, c, t.sources, top)
	if err != nil {
		return nil, err
	}
	return t.render(sources, rec)
}

// upgradeVersion is the same minor version, as another cluster has it.
func upgradeVersion(v *semver.Version) string {
	return fmt.Sprintf("v%d.%d.%d+k3s1", v.Major(), v.Minor(), v.Patch()+9)
}

// refusedByChart reports whether the chart itself ended the rendering: then Helm
// installs nothing.
func refusedByChart(err error) bool {
	var ue *userError
	return errors.As(err, &ue)
}

// ofRevision matches numbers that come of otherRevision, such as the next one.
var ofRevision = regexp.MustCompile(`1[0-9]{9}`)

// depend notes what the rendering was seen to act on, in the same words each time.
func (r *rendering) depend(what string) {
	what = ofRevision.ReplaceAllString(strings.ReplaceAll(what, markPatch, "PATCH"), "REVISION")
	if r.depends != nil && len(r.depends) < maxDepends {
		r.depends[what] = struct{}{}
	}
}

// maxDepends bounds what is told of one chart.
const maxDepends = 50

// finds reports whether lookup is to find what a call of it asks for.
func (r *rendering) finds(call string) bool {
	if r.chosen == nil {
		return r.present
	}
	return r.chosen[call]
}

// lookup is Helm's: without a cluster it finds nothing. Where it is to find
// something, that has what every object has.
func (r *rendering) lookup(apiVersion, kind, namespace, name string) (map[string]any, error) {
	call := r.rec.lookup(apiVersion, kind, namespace, name)
	r.ask(func(f *keptFile) { f.lookups[call] = struct{}{} })
	if !r.finds(call) {
		return map[string]any{}, nil
	}
	object := func(name string) map[string]any {
		metadata := map[string]any{
			"name": name, "uid": "00000000-0000-4000-8000-000000000000", "resourceVersion": "1", "creationTimestamp": "2000-01-01T00:00:00Z",
			"labels": map[string]any{"app.kubernetes.io/managed-by": "Helm"}, "annotations": map[string]any{},
		}
		if namespace != "" {
			metadata["namespace"] = namespace
		}
		return map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata, "data": map[string]any{}, "spec": map[string]any{}, "status": map[string]any{}}
	}
	if name != "" {
		return object(name), nil
	}
	return map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "metadata": map[string]any{"resourceVersion": "1"}, "items": []any{object("found")}}, nil
}

// differences names the objects that the other rendering has more, fewer, or
// differently, and the first field in which they differ. ignore, if not nil, says
// which may be there besides. The number of the revision, where it is part of a text,
// is none, save where pods are selected by it.
func differences(base, other map[string]string, ignore func(object any) bool) []string {
	if maps.Equal(base, other) {
		return nil
	}
	before, after := changedObjects(base, other), changedObjects(other, base)
	var out []string
	for _, key := range slices.Sorted(maps.Keys(after)) {
		was, ok := before[key]
		switch {
		case !ok && ignore != nil && !slices.ContainsFunc(after[key], func(o any) bool { return !ignore(o) }):
		case !ok:
			out = append(out, key+", which an install does not")
		case !reflect.DeepEqual(was, after[key]):
			text := "another " + key + " than an install"
			if field := firstDifference(was, after[key]); field != "" {
				text += ", in " + field
			}
			out = append(out, text)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[key]; !ok {
			out = append(out, "no "+key+", which an install does")
		}
	}
	return out
}

// firstDifference is the path of the first field in which two lists of objects of one
// name differ; "" where one is there more often, or is no object.
func firstDifference(a, b []any) string {
	for i := range min(len(a), len(b)) {
		if !reflect.DeepEqual(a[i], b[i]) {
			return strings.TrimPrefix(differingField(a[i], b[i]), ".")
		}
	}
	return ""
}

func differingField(a, b any) string {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return ""
		}
		for _, k := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Keys(x)), slices.Collect(maps.Keys(y)))))) {
			in, has := x[k]
			other, hasToo := y[k]
			if has != hasToo || !reflect.DeepEqual(in, other) {
				name := "." + k
				if strings.ContainsAny(k, "./") {
					name = "[" + strconv.Quote(k) + "]"
				}
				return name + differingField(in, other)
			}
		}
	case []any:
		y, ok := b.([]any)
		if !ok {
			return ""
		}
		for i := range max(len(x), len(y)) {
			if i >= min(len(x), len(y)) {
				return fmt.Sprintf("[%d]", i)
			}
			if !reflect.DeepEqual(x[i], y[i]) {
				return fmt.Sprintf("[%d]", i) + differingField(x[i], y[i])
			}
		}
	}
	return ""
}

// changedObjects are the objects of the templates that differ, by kind, namespace
// and name. What is no object is named by its file.
func changedObjects(in, other map[string]string) map[string][]any {
	out := map[string][]any{}
	for _, name := range slices.Sorted(maps.Keys(in)) { // objects of one key are compared in the order of their files
		text := in[name]
		if other[name] == text {
			continue
		}
		revision := fmt.Sprint(otherRevision)
		for d := range helmDocuments(text) {
			if d.Nothing() {
				continue
			}
			key, content := "what is no object in "+name, any(strings.ReplaceAll(string(d.Text), revision, "1"))
			if v, err := manifest.Decode(d.Text); err == nil {
				if o, ok := v.(map[string]any); ok {
					content = comparable(o, revision, "")
					key = objectKey(content.(map[string]any))
				}
			}
			out[key] = append(out[key], content)
		}
	}
	return out
}

// objectKey names an object for people, one without a name by how its name starts.
func objectKey(o map[string]any) string {
	metadata, _ := o["metadata"].(map[string]any)
	text := func(v any) string {
		s, _ := v.(string)
		return s
	}
	return strings.TrimSpace(cmp.Or(text(o["kind"]), "an object without a kind,") + " " + strings.TrimPrefix(text(metadata["namespace"])+"/"+cmp.Or(text(metadata["name"]), text(metadata["generateName"])), "/"))
}

// comparable is what of an object, or of its field, two renderings are compared by.
// The revision is 1, but not in the labels of pods and what selects by them: pods
// of another revision may be selected by nothing. Annotations that are the digest of
// something else that is rendered, and so is compared itself, are left out.
func comparable(v any, revision, field string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		names := comparableKeys(v, revision)
		for k, e := range v {
			switch {
			case field == "annotations" && strings.HasPrefix(k, "checksum/"):
			case k == "matchLabels" || k == "matchExpressions" || k == "selector" || k == "labels" && field == "template metadata":
				out[k] = e
			case k == "metadata" && (field == "template" || v["kind"] == "Pod"):
				out[k] = comparable(e, revision, "template metadata")
			default:
				out[names[k]] = comparable(e, revision, k)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = comparable(e, revision, "")
		}
		return out
	case string:
		return strings.ReplaceAll(v, revision, "1")
	case int64:
		if fmt.Sprint(v) == revision {
			return int64(1)
		}
	}
	return v
}

// comparableKeys says what the keys of a mapping are compared as. Those that would
// become one stay what they are: no install has both.
func comparableKeys(v map[string]any, revision string) map[string]string {
	out, count := make(map[string]string, len(v)), make(map[string]int, len(v))
	for k := range v {
		out[k] = strings.ReplaceAll(k, revision, "1")
		count[out[k]]++
	}
	for k, name := range out {
		if count[name] > 1 {
			out[k] = k
		}
	}
	return out
}
