// Package helm judges a chart as Helm and the API server's schema see it: lint
// with zero warnings, a values schema that holds, objects that are valid for
// the target Kubernetes version, no removed API, and a reproducible rendering.
package helm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/worker"
)

// Name is the collector's name in the catalog.
const Name = "helm"

// The rules.
const (
	RuleLint       = "helm/lint"
	RuleLintLog    = "helm/lint-log"
	RuleValues     = "helm/values-schema"
	RuleParse      = "helm/manifest-parse"
	RuleSchema     = "helm/kubernetes-schema"
	RuleCRD        = "helm/crd-schema"
	RuleRemoved    = "helm/api-removed"
	RuleDeprecated = "helm/api-deprecated"
	RuleGenerated  = "helm/generated-values"
	RuleNetwork    = "helm/render-network"
)

var rules = collectors.Rules{
	RuleLint: evidence.SeverityLow, RuleLintLog: evidence.SeverityLow,
	RuleValues: evidence.SeverityMedium,
	RuleParse:  evidence.SeverityHigh, RuleSchema: evidence.SeverityHigh, RuleCRD: evidence.SeverityLow,
	RuleRemoved: evidence.SeverityHigh, RuleDeprecated: evidence.SeverityMedium,
	RuleGenerated: evidence.SeverityMedium, RuleNetwork: evidence.SeverityHigh,
}

// Names of the collector's artifacts, under artifacts/helm/.
const (
	lintName    = "lint.json"
	valuesName  = "values-schema.json"
	schemasName = "schemas.json" // the definitions used of --schemas, in compact form
)

// Options of the collector.
type Options struct {
	// SchemasDir holds OpenAPI v2 documents of Kubernetes versions that are not
	// embedded: v1.30.json or 1.30.json.
	SchemasDir string
	// Workers are child processes that validate values and lint; nil: this process does.
	Workers *worker.Pool
}

type collector struct{ o Options }

// New returns the collector.
func New(o Options) collectors.Collector { return collector{o} }

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

// Collect lints the chart, validates its values, and seals the schemas that are
// not embedded.
func (c collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	rel := in.Release
	if c.o.SchemasDir != "" {
		if err := c.sealSchemas(rel, out); err != nil {
			return err
		}
	}
	if rel.Info.Source == chart.SourceManifests {
		return nil
	}
	if len(rel.Record.Missing) > 0 {
		return nil // a chart without its subcharts is not the chart: Findings says so
	}
	values, rep, err := c.inspect(ctx, rel)
	if err != nil {
		return err
	}
	if err := collectors.WriteJSON(out, valuesName, values); err != nil {
		return err
	}
	return collectors.WriteJSON(out, lintName, rep)
}

// minor is "1.37" of "v1.37.2".
func minor(kube string) string {
	parts := strings.SplitN(strings.TrimPrefix(kube, "v"), ".", 3)
	if len(parts) < 2 {
		return kube
	}
	return parts[0] + "." + strings.TrimRight(parts[1], "+")
}

// sealSchemas writes what of the user's schema file the release needs.
func (c collector) sealSchemas(rel *chart.Release, out evidence.ArtifactWriter) error {
	version := minor(rel.Info.KubeVersion)
	var raw []byte
	for _, name := range []string{"v" + version + ".json", version + ".json"} {
		f, err := os.Open(filepath.Join(c.o.SchemasDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("schemas of Kubernetes %s: %w", version, err)
		}
		raw, err = readAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("schemas of Kubernetes %s: %w", version, err)
		}
	}
	if raw == nil {
		if _, err := embedded.ReadFile("schemas/" + version + ".json.gz"); err == nil {
			return nil
		}
		return fmt.Errorf("no schemas for Kubernetes %s: put its OpenAPI document into %s as v%s.json", version, c.o.SchemasDir, version)
	}
	set, err := rel.Objects()
	if err != nil {
		return err
	}
	used := map[schema.GroupVersionKind]bool{}
	for i := range set.Objects {
		used[set.Objects[i].GroupVersionKind()] = true
	}
	doc, err := Compact(raw, func(gvk schema.GroupVersionKind) bool { return used[gvk] })
	if err != nil {
		return fmt.Errorf("schemas of Kubernetes %s: %w", version, err)
	}
	return collectors.WriteJSON(out, schemasName, doc)
}

func (c collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	f := &findings{Derivation: collectors.NewDerivation(in, Name, rules), rel: rel, set: set}
	if rel.Source == chart.SourceManifests {
		for _, rule := range []string{RuleLint, RuleLintLog, RuleValues, RuleGenerated, RuleNetwork} {
			f.chart(rule, evidence.OutcomeNotApplicable, "plain manifests, not a chart", "")
		}
	} else {
		rec, err := f.Chart()
		if err != nil {
			return nil, err
		}
		if len(rec.Missing) > 0 {
			for _, rule := range []string{RuleLint, RuleLintLog, RuleValues} {
				f.chart(rule, evidence.OutcomeNotChecked, "Helm stores no subcharts with a release, here "+strings.Join(rec.Missing, ", ")+": the chart is not whole",
					"Collect the chart itself, with its subcharts.", f.Pointer(collectors.ChartFile, "/missing", ""))
			}
		} else if err := errors.Join(f.lint(), f.values()); err != nil {
			return nil, err
		}
		f.rendering(rec)
	}
	f.parsed()
	if err := f.objects(); err != nil {
		return nil, err
	}
	return f.Out, nil
}

// findings collects what the sealed artifacts show.
type findings struct {
	*collectors.Derivation
	rel *evidence.Release
	set *manifest.ObjectSet

	allocated allocated
}

// chart appends a finding about the chart, or one of its files.
func (f *findings) chart(rule string, outcome evidence.Outcome, message, fix string, at ...evidence.Pointer) *evidence.Finding {
	return f.Add(rule, evidence.Target{Kind: "Chart", Name: f.rel.Chart}, outcome, message, fix, at...)
}

// object appends a finding about an object.
func (f *findings) object(rule string, o *manifest.Object, outcome evidence.Outcome, message, fix string) {
	f.Add(rule, o.Target(""), outcome, message, fix, f.Lines(o.From, o.To))
}

// rendering decides CHT-5 by what loading recorded.
func (f *findings) rendering(rec *chart.Record) {
	if rec.NotRendered != "" {
		for _, rule := range []string{RuleGenerated, RuleNetwork} {
			f.chart(rule, evidence.OutcomeNotChecked, "the release's chart could not be rendered again: "+rec.NotRendered, "Collect the chart itself.", f.Pointer(collectors.ChartFile, "/notRendered", ""))
		}
		return
	}
	for i, g := range rec.Generated {
		message, fix := "the template calls %s (%d times): every rendering differs, so that what was reviewed is not what is installed", "Take the value from a Secret that an ExternalSecret makes, or from the values."
		if slices.Contains(chart.OrderFunctions, g.Function) {
			message, fix = "the template calls %s (%d times), and what it renders has the random order of that list: every rendering can differ, and roll out pods for nothing", "Sort the list (| sortAlpha), or range over the map itself, which is in the order of its keys."
		}
		x := f.chart(RuleGenerated, evidence.OutcomeFail, fmt.Sprintf(message, g.Function, g.Count), fix, f.Pointer(collectors.ChartFile, fmt.Sprintf("/generated/%d", i), ""))
		x.Target.File = g.Template
	}
	for i, d := range rec.Depends {
		f.chart(RuleGenerated, evidence.OutcomeNotChecked, "only an install was judged, and something else can be installed: "+d,
			"Render the same for an install and an upgrade, whatever the cluster holds and serves; say with --kube-version and --api-versions what it is; or collect the installed release.", f.Pointer(collectors.ChartFile, fmt.Sprintf("/depends/%d", i), ""))
	}
	if len(rec.Generated)+len(rec.Depends) == 0 {
		f.chart(RuleGenerated, evidence.OutcomePass, "rendering makes nothing up", "", f.Pointer(collectors.ChartFile, "", ""))
	}
	for i, n := range rec.Network {
		f.chart(RuleNetwork, evidence.OutcomeFail, "rendering wants the network: "+n, "Ship what is referred to with the chart.", f.Pointer(collectors.ChartFile, fmt.Sprintf("/network/%d", i), ""))
	}
	if len(rec.Network) == 0 {
		f.chart(RuleNetwork, evidence.OutcomePass, "rendering uses no network", "", f.Pointer(collectors.ChartFile, "", ""))
	}
}

// parsed reports documents that are no objects, and objects that are there twice.
func (f *findings) parsed() {
	for _, b := range f.set.Broken {
		f.Add(RuleParse, evidence.Target{Kind: "Chart", Name: f.rel.Chart, File: b.File, Line: b.Line}, evidence.OutcomeFail,
			"not a Kubernetes object: "+b.Error, "Correct the template so that it renders valid YAML with apiVersion, kind and metadata.name.",
			f.Lines(b.From, b.To))
	}
	bad := len(f.set.Broken) > 0
	var keys []string // in the order of the objects
	same := map[string][]*manifest.Object{}
	for i := range f.set.Objects {
		o := &f.set.Objects[i]
		if o.GetName() == "" {
			continue
		}
		// Helm leaves out what is a hook of an event that it does not know; kubectl makes it.
		if f.rel.Source != chart.SourceManifests && o.NeverMade() != "" {
			continue
		}
		ns := o.GetNamespace()
		if ns == "" {
			ns = f.rel.Namespace
		}
		key := strings.Join([]string{o.GetAPIVersion(), o.GetKind(), ns, o.GetName()}, "\x00")
		if same[key] == nil {
			keys = append(keys, key)
		}
		same[key] = append(same[key], o)
	}
	for _, key := range keys {
		for _, c := range manifest.Clashes(same[key]) {
			bad = true
			f.object(RuleParse, c.Object, evidence.OutcomeFail, "rendered twice: also by "+c.With.File+c.Why, "Render each object once.")
		}
	}
	if !bad {
		f.chart(RuleParse, evidence.OutcomePass, fmt.Sprintf("%d objects, each of them readable and there once", len(f.set.Objects)), "", f.Pointer(collectors.ManifestsFile, "", ""))
	}
}
