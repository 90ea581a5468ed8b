package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/strictyaml"
)

// chartWaivers is the file of a chart that has waivers of its author's.
const chartWaivers = ".helmproof/waivers.yaml"

// exception is the value of the annotation by which an object asks for one.
type exception struct {
	Rule       string    `json:"rule,omitempty"`
	Container  string    `json:"container,omitempty"`
	Reason     string    `json:"reason"`
	ApprovedBy string    `json:"approvedBy"`
	ExpiresAt  time.Time `json:"expiresAt"`
}

// withExceptions returns the pipeline with the waivers that the chart's author wrote
// among its own: in a file of the chart, and in annotations of objects. They say where
// they come from, and count only where the profile accepts that; they are shown anyhow.
// One that cannot be read is an InputError where it would count.
func (p *Pipeline) withExceptions(rel *chart.Release) (*Pipeline, error) {
	var bounds evidence.WaiverBounds
	if b := p.Rules.Profile.Waivers; b != nil {
		bounds = *b
	}
	var more []evidence.Waiver
	for _, x := range []struct {
		read    func(*chart.Release) ([]evidence.Waiver, error)
		accepts bool
	}{{waiversOfChart, bounds.Chart}, {waiversOfObjects, bounds.Annotations}} {
		list, err := x.read(rel)
		if err == nil {
			err = p.inCatalog(list)
		}
		switch {
		case err != nil && x.accepts:
			return nil, &InputError{err}
		case err != nil:
			if p.Log != nil {
				p.Log.Warn(fmt.Sprintf("%s: %v; the profile does not accept it anyhow", rel.Info.Chart, err))
			}
		default:
			more = append(more, list...)
		}
	}
	if len(more) == 0 {
		return p, nil
	}
	out := *p
	out.Rules.Waivers = append(slices.Clone(p.Rules.Waivers), more...)
	raw, err := yaml.Marshal(map[string]any{"waivers": out.Rules.Waivers})
	if err != nil {
		return nil, fmt.Errorf("waivers of %s: %w", rel.Info.Chart, err)
	}
	if len(raw) > gate.MaxPolicyBytes {
		return nil, inputErr("%s: the chart and the objects have too many waivers: %d bytes of them", rel.Info.Chart, len(raw))
	}
	out.Rules.WaiversRaw = raw
	return &out, nil
}

// inCatalog refuses waivers of controls that there are not.
func (p *Pipeline) inCatalog(list []evidence.Waiver) error {
	for _, w := range list {
		if _, ok := p.Rules.Catalog.Control(w.Control); !ok {
			return fmt.Errorf("waiver for %s: there is no such control", w.Control)
		}
	}
	return nil
}

// waiversOfChart reads the waivers that the chart brings.
func waiversOfChart(rel *chart.Release) ([]evidence.Waiver, error) {
	i := slices.IndexFunc(rel.Files, func(f chart.File) bool { return f.Name == chartWaivers })
	if i < 0 {
		return nil, nil
	}
	list, err := gate.ParseWaivers(rel.Files[i].Data)
	if err != nil {
		return nil, fmt.Errorf("%s of the chart: %w", chartWaivers, err)
	}
	for i := range list {
		if list[i].Source != "" {
			return nil, fmt.Errorf("%s of the chart: waivers[%d].source: leave it out", chartWaivers, i)
		}
		list[i].Source = evidence.WaiverOfChart
	}
	return list, nil
}

// waiversOfObjects reads the exceptions that objects ask for.
func waiversOfObjects(rel *chart.Release) ([]evidence.Waiver, error) {
	if !strings.Contains(string(rel.Manifests), manifest.ExceptionAnnotation) {
		return nil, nil
	}
	var out []evidence.Waiver
	var bad []error
	set, err := manifest.Parse(rel.Manifests)
	if err != nil {
		return nil, nil //nolint:nilerr // CHT-3 says so
	}
	// Findings are told by kind and name: where two objects share those, whatever their
	// API groups are, an exception of one would be the other's as well.
	named := map[[3]string]int{}
	for i := range set.Objects {
		o := &set.Objects[i]
		named[[3]string{o.GetKind(), o.GetNamespace(), o.GetName()}]++
	}
	for i := range set.Objects {
		o := &set.Objects[i]
		annotations := o.GetAnnotations()
		for _, key := range slices.Sorted(maps.Keys(annotations)) {
			control, ok := strings.CutPrefix(key, manifest.ExceptionAnnotation)
			if !ok {
				continue
			}
			w, err := exceptionOf(o, evidence.ControlID(control), annotations[key])
			if named[[3]string{o.GetKind(), o.GetNamespace(), o.GetName()}] > 1 {
				err = errors.New("another object has the same kind and name: an exception is of one object")
			}
			if err != nil {
				bad = append(bad, fmt.Errorf("%s: annotation %s: %w", o.Target("").Object(), key, err))
			}
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b evidence.Waiver) int {
		return strings.Compare(fmt.Sprint(a.Control, a.Target), fmt.Sprint(b.Control, b.Target))
	})
	return out, errors.Join(bad...)
}

// exceptionOf is the waiver that an annotation asks for: of its object alone.
func exceptionOf(o *manifest.Object, control evidence.ControlID, text string) (evidence.Waiver, error) {
	var x exception
	if err := strictyaml.Unmarshal([]byte(text), 1<<16, &x); err != nil {
		return evidence.Waiver{}, fmt.Errorf("want {reason: …, approvedBy: …, expiresAt: 2027-01-31}: %w", err)
	}
	w := evidence.Waiver{
		Control: control, Reason: x.Reason, ApprovedBy: x.ApprovedBy, ExpiresAt: x.ExpiresAt, Source: evidence.WaiverOfAnnotation,
		Target: evidence.Selector{Rule: x.Rule, Container: x.Container, Kind: o.GetKind(), Name: o.GetName(), Namespace: o.GetNamespace()},
	}
	if w.Target.Kind == "" || w.Target.Name == "" || strings.ContainsAny(w.Target.Kind+w.Target.Name+w.Target.Namespace+x.Rule+x.Container, `*?[\`) {
		return w, errors.New("an exception is of one object, rule and container: no wildcards, and no object without a name")
	}
	return w, gate.CheckWaiver(w)
}
