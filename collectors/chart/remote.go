package chart

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/companyos/helmproof/internal/worker"
)

// Loading in a child process: the parent finds or fetches the chart, the child
// reads, validates and renders it, and the parent believes what comes back as it
// would its own rendering.

// Operations of the child, in Handlers.
const (
	opLoad   = "load"
	opStored = "load stored"
)

// loadRequest is what the child is asked.
type loadRequest struct {
	Ref, Path string
	Options   []byte // LoadOptions as JSON
	Raw       []byte // of opStored: what Helm stored,
	Stored    []byte // and where, a StoredRelease as JSON
}

// loadAnswer is what became of it, followed by Files messages of type File.
type loadAnswer struct {
	Loaded             bool
	Info, Record       []byte // as JSON
	Stored             []byte
	Values, UserValues worker.Value
	Manifests          []byte
	SourceMap          []byte
	Dir                string
	Calls              []string
	Files              int
	Err                *wireError
}

// wireError is a *LoadError.
type wireError struct {
	Ref, Stage, Text, Hint string
	Library                bool
	Missing                []string // of a *MissingError
}

// Handlers are what a child process of this program does for this package.
func Handlers() map[string]worker.Handler {
	serve := func(load func(q *loadRequest, o LoadOptions) (*Release, error)) worker.Handler {
		return func(dec *gob.Decoder) (func(*gob.Encoder) error, error) {
			q := new(loadRequest)
			if err := dec.Decode(q); err != nil {
				return nil, err
			}
			var o LoadOptions
			if err := json.Unmarshal(q.Options, &o); err != nil {
				return nil, err
			}
			rel, err := load(q, o)
			return func(enc *gob.Encoder) error { return sendRelease(enc, rel, err) }, nil
		}
	}
	return map[string]worker.Handler{
		opLoad: serve(func(q *loadRequest, o LoadOptions) (*Release, error) {
			l := &load{ref: q.Ref, o: o}
			return l.fromPath(context.Background(), q.Path)
		}),
		opStored: serve(func(q *loadRequest, o LoadOptions) (*Release, error) {
			var s StoredRelease
			if err := json.Unmarshal(q.Stored, &s); err != nil {
				return nil, err
			}
			l := &load{ref: q.Ref, o: o, stored: true}
			return l.fromRecord(context.Background(), q.Raw, s)
		}),
	}
}

func sendRelease(enc *gob.Encoder, rel *Release, failed error) error {
	a := &loadAnswer{Loaded: rel != nil, Values: worker.Pack(nil), UserValues: worker.Pack(nil)}
	if rel == nil {
		rel = new(Release)
	}
	if failed != nil {
		a.Err = &wireError{Text: failed.Error(), Library: errors.Is(failed, ErrLibrary)}
		var le *LoadError
		if errors.As(failed, &le) {
			a.Err.Ref, a.Err.Stage, a.Err.Hint, a.Err.Text = le.Ref, le.Stage, le.Hint, le.Err.Error()
		}
		var missing *MissingError
		if errors.As(failed, &missing) {
			a.Err.Missing = missing.Names
		}
	}
	var errs [3]error
	a.Info, errs[0] = json.Marshal(rel.Info)
	a.Record, errs[1] = json.Marshal(rel.Record)
	if rel.Stored != nil {
		a.Stored, errs[2] = json.Marshal(rel.Stored)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	a.Values, a.UserValues, a.Manifests, a.Dir, a.Calls, a.Files = worker.Pack(rel.Values), worker.Pack(rel.UserValues), rel.Manifests, rel.Dir, rel.Calls, len(rel.Files)
	a.SourceMap = rel.SourceMap
	if err := enc.Encode(a); err != nil {
		return err
	}
	for i := range rel.Files {
		if err := enc.Encode(&rel.Files[i]); err != nil {
			return err
		}
	}
	return nil
}

// remotely has a child of o.Workers load what q names. The release is returned
// with an error that has to do with it as well.
func (l *load) remotely(ctx context.Context, op string, q *loadRequest) (*Release, error) {
	var err error
	if q.Options, err = json.Marshal(l.o); err != nil {
		return nil, err
	}
	q.Ref = l.ref
	rel, a := new(Release), new(loadAnswer)
	err = l.o.Workers.Call(ctx, op, func(enc *gob.Encoder) error { return enc.Encode(q) }, func(dec *gob.Decoder) error {
		if err := dec.Decode(a); err != nil {
			return err
		}
		if a.Files > maxChartFiles {
			return fmt.Errorf("%d files", a.Files)
		}
		if a.Files > 0 {
			rel.Files = make([]File, a.Files)
		}
		for i := range rel.Files {
			if err := dec.Decode(&rel.Files[i]); err != nil {
				return err
			}
			if rel.Files[i].Data == nil {
				rel.Files[i].Data = []byte{}
			}
		}
		return nil
	})
	switch {
	case context.Cause(ctx) != nil:
		return nil, l.fail(StageRender, fmt.Errorf("not finished: %w", context.Cause(ctx)), "")
	case err != nil:
		return nil, l.fail(StageRender, err, "")
	}
	if a.Err != nil && !a.Loaded {
		rel = nil
	} else if err := rel.receive(a); err != nil {
		return nil, l.fail(StageRender, err, "")
	}
	if a.Err != nil {
		return rel, a.Err.loadError()
	}
	return rel, nil
}

func (r *Release) receive(a *loadAnswer) error {
	if a.Stored != nil {
		r.Stored = new(Stored)
		if err := json.Unmarshal(a.Stored, r.Stored); err != nil {
			return err
		}
	}
	r.Values, r.UserValues, r.Manifests, r.Dir, r.Calls = a.Values.Unpack(), a.UserValues.Unpack(), a.Manifests, a.Dir, a.Calls
	r.SourceMap = a.SourceMap
	if r.Manifests == nil && a.Err == nil {
		r.Manifests = []byte{}
	}
	return errors.Join(json.Unmarshal(a.Info, &r.Info), json.Unmarshal(a.Record, &r.Record))
}

func (e *wireError) loadError() error {
	err := errors.New(e.Text)
	switch {
	case e.Library:
		err = ErrLibrary
	case e.Missing != nil:
		err = &MissingError{e.Missing}
	}
	if e.Stage == "" {
		return err
	}
	return &LoadError{Ref: e.Ref, Stage: e.Stage, Err: err, Hint: e.Hint}
}
