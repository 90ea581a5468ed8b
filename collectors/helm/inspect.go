package helm

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/worker"
)

// inspection is what a chart's validator and Helm's linter are given. A hostile
// chart can have them take all memory and time, so that a child process does it.
type inspection struct {
	Dir                    string
	Charts                 []string // folders below Dir
	KubeVersion, Namespace string
	UserValues, Values     worker.Value
	Schemas                []chart.File
}

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
	q := &inspection{
		Dir: dir, Charts: append([]string{"."}, subcharts(rel)...), KubeVersion: rel.Info.KubeVersion, Namespace: rel.Info.Namespace,
		UserValues: worker.Pack(rel.UserValues), Values: worker.Pack(rel.Values), Schemas: schemas(rel),
	}
	if c.o.Workers == nil {
		values, err = q.do(ctx, rep)
		return values, rep, err
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
	rep.Messages, rep.Log = found.Messages, found.Log
	return values, rep, nil
}

// do validates the values and lints, in this process.
func (q *inspection) do(ctx context.Context, rep *lintReport) (*valuesReport, error) {
	values := checkValues(q.Schemas, q.Values.Unpack())
	return &values, lintFolder(ctx, q, rep)
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
