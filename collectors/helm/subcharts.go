package helm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	lint "helm.sh/helm/v4/pkg/chart/v2/lint/rules"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/helmlog"
)

// part is a chart of the tree that Helm installs: the chart itself, or a subchart,
// unpacked or packed, that is switched on, once for each alias.
type part struct {
	path   string // "", charts/ALIAS, charts/ALIAS/charts/NAME
	chart  *chartv2.Chart
	values map[string]any // its share of the coalesced values, with what is global
	alone  bool           // it has no subcharts and asks for none, or just those that it has
}

// maxParts bounds the subcharts that are looked at: aliases multiply them.
const maxParts = 500

// parts loads the chart in dir and returns what of it is installed with the values
// that the user gave; all are the coalesced values.
func parts(dir string, user, all map[string]any) ([]part, error) {
	var c *chartv2.Chart
	var err error
	alone := false
	// What Helm logs here it logs again while it lints.
	lines, bad := helmlog.Capture(func() {
		if c, err = loader.LoadDir(dir); err == nil {
			alone = hasWhatItAsksFor(c)
			err = chartutil.ProcessDependencies(c, user)
		}
	})
	if bad != nil {
		return nil, bad
	}
	if err != nil {
		return nil, fmt.Errorf("load the chart: %w", err)
	}
	out := []part{{chart: c, values: all, alone: alone && len(lines) == 0}}
	for i := 0; i < len(out); i++ {
		p := out[i]
		subs := slices.Clone(p.chart.Dependencies())
		slices.SortStableFunc(subs, func(a, b *chartv2.Chart) int { return strings.Compare(a.Name(), b.Name()) })
		for _, d := range subs {
			share, _ := p.values[d.Name()].(map[string]any)
			alone := !slices.ContainsFunc(d.Raw, func(f *common.File) bool { return concernsOthers(f.Name, f.Data) })
			out = append(out, part{path.Join(p.path, "charts", d.Name()), d, share, alone})
		}
		if len(out) > maxParts {
			return nil, fmt.Errorf("more than %d subcharts", maxParts)
		}
	}
	slices.SortStableFunc(out, func(a, b part) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// lintMutex guards common.DefaultCapabilities, from which alone Helm's linter takes
// the API versions that templates can ask for.
var lintMutex sync.Mutex

// lintFolder runs the rules of Helm's own linter, as helm lint does, over a chart as it is, and over each of its
// subcharts that is installed, with the values that it gets then. Values have been
// held to their schemas already: Helm's linter would not know what is imported from subcharts.
func lintFolder(ctx context.Context, q *inspection, all []part, rep *lintReport) error {
	shareScheme()
	kube, err := common.ParseKubeVersion(q.KubeVersion)
	if err != nil {
		return fmt.Errorf("lint: kubernetes version %s: %w", q.KubeVersion, err)
	}
	run := func(root string, values map[string]any, alone bool) (result support.Linter, lines []string, err error) {
		lintMutex.Lock()
		defer lintMutex.Unlock()
		was := common.DefaultCapabilities.APIVersions
		defer func() { common.DefaultCapabilities.APIVersions = was }()
		common.DefaultCapabilities.APIVersions = append(slices.Clone(chart.APIVersions(*kube)), q.APIVersions...)
		lines, err = helmlog.Capture(func() {
			result = support.Linter{ChartDir: root}
			lint.Chartfile(&result)
			lint.ValuesWithOverrides(&result, values, true)
			lint.Templates(&result, q.Namespace, values, lint.TemplateLinterKubeVersion(kube), lint.TemplateLinterSkipSchemaValidation(true))
			if !alone { // loads the chart once more
				lint.Dependencies(&result)
			}
			if q.CRDs {
				lint.Crds(&result)
			}
		})
		return result, lines, err
	}
	for i, p := range all {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		root, values := q.Dir, q.UserValues.Unpack()
		if p.path != "" {
			root, values = filepath.Join(q.Work, strconv.Itoa(i)), p.values
			if err := p.write(root, q.Keys); err != nil {
				return fmt.Errorf("lint: copy %s: %w", p.path, err)
			}
		}
		result, lines, err := run(root, values, p.alone)
		if err == nil && p.path != "" && q.Rendered && unrendered(result) != "" {
			// The chart renders as a whole. Perhaps this one uses what another defines.
			if err := p.borrow(root, all); err != nil {
				return fmt.Errorf("lint: copy %s: %w", p.path, err)
			}
			if result, lines, err = run(root, values, p.alone); err == nil && unrendered(result) != "" {
				rep.NotLinted = append(rep.NotLinted, notLinted{p.path, clean(unrendered(result), root, q.Dir)})
				result.Messages = slices.DeleteFunc(result.Messages, isUnrendered)
			}
		}
		if err != nil {
			return fmt.Errorf("lint: %w", err)
		}
		for _, m := range result.Messages {
			rep.Messages = append(rep.Messages, lintMessage{severityName(m.Severity), path.Join(p.path, relative(m.Path, root)), clean(m.Err.Error(), root, q.Dir)})
		}
		for _, l := range lines {
			if l = clean(l, root, q.Dir); p.path == "" || !slices.Contains(rep.Log, l) {
				rep.Log = append(rep.Log, l)
			}
		}
		if p.path != "" { // one copy at a time: aliases multiply what is small
			if err := os.RemoveAll(root); err != nil {
				return fmt.Errorf("lint: %w", err)
			}
		}
	}
	return nil
}

// hasWhatItAsksFor reports whether the subcharts of a chart are those that its metadata
// names, each by a name of its own. Then Helm's rule about them has nothing to say, for
// which it would load them again.
func hasWhatItAsksFor(c *chartv2.Chart) bool {
	wanted, has, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, d := range c.Metadata.Dependencies {
		wanted[d.Name], names[cmp.Or(d.Alias, d.Name)] = true, true
	}
	for _, d := range c.Dependencies() {
		has[d.Metadata.Name] = true
	}
	return maps.Equal(wanted, has) && len(names) == len(c.Metadata.Dependencies)
}

// concernsOthers reports whether a file of a chart is one of a subchart, or may ask for some.
func concernsOthers(name string, data []byte) bool {
	return strings.HasPrefix(name, "charts/") || strings.HasPrefix(name, "requirements.") || name == "Chart.yaml" && bytes.Contains(data, []byte("dependencies"))
}

// isUnrendered reports whether a message says that templates were not rendered.
func isUnrendered(m support.Message) bool {
	return m.Severity == support.ErrorSev && strings.TrimSuffix(m.Path, "/") == "templates"
}

func unrendered(result support.Linter) string {
	if i := slices.IndexFunc(result.Messages, isUnrendered); i >= 0 {
		return result.Messages[i].Err.Error()
	}
	return ""
}

// write writes the subchart to the folder, its share of the values in the place of
// its defaults: those that are unset must not come back.
func (p *part) write(dir string, keys bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range p.chart.Raw {
		data := f.Data
		switch {
		case f.Name == "values.yaml":
			if data, err = yaml.Marshal(p.values); err != nil {
				return err
			}
		case keys && strings.Contains(f.Name, "templates/"):
			data = withoutKeys(data)
		}
		if err := put(root, f.Name, data); err != nil {
			return err
		}
	}
	return nil
}

// borrow adds what the other charts of the tree define for all of them.
func (p *part) borrow(dir string, all []part) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for i, other := range all {
		if other.path == p.path {
			continue
		}
		for k, t := range other.chart.Templates {
			if strings.HasPrefix(path.Base(t.Name), "_") {
				if err := put(root, fmt.Sprintf("templates/helmproof/others/_%d-%d.tpl", i, k), t.Data); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func put(root *os.Root, name string, data []byte) error {
	name = filepath.FromSlash(name)
	return errors.Join(root.MkdirAll(filepath.Dir(name), 0o700), root.WriteFile(name, data, 0o600))
}

// withoutKeys replaces calls of keyFunctions on their own lines: coalesce returns its
// first argument and ignores those of the call.
func withoutKeys(template []byte) []byte {
	if !certificate.Match(template) && !privateKey.Match(template) {
		return template
	}
	return action.ReplaceAllFunc(template, func(a []byte) []byte {
		a = certificate.ReplaceAll(a, []byte(`coalesce (dict "Cert" "certificate" "Key" "key")`))
		return privateKey.ReplaceAll(a, []byte(`coalesce "key"`))
	})
}

// schemaErrors are the values that do not hold a schema, as Helm's linter would say
// it. What refers to elsewhere is left to CHT-2.
func schemaErrors(values *valuesReport, all []part) []lintMessage {
	referring := map[string]bool{}
	for _, p := range all {
		referring[path.Join(p.path, schemaFile)] = len(chart.SchemaReferences(p.chart.Schema)) > 0
	}
	var out []lintMessage
	for _, s := range values.Schemas {
		for _, problem := range s.Problems {
			if !referring[s.File] {
				out = append(out, lintMessage{"ERROR", path.Join(path.Dir(s.File), "values.yaml"), problem})
			}
		}
	}
	return out
}
