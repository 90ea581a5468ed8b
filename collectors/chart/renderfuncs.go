package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
	goyaml "sigs.k8s.io/yaml/goyaml.v3"
)

// maxList bounds the lists that a template counts up (until, seq).
const maxList = 1_000_000

// functions returns Helm's template functions, the unrepeatable ones replaced
// and those that can use up the memory bounded. include and tpl are set by the
// caller, for they depend on the set of templates.
func (r *rendering) functions() template.FuncMap {
	f := sprig.TxtFuncMap()
	delete(f, "env")
	delete(f, "expandenv")
	maps.Copy(f, encodingFunctions())
	maps.Copy(f, durationFunctions())
	f["print"], f["println"] = fmt.Sprint, fmt.Sprintln
	f["html"], f["js"], f["urlquery"] = template.HTMLEscaper, template.JSEscaper, template.URLQueryEscaper
	maps.Copy(f, r.boundedTexts(f))
	maps.Copy(f, r.boundedLists(f))
	maps.Copy(f, r.generatedFunctions())
	maps.Copy(f, r.digestFunctions(f))
	f["required"] = func(msg string, v any) (any, error) {
		if s, isString := v.(string); v == nil || isString && s == "" {
			return v, &userError{msg: msg, required: true}
		}
		return v, nil
	}
	f["fail"] = func(msg string) (string, error) { return "", &userError{msg: msg} }
	f["lookup"] = r.lookup
	f["getHostByName"] = func(host string) string {
		r.rec.call("getHostByName " + host)
		return ""
	}
	f["keys"] = r.keys
	maps.Copy(f, r.watchSelectors(f))
	maps.Copy(f, r.changing(f))
	for _, name := range []string{
		"printf", "print", "println", "cat", "join", "toString", "toStrings", "sortAlpha", "quote", "squote", "html", "js", "urlquery",
		"toYaml", "mustToYaml", "toYamlPretty", "toToml", "mustToToml", "toJson", "mustToJson", "toPrettyJson",
		"mustToPrettyJson", "toRawJson", "mustToRawJson", "deepCopy", "mustDeepCopy", "deepEqual",
		"merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite",
		"has", "mustHas", "without", "mustWithout", "uniq", "mustUniq",
	} {
		if f[name] != nil {
			f[name] = r.checked(f[name], !strings.Contains(name, "erge") && name != "deepCopy" && name != "mustDeepCopy")
		}
	}
	for name, fn := range f {
		if !handsOn[name] {
			f[name] = r.counted(fn)
		}
	}
	maps.Copy(f, r.watchFunctions())
	maps.Copy(f, r.traceFunctions())
	f[watchBound] = r.bound(f["semverCompare"])
	f["include"], f["tpl"] = r.include(nil), r.tpl(nil)
	// As a reflect.Value it stays addressable, for the String method of a pointer.
	f[checkPrint] = func(v reflect.Value) (reflect.Value, error) {
		if v.IsValid() && v.CanInterface() {
			return v, r.checkValue(v.Interface(), true)
		}
		return v, nil
	}
	return f
}

// checkPrint is the function that looks at what a template is about to print.
const checkPrint = "helmproofCheckPrint"

// maxNodes bounds the values that are printed, copied or merged, counted as
// often as they are reached.
const maxNodes = 2_000_000

// checkValue refuses a value that holds itself, or the same things so often, that
// to print it would not end. prints: its text is made, which can show what no
// template may act on.
func (r *rendering) checkValue(v any, prints bool) error {
	w := valueWalk{nodes: maxNodes, bytes: maxText}
	switch {
	case !w.walk(v, 0):
		return fmt.Errorf("a value that holds itself, is nested more than %d deep or has more than %d parts", maxNesting, maxNodes)
	case w.bytes < 0:
		return errText
	}
	if w.capabilities && prints {
		r.depend("a template prints .Capabilities whole, with the version of Helm")
		r.ask(func(f *keptFile) { f.all = true })
	}
	if w.release && prints {
		r.takesRelease()
	}
	r.asksRelease = r.asksRelease || w.mode && prints
	return nil
}

// valueWalk counts down what is left of the parts of a value and of the bytes that
// it takes, printed and indented.
type valueWalk struct {
	nodes, bytes int
	capabilities bool // .Capabilities are in it
	release      bool // .Release is in it, or a copy of it
	mode         bool // at least what is left of one
}

func (w *valueWalk) walk(v any, depth int) bool {
	switch v := v.(type) {
	case string:
		w.bytes -= len(v)
	case map[string]any:
		if !w.enter(len(v), depth) {
			return false
		}
		w.release, w.mode = w.release || hasRevision(v), w.mode || hasMode(v)
		for k, e := range v {
			if w.bytes -= len(k); !w.walk(e, depth+1) {
				return false
			}
		}
	case common.Values:
		return w.walk(map[string]any(v), depth)
	case []any:
		if !w.enter(len(v), depth) {
			return false
		}
		for _, e := range v {
			if !w.walk(e, depth+1) {
				return false
			}
		}
	case []string:
		if !w.enter(len(v), depth) {
			return false
		}
		for _, e := range v {
			w.bytes -= len(e)
		}
	case map[string]string:
		if !w.enter(len(v), depth) {
			return false
		}
		for k, e := range v {
			w.bytes -= len(k) + len(e)
		}
	case []int:
		return w.enter(len(v), depth)
	case [][]any:
		if !w.enter(len(v), depth) {
			return false
		}
		for _, e := range v {
			if !w.walk(e, depth+1) {
				return false
			}
		}
	case *common.Capabilities:
		w.capabilities = true
	}
	return true
}

// enter counts n elements at that depth; each is on a line of its own where YAML
// or indented JSON is printed.
func (w *valueWalk) enter(n, depth int) bool {
	w.nodes -= n
	w.bytes -= times(n, 2*depth)
	return depth < maxNesting && w.nodes >= 0
}

// checked wraps a function to look at its arguments first. text/template turns
// the panic into the call's error.
func (r *rendering) checked(f any, prints bool) any {
	switch f := f.(type) { // the frequent ones, without reflection
	case func(any) string:
		return func(v any) (string, error) {
			if err := r.checkValue(v, prints); err != nil {
				return "", err
			}
			return f(v), nil
		}
	case func(...any) string:
		return func(v ...any) (string, error) {
			if err := r.checkValue(v, prints); err != nil {
				return "", err
			}
			return f(v...), nil
		}
	case func(string, ...any) (string, error):
		return func(format string, v ...any) (string, error) {
			if err := r.checkValue(v, prints); err != nil {
				return "", err
			}
			return f(format, v...)
		}
	}
	fn := reflect.ValueOf(f)
	return reflect.MakeFunc(fn.Type(), func(args []reflect.Value) []reflect.Value {
		for _, a := range args {
			if err := r.checkArgument(a, prints); err != nil {
				panic(err)
			}
		}
		if fn.Type().IsVariadic() {
			return fn.CallSlice(args)
		}
		return fn.Call(args)
	}).Interface()
}

// checkArgument is checkValue; variadic arguments come as a slice.
func (r *rendering) checkArgument(a reflect.Value, prints bool) error {
	if a.Kind() != reflect.Slice {
		return r.checkValue(a.Interface(), prints)
	}
	list := make([]any, a.Len())
	for i := range list {
		list[i] = a.Index(i).Interface()
	}
	return r.checkValue(list, prints)
}

// encodingFunctions are what Helm adds to sprig. Those that do not start with
// "must" give errors as values, as Helm's do.
func encodingFunctions() template.FuncMap {
	toYAML := func(v any) (string, error) {
		b, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(b), "\n"), err
	}
	toJSON := func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	}
	silent := func(f func(any) (string, error)) func(any) string {
		return func(v any) string {
			s, err := f(v)
			if err != nil {
				return ""
			}
			return s
		}
	}
	fromMap := func(unmarshal func([]byte, any) error) func(string) map[string]any {
		return func(s string) map[string]any {
			m := map[string]any{}
			if err := parsable(unmarshal, s, &m); err != nil {
				m["Error"] = err.Error()
			}
			return m
		}
	}
	fromArray := func(unmarshal func([]byte, any) error) func(string) []any {
		return func(s string) []any {
			a := []any{}
			if err := parsable(unmarshal, s, &a); err != nil {
				a = []any{err.Error()}
			}
			return a
		}
	}
	unmarshalYAML := func(b []byte, v any) error { return yaml.Unmarshal(b, v) }
	toYAMLPretty := func(v any) string {
		if _, err := json.Marshal(v); err != nil { // a value that holds itself
			return ""
		}
		var b bytes.Buffer
		e := goyaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := e.Encode(v); err != nil {
			return ""
		}
		return strings.TrimSuffix(b.String(), "\n")
	}
	f := template.FuncMap{
		"mustFromJson": func(s string) (v any, err error) {
			err = parsable(json.Unmarshal, s, &v)
			return v, err
		},
		"toYaml": silent(toYAML), "mustToYaml": toYAML, "toYamlPretty": toYAMLPretty,
		"toJson": silent(toJSON), "mustToJson": toJSON,
		"fromYaml": fromMap(unmarshalYAML), "fromYamlArray": fromArray(unmarshalYAML),
		"fromJson": fromMap(json.Unmarshal), "fromJsonArray": fromArray(json.Unmarshal),
	}
	for _, name := range []string{"toToml", "mustToToml", "fromToml"} {
		f[name] = func(v any) (any, error) {
			if text, ok := v.(string); ok && len(text) > maxParse {
				return nil, fmt.Errorf("%s: more than %d bytes to parse", name, maxParse)
			}
			if _, err := json.Marshal(v); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return helmFunction(name, v)
		}
	}
	return f
}

// parsable unmarshals a text of a size that does not use up the memory.
func parsable(unmarshal func([]byte, any) error, s string, v any) error {
	if len(s) > maxParse {
		panic(fmt.Errorf("more than %d bytes to parse", maxParse)) // the call's error, which text/template makes of it
	}
	return unmarshal([]byte(s), v)
}

// durationFunctions are rare in charts: Helm's own are called through its engine.
func durationFunctions() template.FuncMap {
	f := template.FuncMap{}
	for _, name := range []string{
		"mustToDuration", "durationSeconds", "durationMilliseconds", "durationMicroseconds", "durationNanoseconds",
		"durationMinutes", "durationHours", "durationDays", "durationWeeks", "durationRoundTo", "durationTruncateTo",
	} {
		f[name] = func(args ...any) (any, error) { return helmFunction(name, args...) }
	}
	return f
}

// helmFunction calls a template function of Helm's engine.
func helmFunction(name string, args ...any) (any, error) {
	call := name
	for i := range args {
		call += fmt.Sprintf(" (arg %d)", i)
	}
	var result any
	c := &chartv2.Chart{
		Metadata:  &chartv2.Metadata{Name: "call"},
		Templates: []*common.File{{Name: "templates/call", Data: []byte("{{ result (" + call + ") }}")}},
	}
	e := engine.Engine{CustomTemplateFuncs: template.FuncMap{
		"arg":    func(i int) any { return args[i] },
		"result": func(v any) string { result = v; return "" },
	}}
	if _, err := e.RenderWithContext(context.Background(), c, common.Values{"Values": map[string]any{}}); err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	return result, nil
}
