package helm

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/worker"
)

// inspection is what a chart's validator and Helm's linter are given. A hostile
// chart can have them take all memory and time, so that a child process does it.
type inspection struct {
	Dir                    string // holds the chart
	Work                   string // is for copies of its subcharts
	Keys                   bool   // calls of keyFunctions are to be replaced
	Rendered               bool   // the chart renders as a whole
	Alone                  bool   // it has no subcharts and asks for none
	CRDs                   bool   // Helm's linter may have something to say of crds/
	Schema                 []byte // its values schema; nil: none
	KubeVersion, Namespace string
	APIVersions            []string // besides those of KubeVersion
	UserValues, Values     worker.Value
}

// maxInMemory bounds the charts whose subcharts are copied into memory, in bytes.
const maxInMemory = 8 << 20

// opInspect is the operation of the child, in Handlers.
const opInspect = "lint"

// inspected is the answer of the child: reports as JSON, or why there are none.
type inspected struct {
	Values, Lint []byte
	Error        string
}

func (c collector) inspect(ctx context.Context, rel *chart.Release) (values *valuesReport, rep *lintReport, err error) {
	rep = &lintReport{Messages: []lintMessage{}, Log: []string{}}
	dir, done, err := prepareLint(rel, rep)
	if err != nil {
		return nil, nil, fmt.Errorf("lint: %w", err)
	}
	defer func() { err = errors.Join(err, done()) }()
	if dir != rel.Dir {
		c.o.Workers.Removes(dir)
	}
	q := &inspection{
		Dir: dir, Keys: len(rep.Replaced) > 0, Rendered: rel.Record.NotRendered == "", KubeVersion: rel.Info.KubeVersion, Namespace: rel.Info.Namespace,
		APIVersions: rel.Record.APIVersions, UserValues: worker.Pack(rel.UserValues), Values: worker.Pack(rel.Values),
	}
	if q.CRDs, err = doubtfulCRDs(rel); err != nil {
		return nil, nil, fmt.Errorf("lint: %w", err)
	}
	size, subcharts := 0, false
	q.Alone = true
	for _, f := range rel.Files {
		size += len(f.Data)
		subcharts = subcharts || strings.HasPrefix(f.Name, "charts/")
		q.Alone = q.Alone && !concernsOthers(f.Name, f.Data)
		if f.Name == schemaFile {
			q.Schema = bytes.TrimPrefix(f.Data, []byte("\ufeff")) // as Helm reads a folder
		}
	}
	if subcharts {
		parent := inMemory()
		if size > maxInMemory {
			parent = ""
		}
		if q.Work, err = os.MkdirTemp(parent, "helmproof-lint-"); err != nil {
			return nil, nil, fmt.Errorf("lint: %w", err)
		}
		c.o.Workers.Removes(q.Work)
		defer func() { err = errors.Join(err, os.RemoveAll(q.Work)) }()
	}
	if w := c.o.Workers; w == nil || w.Here() && rel.LintsWithin && !rendersMore(rel) {
		type reports struct {
			values *valuesReport
			lint   lintReport
		}
		r, err := worker.Do(ctx, w, func() (*reports, error) {
			r := &reports{lint: *rep}
			var err error
			r.values, err = q.do(ctx, &r.lint)
			return r, err
		})
		if err != nil {
			return nil, nil, err
		}
		return r.values, &r.lint, nil
	}
	var a inspected
	err = c.o.Workers.Call(ctx, opInspect, func(enc *gob.Encoder) error { return enc.Encode(q) }, func(dec *gob.Decoder) error { return dec.Decode(&a) })
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("lint: %w", err)
	}
	found := &lintReport{}
	if err := errors.Join(json.Unmarshal(a.Values, &values), json.Unmarshal(a.Lint, found)); err != nil {
		return nil, nil, fmt.Errorf("lint: %w", err)
	}
	rep.Messages, rep.Log, rep.NotLinted = found.Messages, found.Log, found.NotLinted
	return values, rep, nil
}

// doubtfulCRDs reports whether there may be anything but definitions in the crds folders
// of a chart. Mostly its objects, which have been read, show that there is not: Helm's
// linter would read them once more.
func doubtfulCRDs(rel *chart.Release) (bool, error) {
	set, err := rel.Objects()
	if err != nil {
		return false, err
	}
	definitions, others := map[string]int{}, map[string]bool{}
	for _, b := range set.Broken {
		others[b.File] = true
	}
	for i := range set.Objects {
		o := &set.Objects[i]
		definitions[o.File]++
		others[o.File] = others[o.File] || o.Listed || o.GetKind() != "CustomResourceDefinition" || !strings.HasPrefix(o.GetAPIVersion(), "apiextensions.k8s.io")
	}
	for _, f := range rel.Files {
		switch {
		case strings.HasPrefix(f.Name, "charts/") && (strings.HasSuffix(f.Name, ".tgz") || strings.HasSuffix(f.Name, ".tar.gz")), f.Name == "crds":
			return true, nil
		case !strings.HasPrefix("/"+f.Name, "/crds/") && !strings.Contains(f.Name, "/crds/"):
			continue
		case others[f.Name], bytes.HasPrefix(bytes.TrimSpace(f.Data), []byte("{")), bytes.HasPrefix(f.Data, []byte("\ufeff")):
			return true, nil
		}
		documents := 0
		for d := range manifest.Stream(f.Data) {
			if !d.Nothing() {
				documents++
			}
		}
		if documents == 0 || documents != definitions[f.Name] {
			return true, nil
		}
	}
	return false, nil
}

// do validates the values and lints, in this process.
func (q *inspection) do(ctx context.Context, rep *lintReport) (*valuesReport, error) {
	all := []part{{chart: &chartv2.Chart{Schema: q.Schema}, values: q.Values.Unpack(), alone: q.Alone}}
	if !q.Alone {
		var err error
		if all, err = parts(q.Dir, q.UserValues.Unpack(), q.Values.Unpack()); err != nil {
			return nil, fmt.Errorf("lint: %w", err)
		}
	}
	values := checkValues(all)
	rep.Messages = append(rep.Messages, schemaErrors(values, all)...)
	return values, lintFolder(ctx, q, all, rep)
}

// Handlers are what a child process of this program does for this package.
func Handlers() map[string]worker.Handler {
	return map[string]worker.Handler{opInspect: func(dec *gob.Decoder) (func(*gob.Encoder) error, error) {
		q := new(inspection)
		if err := dec.Decode(q); err != nil {
			return nil, err
		}
		rep := &lintReport{Messages: []lintMessage{}, Log: []string{}}
		a := new(inspected)
		values, err := q.do(context.Background(), rep)
		if err != nil {
			a.Error = err.Error()
		} else {
			var bad [2]error
			a.Values, bad[0] = json.Marshal(values)
			a.Lint, bad[1] = json.Marshal(rep)
			if err := errors.Join(bad[:]...); err != nil {
				return nil, err
			}
		}
		return func(enc *gob.Encoder) error { return enc.Encode(a) }, nil
	}}
}

// rendersMore reports whether linting subcharts, each by itself, renders what nobody
// has rendered yet. Of a library without charts of its own nothing is rendered.
func rendersMore(rel *chart.Release) bool {
	for _, f := range rel.Files {
		name, ok := strings.CutPrefix(f.Name, "charts/")
		if !ok {
			continue
		}
		_, inside, folder := strings.Cut(name, "/")
		if !folder || strings.HasPrefix(inside, "charts/") {
			return true // packed, or of the next level
		}
		if inside != "Chart.yaml" {
			continue
		}
		var metadata chartv2.Metadata
		if err := yaml.Unmarshal(f.Data, &metadata); err != nil || metadata.Type != "library" {
			return true
		}
	}
	return false
}
