package chart

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"

	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	"github.com/companyos/helmproof/internal/manifest"
)

// Helm's own engine cannot be stopped: a template that loops, recurses through
// tpl or writes without end takes the process with it. So templates run here,
// on text/template with Helm's scope (taken from Helm's engine) and Helm's
// functions, but with every output, include and tpl counted. A test renders the
// same charts with Helm's engine and compares the bytes.

// Limits on rendering.
const (
	maxRendered  = manifest.MaxSize // bytes, of one template, one string and of all together
	maxNesting   = 1000             // includes and tpl calls inside each other
	maxBlocks    = 500              // if, range, with … inside each other in one template
	maxTemplates = maxChartFiles
)

// sourceFile is a template with the scope that it is rendered in.
type sourceFile struct {
	full  string // as Helm names it: CHART/charts/SUB/templates/x.yaml
	name  string // without the first element
	chart string // what of full is the (sub)chart: CHART/charts/SUB
	text  string
	scope map[string]any // nil for partials of library charts
}

// rendering is the state of the renderings of one chart; it lives on one goroutine.
type rendering struct {
	err     func() error // of the context
	rec     *recorder
	nesting int    // includes and tpl calls under way
	current string // the file that is being rendered
	steps   int
	bytes   int // made by functions
	funcs   template.FuncMap
	tpls    map[string]*template.Template // parsed arguments of tpl
	present bool                          // lookup finds what it is asked for
	other   bool                          // maps come in the other order
	looked  map[*parse.Tree]bool          // templates that were looked at; true: opaque ones
	looksUp bool                          // a template may call lookup
	depends map[string]struct{}           // what else than chart and values the templates were seen to act on

	asksPatch   bool                // one asks for more of its version than what a written range says
	asksNumber  bool                // there is one that names the revision
	asksCluster bool                // a template asks what the cluster serves, or for its version
	asksVersion bool                // for its version
	asksAPI     bool                // for an API that a provider's cluster has
	asksSuffix  bool                // one takes its version apart, or looks for something in it
	asksRelease bool                // one asks whether it is an upgrade, or which revision
	asked       map[string]struct{} // the APIs that it asks for
	serves      func(string) bool   // which of them are there besides those of .Capabilities
	own         func(string) bool   // the APIs that the chart's own definitions bring; nil: none

	variant int                  // generated values: those that are sealed, or others
	zone    int                  // the time zone of the machine: UTC, or one of otherZones from 1
	tracing bool                 // templates tell what their conditions are given
	traced  map[*parse.Tree]bool // those that do
	marks   map[string]bool      // what was made of marks and does not show them: of the patch version, or the revision
	bounds  map[[2]string]bool   // of ranges and what is compared with them, whether patch versions matter
	trace   map[string]uint64    // digests of it, by file; nil: nobody asks

	chosen map[string]bool // if not nil: which optional APIs and objects are there

	kept    *kept            // texts that need not be rendered again; nil: all are
	keeping *kept            // where what is rendered is kept; nil: nowhere
	asking  *keptFile        // what of it is being rendered; nil: nothing
	scopes  []sourceFile     // of this rendering
	common  map[uintptr]bool // the mappings that are reached from there; nil: nobody asked yet
	changed bool             // one of those was changed in this rendering

	reads map[string]struct{} // templates that use more of what lookup finds than whether it is there

	track *tracker // takes down which line of a template wrote what; nil: nobody asks
}

// render returns the manifests: rendered templates (hooks and tests too) and
// CRDs, in the order of file names, documents in the order of the file.
func (l *load) render(ctx context.Context, rel *Release, c *chartv2.Chart, scope common.Values) ([]byte, error) {
	done := make(chan *rendered, 1)
	user, namespace := rel.UserValues, rel.Info.Namespace
	go func() {
		r := &rendered{texts: map[string]string{}}
		r.err = l.renderModes(ctx, r, c, scope, lintInput{user, namespace})
		done <- r
	}()
	var r *rendered
	select {
	case r = <-done:
	case <-ctx.Done():
		return nil, l.fail(StageRender, fmt.Errorf("not finished: %w", context.Cause(ctx)), "")
	}
	if r.err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, l.fail(StageRender, fmt.Errorf("not finished: %w", cause), "")
		}
		err, hint := renderProblem(r.err, c.Name())
		return nil, l.fail(StageRender, err, hint)
	}
	seen, rec := &r.record, &rel.Record
	rec.Generated, rec.Lookups, rec.Modes, rec.Depends = seen.Generated, seen.Lookups, seen.Modes, seen.Depends
	rec.Network = slices.Compact(slices.Sorted(slices.Values(append(rec.Network, seen.Network...))))
	rel.LintsWithin, rel.Calls = r.lintsWithin, r.calls
	var files []manifest.File
	for name, text := range r.files {
		files = append(files, manifest.File{Name: name, Template: r.texts[name], Documents: helmDocuments(text)})
	}
	crds := map[string]string{}
	for _, crd := range c.CRDObjects() { // after a template of the same name
		name := strings.TrimPrefix(crd.Filename, c.Name()+"/")
		crds[name] = string(crd.File.Data)
		files = append(files, manifest.File{Name: name, Template: string(crd.File.Data), Documents: manifest.Stream(crd.File.Data)})
	}
	out, err := manifest.Join(files)
	if err == nil {
		rel.SourceMap, err = r.track.sourceMap(out, r.files, crds)
	}
	if err != nil {
		return nil, l.fail(StageRender, err, "")
	}
	return out, nil
}

// helmDocuments splits a rendered template by Helm's own code, in the order of the
// file: at every line that starts with "---", whatever follows it. White space
// before a document is gone; that can bring a separator to its start, which is then
// read as Kubernetes' clients do.
func helmDocuments(text string) iter.Seq[manifest.Document] {
	return func(yield func(manifest.Document) bool) {
		entries := releaseutil.SplitManifests(text)
		names := slices.Collect(maps.Keys(entries))
		sort.Sort(releaseutil.BySplitManifestsOrder(names))
		for _, name := range names {
			for d := range manifest.Documents([]byte(entries[name])) {
				if !yield(d) {
					return
				}
			}
		}
	}
}

// chartSources lists the templates of the chart and its subcharts. Scopes are
// those of Helm's engine, which renders one probe in each template's place.
func chartSources(ctx context.Context, c *chartv2.Chart, scope common.Values) ([]sourceFile, error) {
	var sources []sourceFile
	seen := map[string]int{}
	for _, c := range flatten(c, nil) {
		for _, t := range c.Templates {
			if t == nil || c.Metadata.Type == "library" && !strings.HasPrefix(path.Base(t.Name), "_") {
				continue
			}
			full := path.Join(c.ChartFullPath(), t.Name)
			s := sourceFile{full: full, name: full[strings.IndexByte(full, '/')+1:], chart: c.ChartFullPath(), text: string(t.Data)}
			if at, dup := seen[full]; dup { // the last one wins, as in Helm
				sources[at] = s
				continue
			}
			seen[full] = len(sources)
			sources = append(sources, s)
		}
	}
	if len(sources) > maxTemplates {
		return nil, fmt.Errorf("more than %d templates", maxTemplates)
	}
	// Helm parses templates that lie deeper first, so that a parent's define wins.
	slices.SortStableFunc(sources, func(a, b sourceFile) int {
		if n := strings.Count(b.full, "/") - strings.Count(a.full, "/"); n != 0 {
			return n
		}
		return strings.Compare(b.full, a.full)
	})
	return inScope(ctx, c, sources, scope)
}

// inScope returns the templates of a chart with the scopes that Helm gives them.
func inScope(ctx context.Context, c *chartv2.Chart, templates []sourceFile, scope common.Values) ([]sourceFile, error) {
	charts := flatten(c, nil)
	originals := make([][]*common.File, len(charts))
	for i, c := range charts {
		originals[i] = c.Templates
	}
	defer func() {
		for i, c := range charts {
			c.Templates = originals[i]
		}
	}()
	probe := []*common.File{{Name: "templates/scope", Data: []byte("{{ scope . }}")}}
	for _, c := range charts {
		c.Templates = probe
	}
	scopes := map[string]map[string]any{}
	e := engine.Engine{CustomTemplateFuncs: template.FuncMap{"scope": func(dot map[string]any) string {
		if t, ok := dot["Template"].(common.Values); ok {
			if base, ok := t["BasePath"].(string); ok {
				scopes[path.Dir(base)] = dot
			}
		}
		return ""
	}}}
	if _, err := e.RenderWithContext(ctx, c, scope); err != nil {
		return nil, fmt.Errorf("prepare templates: %w", err)
	}
	sources := slices.Clone(templates)
	for i := range sources {
		sources[i].scope = scopes[sources[i].chart]
	}
	return sources, nil
}

func flatten(c *chartv2.Chart, out []*chartv2.Chart) []*chartv2.Chart {
	out = append(out, c)
	for _, d := range c.Dependencies() {
		out = flatten(d, out)
	}
	return out
}

// templates are the parsed templates of a chart and its subcharts.
type templates struct {
	*rendering
	set     *template.Template
	sources []sourceFile
}

// parseSources parses the templates, for renderings that share a budget.
func parseSources(ctx context.Context, sources []sourceFile) (*templates, error) {
	r := &rendering{
		err: func() error { return context.Cause(ctx) }, rec: new(recorder),
		tpls: map[string]*template.Template{}, depends: map[string]struct{}{}, bounds: map[[2]string]bool{}, reads: map[string]struct{}{},
	}
	r.funcs = r.functions()
	t := template.New("gotpl").Option("missingkey=zero").Funcs(r.funcs)
	t.Funcs(template.FuncMap{"include": r.include(t), "tpl": r.tpl(t)})
	for _, s := range sources {
		if err := checkBlocks(s.text); err != nil {
			return nil, fmt.Errorf("%s: %w", s.full, err)
		}
		r.looksUp = r.looksUp || strings.Contains(s.text, "lookup")
		if _, err := t.New(s.full).Parse(s.text); err != nil {
			return nil, err
		}
	}
	r.look(t)
	guard(t)
	return &templates{r, t, sources}, nil
}

// renderSources renders every template that is no partial, by name. Notes are
// rendered as well, since what is wrong in them makes Helm fail, but left out.
func renderSources(ctx context.Context, sources []sourceFile, rec *recorder) (map[string]string, error) {
	t, err := parseSources(ctx, sources)
	if err != nil {
		return nil, err
	}
	return t.render(sources, rec)
}

// render renders the templates in the scopes of sources, which are those that were parsed.
func (t *templates) render(sources []sourceFile, rec *recorder) (out map[string]string, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("a template function panicked: %v", p)
		}
	}()
	out = map[string]string{}
	total := 0
	t.scopes, t.common, t.changed = sources, nil, false
	caps, release := answering(sources)
	for _, s := range sources {
		if strings.HasPrefix(path.Base(s.full), "_") {
			continue
		}
		notes := strings.HasSuffix(s.full, "NOTES.txt")
		t.current, t.rec = s.name, rec
		if notes {
			t.rec = new(recorder)
		}
		if s.scope == nil {
			return nil, fmt.Errorf("%s: template without a chart", s.full)
		}
		s.scope["Template"] = common.Values{"Name": s.full, "BasePath": s.chart + "/templates"}
		text, same := "", false
		if t.kept != nil {
			text, same = t.same(&s, caps, release)
		}
		if !same {
			end := t.begin(&s)
			if text, err = t.execute(t.set, s.full, common.Values(s.scope)); err != nil {
				return nil, err
			}
			end(text)
		}
		if total += len(text); total > maxRendered {
			return nil, manifest.ErrTooMuch
		}
		if !notes {
			out[s.name] = text
		}
	}
	return out, nil
}

// execute runs a template of t; "<no value>" becomes nothing, as in Helm.
func (r *rendering) execute(t *template.Template, name string, data any) (string, error) {
	if err := r.err(); err != nil {
		return "", err
	}
	w := &countedWriter{r: r}
	r.runs(t.Lookup(name))
	w.frame, _ = r.track.enter()
	if err := t.ExecuteTemplate(w, name, data); err != nil {
		return "", err
	}
	if r.track != nil {
		r.track.finish(w.frame, r.current, w.String())
	}
	return strings.ReplaceAll(w.String(), "<no value>", ""), nil
}

// countedWriter ends a template that writes too much or for too long.
type countedWriter struct {
	strings.Builder
	r     *rendering
	frame *frame // of r.track
}

func (w *countedWriter) Write(p []byte) (int, error) {
	if w.frame != nil {
		if mark, ok := w.r.track.markOf(p); ok {
			w.frame.mark, w.frame.fresh = mark, true
			return 0, nil
		}
		if len(p) > 0 {
			w.r.track.wrote(w.frame, w.Len())
		}
	}
	if w.Len()+len(p) > maxRendered {
		return 0, manifest.ErrTooMuch
	}
	if err := w.r.step(); err != nil {
		return 0, err
	}
	return w.Builder.Write(p)
}

// step counts what takes time, and asks the context now and then.
func (r *rendering) step() error {
	if r.steps++; r.steps > maxSteps {
		return errSteps
	}
	if r.steps&127 == 0 {
		return r.err()
	}
	return nil
}

// nest counts a call that runs a template inside another.
func (r *rendering) nest(name string) error {
	r.nesting++
	if r.nesting > maxNesting {
		return fmt.Errorf("%s: include and tpl call each other more than %d deep", name, maxNesting)
	}
	return r.step()
}

func (r *rendering) leave() { r.nesting-- }

func (r *rendering) include(t *template.Template) func(string, any) (string, error) {
	return func(name string, data any) (string, error) {
		defer r.leave()
		if err := r.nest(name); err != nil {
			return "", err
		}
		w := &countedWriter{r: r}
		r.runs(t.Lookup(name))
		f, outer := r.track.enter()
		w.frame = f
		if err := t.ExecuteTemplate(w, name, data); err != nil {
			return w.String(), err
		}
		r.track.leave(f, outer, w.String())
		return w.String(), r.made(w.Len())
	}
}

// tpl renders text in the scope of parent's definitions. What text itself
// defines is seen only inside of it, for which Helm copies all templates at
// each call; only texts that define or call templates need that.
func (r *rendering) tpl(parent *template.Template) func(string, any) (string, error) {
	return func(text string, data any) (string, error) {
		const name = "tpl"
		defer r.leave()
		if err := r.nest(name); err != nil {
			return "", err
		}
		if !strings.Contains(text, "{{") {
			return strings.ReplaceAll(text, "<no value>", ""), nil
		}
		t, err := r.parseTpl(parent, text)
		if err != nil {
			return "", fmt.Errorf("cannot parse template %q: %w", shorten(text), err)
		}
		w := &countedWriter{r: r}
		r.runs(t)
		f, outer := r.track.enter()
		w.frame = f
		if err := t.Execute(w, data); err != nil {
			return "", fmt.Errorf("in tpl %q: %w", shorten(text), err)
		}
		r.track.leave(f, outer, w.String())
		if err := r.made(w.Len()); err != nil {
			return "", err
		}
		return strings.ReplaceAll(w.String(), "<no value>", ""), nil
	}
}

func (r *rendering) parseTpl(parent *template.Template, text string) (*template.Template, error) {
	own := strings.Contains(text, "define") || strings.Contains(text, "block") || strings.Contains(text, "template")
	key := parent.Name() + "\x00" + text
	if t := r.tpls[key]; t != nil && !own {
		return t, nil
	}
	if err := checkBlocks(text); err != nil {
		return nil, err
	}
	var t *template.Template
	var err error
	if own {
		if t, err = parent.Clone(); err != nil {
			return nil, err
		}
		t.Option("missingkey=zero").Funcs(template.FuncMap{"include": r.include(t), "tpl": r.tpl(t)})
		t, err = t.New(parent.Name()).Parse(text)
	} else {
		own := template.FuncMap{"include": r.include(parent), "tpl": r.tpl(parent)}
		t, err = template.New(parent.Name()).Option("missingkey=zero").Funcs(r.funcs).Funcs(own).Parse(text)
	}
	if err != nil {
		return nil, err
	}
	r.looksUp = r.looksUp || strings.Contains(text, "lookup")
	r.look(t)
	guard(t)
	if r.tracing {
		r.putTrace(t)
	}
	if !own {
		r.tpls[key] = t
	}
	return t, nil
}

func shorten(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
