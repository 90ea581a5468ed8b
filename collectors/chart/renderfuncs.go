package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
	goyaml "sigs.k8s.io/yaml/goyaml.v3"

	"github.com/companyos/helmproof/internal/manifest"
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
	maps.Copy(f, boundedFunctions(f))
	maps.Copy(f, r.generatedFunctions())
	f["include"], f["tpl"] = r.include(nil), r.tpl(nil)
	f["required"] = func(msg string, v any) (any, error) {
		if s, isString := v.(string); v == nil || isString && s == "" {
			return v, &userError{msg: msg, required: true}
		}
		return v, nil
	}
	f["fail"] = func(msg string) (string, error) { return "", &userError{msg: msg} }
	f["lookup"] = func(apiVersion, kind, namespace, name string) (map[string]any, error) {
		r.rec.lookup(apiVersion, kind, namespace, name)
		return map[string]any{}, nil
	}
	f["getHostByName"] = func(host string) string {
		r.rec.call("getHostByName " + host)
		return ""
	}
	f["keys"] = sortedKeys
	f["values"] = sortedValues
	for _, name := range []string{
		"printf", "print", "println", "cat", "join", "toString", "toStrings", "quote", "squote", "html", "js", "urlquery",
		"toYaml", "mustToYaml", "toYamlPretty", "toToml", "mustToToml", "toJson", "mustToJson", "toPrettyJson",
		"mustToPrettyJson", "toRawJson", "mustToRawJson", "deepCopy", "mustDeepCopy", "deepEqual",
		"merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite",
	} {
		if f[name] != nil {
			f[name] = checked(f[name])
		}
	}
	// As a reflect.Value it stays addressable, for the String method of a pointer.
	f[checkPrint] = func(v reflect.Value) (reflect.Value, error) {
		if v.IsValid() && v.CanInterface() {
			return v, checkValue(v.Interface())
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
// to print it would not end.
func checkValue(v any) error {
	left := maxNodes
	if !walkValue(v, maxNesting, &left) {
		return fmt.Errorf("a value that holds itself, is nested more than %d deep or has more than %d parts", maxNesting, maxNodes)
	}
	return nil
}

func walkValue(v any, depth int, left *int) bool {
	switch v := v.(type) {
	case map[string]any:
		*left -= len(v)
		if depth == 0 || *left < 0 {
			return false
		}
		for _, e := range v {
			if !walkValue(e, depth-1, left) {
				return false
			}
		}
	case common.Values:
		return walkValue(map[string]any(v), depth, left)
	case []any:
		*left -= len(v)
		if depth == 0 || *left < 0 {
			return false
		}
		for _, e := range v {
			if !walkValue(e, depth-1, left) {
				return false
			}
		}
	}
	return true
}

// checked wraps a function to look at its arguments first. text/template turns
// the panic into the call's error.
func checked(f any) any {
	switch f := f.(type) { // the frequent ones, without reflection
	case func(any) string:
		return func(v any) (string, error) {
			if err := checkValue(v); err != nil {
				return "", err
			}
			return f(v), nil
		}
	case func(...any) string:
		return func(v ...any) (string, error) {
			if err := checkValue(v); err != nil {
				return "", err
			}
			return f(v...), nil
		}
	case func(string, ...any) (string, error):
		return func(format string, v ...any) (string, error) {
			if err := checkValue(v); err != nil {
				return "", err
			}
			return f(format, v...)
		}
	}
	fn := reflect.ValueOf(f)
	return reflect.MakeFunc(fn.Type(), func(args []reflect.Value) []reflect.Value {
		for _, a := range args {
			if err := checkArgument(a); err != nil {
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
func checkArgument(a reflect.Value) error {
	if a.Kind() != reflect.Slice {
		return checkValue(a.Interface())
	}
	list := make([]any, a.Len())
	for i := range list {
		list[i] = a.Index(i).Interface()
	}
	return checkValue(list)
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
			if err := unmarshal([]byte(s), &m); err != nil {
				m["Error"] = err.Error()
			}
			return m
		}
	}
	fromArray := func(unmarshal func([]byte, any) error) func(string) []any {
		return func(s string) []any {
			a := []any{}
			if err := unmarshal([]byte(s), &a); err != nil {
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
		"toYaml": silent(toYAML), "mustToYaml": toYAML, "toYamlPretty": toYAMLPretty,
		"toJson": silent(toJSON), "mustToJson": toJSON,
		"fromYaml": fromMap(unmarshalYAML), "fromYamlArray": fromArray(unmarshalYAML),
		"fromJson": fromMap(json.Unmarshal), "fromJsonArray": fromArray(json.Unmarshal),
	}
	for _, name := range []string{"toToml", "mustToToml", "fromToml"} {
		f[name] = func(v any) (any, error) {
			if _, err := json.Marshal(v); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return helmFunction(name, v)
		}
	}
	return f
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

// boundedFunctions wraps the functions of f (and text/template's own) whose
// result can be far larger than what they are given.
func boundedFunctions(f template.FuncMap) template.FuncMap {
	out := template.FuncMap{}
	text := func(s string) (string, error) {
		if len(s) > maxRendered {
			return "", manifest.ErrTooMuch
		}
		return s, nil
	}
	if join, ok := f["join"].(func(string, any) string); ok {
		out["join"] = func(sep string, v any) (string, error) { return text(join(sep, v)) }
	}
	if cat, ok := f["cat"].(func(...any) string); ok {
		out["cat"] = func(v ...any) (string, error) { return text(cat(v...)) }
	}
	for _, name := range []string{"indent", "nindent"} {
		if indent, ok := f[name].(func(int, string) string); ok {
			out[name] = func(n int, s string) (string, error) {
				if n > 0 && n*(strings.Count(s, "\n")+1) > maxRendered {
					return "", manifest.ErrTooMuch
				}
				return indent(n, s), nil
			}
		}
	}
	out["repeat"] = func(n int, s string) (string, error) {
		if n < 0 {
			return "", fmt.Errorf("repeat: negative count %d", n)
		}
		if len(s) > 0 && n > maxRendered/len(s) {
			return "", manifest.ErrTooMuch
		}
		return strings.Repeat(s, n), nil
	}
	out["replace"] = func(old, new, s string) (string, error) {
		if len(new) > len(old) && strings.Count(s, old)*(len(new)-len(old)) > maxRendered {
			return "", manifest.ErrTooMuch
		}
		return text(strings.ReplaceAll(s, old, new))
	}
	out["printf"] = func(format string, a ...any) (string, error) { return text(fmt.Sprintf(format, a...)) }
	out["print"] = func(a ...any) (string, error) { return text(fmt.Sprint(a...)) }
	out["println"] = func(a ...any) (string, error) { return text(fmt.Sprintln(a...)) }
	if until, ok := f["until"].(func(int) []int); ok {
		out["until"] = func(n int) ([]int, error) {
			if n > maxList || n < -maxList {
				return nil, fmt.Errorf("until %d: at most %d", n, maxList)
			}
			return until(n), nil
		}
	}
	if untilStep, ok := f["untilStep"].(func(int, int, int) []int); ok {
		out["untilStep"] = func(start, stop, step int) ([]int, error) {
			if step != 0 && (stop-start)/step > maxList {
				return nil, fmt.Errorf("untilStep %d %d %d: more than %d numbers", start, stop, step, maxList)
			}
			return untilStep(start, stop, step), nil
		}
	}
	if seq, ok := f["seq"].(func(...int) string); ok {
		out["seq"] = func(params ...int) (string, error) {
			for _, p := range params {
				if p > maxList || p < -maxList {
					return "", fmt.Errorf("seq: numbers up to %d", maxList)
				}
			}
			return seq(params...), nil
		}
	}
	return out
}

// sortedKeys is sprig's keys, in the order of the keys instead of a random one.
func sortedKeys(dicts ...map[string]any) []string {
	keys := []string{}
	for _, d := range dicts {
		keys = append(keys, slices.Sorted(maps.Keys(d))...)
	}
	return keys
}

// sortedValues is sprig's values, in the order of the keys.
func sortedValues(dict map[string]any) []any {
	values := []any{}
	for _, k := range slices.Sorted(maps.Keys(dict)) {
		values = append(values, dict[k])
	}
	return values
}
