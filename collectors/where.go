package collectors

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// SourcesFile says which lines of which templates made the lines of ManifestsFile. It is a
// hint for people: nothing is decided by it, and bundles of older versions have none.
const SourcesFile = "artifacts/release/sources.json"

// where finds the places of findings in what was sealed.
type where struct {
	m       *manifest.SourceMap
	raw     []byte
	lines   []int // where each line of raw starts
	objects map[objectID][]*manifest.Object

	mu    sync.Mutex
	known map[placeKey]found
}

type objectID struct{ apiVersion, kind, name, file string }

type placeKey struct {
	object *manifest.Object
	path   string
}

// found is a field as it stands in the manifests and in the template.
type found struct {
	whole  bool // all of the path is there
	origin manifest.Origin
	end    int // the template's line on which it ends; 0: unknown
}

// newWhere returns what finds the places of findings; nil where no map was sealed, or none
// that can be read: it is as if there were none.
func (s *Sealed) newWhere() *where {
	raw, err := s.r.Read(SourcesFile)
	if err != nil {
		return nil
	}
	w := &where{objects: map[objectID][]*manifest.Object{}, known: map[placeKey]found{}}
	if w.m, err = manifest.ParseSourceMap(raw); err != nil {
		return nil
	}
	if w.raw, err = s.r.Read(ManifestsFile); err != nil {
		return nil
	}
	set, err := s.Objects()
	if err != nil {
		return nil
	}
	w.lines = append(make([]int, 0, bytes.Count(w.raw, []byte("\n"))+1), 0)
	for i := 0; ; {
		n := bytes.IndexByte(w.raw[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
		w.lines = append(w.lines, i)
	}
	for i := range set.Objects {
		o := &set.Objects[i]
		id := objectID{o.GetAPIVersion(), o.GetKind(), o.GetName(), o.File}
		w.objects[id] = append(w.objects[id], o)
	}
	return w
}

// of is the object that a finding is about; nil where that is none, or not one for sure.
func (w *where) of(f *evidence.Finding) *manifest.Object {
	t := &f.Target
	list := w.objects[objectID{t.APIVersion, t.Kind, t.Name, t.File}]
	if len(list) == 1 {
		return list[0]
	}
	for _, o := range list {
		for _, p := range f.Evidence {
			if p.Artifact == ManifestsFile && p.Lines == LineRange(o.From, o.To) && !o.Listed {
				return o
			}
		}
	}
	return nil
}

// locate completes a finding that somebody has to act on with the field that it is about
// and the place that made it.
func (w *where) locate(f *evidence.Finding) {
	switch f.Outcome {
	case evidence.OutcomePass, evidence.OutcomeNotApplicable:
		return
	}
	if f.Target.APIVersion == "" || f.Field != "" {
		return
	}
	o := w.of(f)
	if o == nil {
		return
	}
	paths, also := fieldsOf(f, o)
	path := w.choose(o, paths, also)
	at := w.find(o, path)
	f.Field = manifest.FieldPath(path)
	if at.origin.At.Line == 0 {
		return
	}
	f.Target.Line, f.Target.Column = at.origin.At.Line, at.origin.At.Column
	if at.end > f.Target.Line {
		f.Target.EndLine = at.end
	}
	if by := at.origin.By; by.Line > 0 && (len(path) > 0 || !at.origin.Whole) { // what names an object does not make it
		f.Definition = &by
	}
}

// choose is the first path whose field is there; else what those that are not only also
// meant have in common.
func (w *where) choose(o *manifest.Object, paths, also [][]string) []string {
	if len(paths) == 0 {
		return nil
	}
	for _, p := range slices.Concat(paths, also) {
		if w.find(o, p).whole {
			return p
		}
	}
	common := paths[0]
	for _, p := range paths[1:] {
		n := 0
		for n < min(len(p), len(common)) && p[n] == common[n] {
			n++
		}
		common = common[:n]
	}
	return common
}

// find returns where a field of an object stands, or what holds it where it is absent.
func (w *where) find(o *manifest.Object, path []string) found {
	key := placeKey{o, strings.Join(path, "\x00")}
	w.mu.Lock()
	defer w.mu.Unlock()
	if f, ok := w.known[key]; ok {
		return f
	}
	f := w.look(o, path)
	w.known[key] = f
	return f
}

func (w *where) look(o *manifest.Object, path []string) (f found) {
	if o.From < 1 || o.To > len(w.lines) || o.From > o.To || o.Listed {
		return f
	}
	lines := make([][]byte, 0, o.To-o.From+1)
	for i := o.From; i <= o.To; i++ {
		end := len(w.raw)
		if i < len(w.lines) {
			end = w.lines[i]
		}
		lines = append(lines, w.raw[w.lines[i-1]:end])
	}
	from, to, steps := manifest.FieldLines(lines, path)
	f.whole = steps == len(path) && len(path) > 0
	origin := func(i int) manifest.Origin { return w.m.Find(o.From, o.From+i, manifest.Indent(lines[i])) }
	f.origin = origin(from)
	if f.whole && to > from {
		if last := origin(to); last.At.File == f.origin.At.File && last.At.Line > f.origin.At.Line {
			f.end = last.At.Line
		}
	}
	return f
}
