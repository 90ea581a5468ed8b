package chart

import (
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"strings"
	"text/template"

	"github.com/Masterminds/semver/v3"
)

// What the functions of one rendering may use up together. Charts of the public
// make some MiB; the limits leave room for a hundred times that.
const (
	maxMade  = 256 << 20  // bytes of what functions return
	maxText  = 16 << 20   // bytes of one text that a function returns
	maxSteps = 20_000_000 // calls of functions, turns of loops and pieces of output
	maxParse = 4 << 20    // bytes of a text that is parsed as YAML, JSON or TOML
	maxEach  = 20_000     // elements of lists that are compared each with each
)

// What says that a rendering needs more than its budget.
var (
	errText   = fmt.Errorf("a template function renders more than %d bytes in one text", maxText)
	errBudget = fmt.Errorf("the template functions make more than %d bytes in one rendering", maxMade)
	errSteps  = fmt.Errorf("more than %d steps in one rendering", maxSteps)
)

// made counts n bytes that a function is about to make, or has made.
func (r *rendering) made(n int) error {
	if n > maxText {
		return errText
	}
	if r.bytes += n; r.bytes > maxMade {
		return errBudget
	}
	return r.step()
}

// times is a*b without overflow, for numbers that are not negative.
func times(a, b int) int {
	if a > 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}

// plus is a+b without overflow, for numbers that are not negative.
func plus(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

// sizeOf is about what a function's result takes of memory: texts by their
// length, lists and mappings by their own elements, which were counted before.
func sizeOf(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []string:
		return 16 * len(v)
	case []any:
		return 16 * len(v)
	case []int:
		return 8 * len(v)
	case [][]any:
		return 24 * len(v)
	case map[string]any:
		return 64 * len(v)
	case map[string]string:
		return 80 * len(v)
	}
	return 16
}

// handsOn are functions that return something that was there before.
var handsOn = map[string]bool{
	"get": true, "set": true, "unset": true, "hasKey": true, "default": true, "coalesce": true, "ternary": true, "dig": true, "first": true, "last": true, "required": true,
	"trunc": true, "trim": true, "trimPrefix": true, "trimSuffix": true, "trimAll": true, "trimall": true, "empty": true, "fail": true, "slice": true, "mustSlice": true,
	"mustFirst": true, "mustLast": true, "substr": true, "lookup": true, "contains": true, "hasPrefix": true, "hasSuffix": true, "kindIs": true, "typeIs": true,
}

// count1 … make a function count its result; a function that returns an error
// makes room for that of the budget.
func count1[A, R any](r *rendering, f func(A) R) any {
	return func(a A) (R, error) {
		v := f(a)
		return v, r.made(sizeOf(v))
	}
}

func count2[A, B, R any](r *rendering, f func(A, B) R) any {
	return func(a A, b B) (R, error) {
		v := f(a, b)
		return v, r.made(sizeOf(v))
	}
}

func count3[A, B, C, R any](r *rendering, f func(A, B, C) R) any {
	return func(a A, b B, c C) (R, error) {
		v := f(a, b, c)
		return v, r.made(sizeOf(v))
	}
}

func countList[R any](r *rendering, f func(...any) R) any {
	return func(a ...any) (R, error) {
		v := f(a...)
		return v, r.made(sizeOf(v))
	}
}

func countError[A, R any](r *rendering, f func(A) (R, error)) any {
	return func(a A) (R, error) {
		v, err := f(a)
		return v, errors.Join(err, r.made(sizeOf(v)))
	}
}

// counted makes a template function count what it returns.
func (r *rendering) counted(f any) any {
	switch f := f.(type) { // the frequent ones, without reflection
	case func(string) string:
		return count1(r, f)
	case func(any) string:
		return count1(r, f)
	case func(any) (string, error):
		return countError(r, f)
	case func(any) []any:
		return count1(r, f)
	case func(any) any:
		return count1(r, f)
	case func(any) []string:
		return count1(r, f)
	case func(string, string) string:
		return count2(r, f)
	case func(string, string) []string:
		return count2(r, f)
	case func(any, any) []any:
		return count2(r, f)
	case func(int, string) string:
		return count2(r, f)
	case func(string, any) string:
		return count2(r, f)
	case func(string, string, string) string:
		return count3(r, f)
	case func(...any) string:
		return countList(r, f)
	case func(...any) []any:
		return countList(r, f)
	case func(...any) any:
		return countList(r, f)
	case func(...any) map[string]any:
		return countList(r, f)
	case func(any) int, func(any) int64, func(any) bool, func(any) float64, func(string) bool, func(string, string) bool, func(any, any) bool, func(any, any) int64, func(...any) int64, func(string) int, func(string) (*semver.Version, error):
		return f // numbers
	}
	fn := reflect.ValueOf(f)
	t := fn.Type()
	in, out := make([]reflect.Type, t.NumIn()), []reflect.Type{t.Out(0), reflect.TypeFor[error]()}
	for i := range in {
		in[i] = t.In(i)
	}
	return reflect.MakeFunc(reflect.FuncOf(in, out, t.IsVariadic()), func(args []reflect.Value) []reflect.Value {
		call := fn.Call
		if t.IsVariadic() {
			call = fn.CallSlice
		}
		results := call(args)
		var err error
		if len(results) > 1 {
			err, _ = results[1].Interface().(error)
		}
		if results[0].CanInterface() {
			err = errors.Join(err, r.made(sizeOf(results[0].Interface())))
		}
		e := reflect.Zero(out[1])
		if err != nil {
			e = reflect.ValueOf(&err).Elem()
		}
		return []reflect.Value{results[0], e}
	}).Interface()
}

// boundedTexts are functions of text whose result can be far larger than what
// they are given: what they will make is counted before.
func (r *rendering) boundedTexts(f template.FuncMap) template.FuncMap {
	out := template.FuncMap{}
	// limited asks first how much it will be.
	limited := func(size int) error {
		if size > maxText {
			return errText
		}
		return r.step()
	}
	for _, name := range []string{"indent", "nindent"} {
		if indent, ok := f[name].(func(int, string) string); ok {
			out[name] = func(n int, s string) (string, error) {
				if n < 0 {
					return "", fmt.Errorf("%s: negative count %d", name, n)
				}
				if err := limited(plus(len(s), times(n, strings.Count(s, "\n")+1))); err != nil {
					return "", err
				}
				return indent(n, s), nil
			}
		}
	}
	out["repeat"] = func(n int, s string) (string, error) {
		if n < 0 {
			return "", fmt.Errorf("repeat: negative count %d", n)
		}
		if err := limited(times(n, len(s))); err != nil {
			return "", err
		}
		return strings.Repeat(s, n), nil
	}
	out["replace"] = func(old, with, s string) (string, error) {
		if len(with) > len(old) {
			if err := limited(plus(len(s), times(strings.Count(s, old), len(with)-len(old)))); err != nil {
				return "", err
			}
		}
		return strings.ReplaceAll(s, old, with), nil
	}
	replaceAll := func(literal bool) func(string, string, string) (string, error) {
		return func(pattern, s, with string) (string, error) {
			re, err := regexp.Compile(pattern)
			if err != nil {
				return "", err
			}
			refs := 0
			if !literal {
				refs = strings.Count(with, "$")
			}
			if size := func(n int) int { return plus(len(s), plus(times(n, len(with)), times(refs, len(s)))) }; size(len(s)+1) > maxText {
				n := 0
				re.ReplaceAllStringFunc(s, func(string) string { n++; return "" })
				if err := limited(size(n)); err != nil {
					return "", err
				}
			}
			if literal {
				return re.ReplaceAllLiteralString(s, with), nil
			}
			return re.ReplaceAllString(s, with), nil
		}
	}
	out["regexReplaceAll"], out["mustRegexReplaceAll"] = replaceAll(false), replaceAll(false)
	out["regexReplaceAllLiteral"], out["mustRegexReplaceAllLiteral"] = replaceAll(true), replaceAll(true)
	if wrap, ok := f["wrap"].(func(int, string) string); ok {
		out["wrap"] = func(n int, s string) (string, error) {
			if err := limited(times(2, len(s))); err != nil {
				return "", err
			}
			return wrap(n, s), nil
		}
	}
	if wrap, ok := f["wrapWith"].(func(int, string, string) string); ok {
		out["wrapWith"] = func(n int, sep, s string) (string, error) {
			if err := limited(plus(len(s), times(len(sep), len(s)/max(n, 1)+strings.Count(s, " ")+1))); err != nil {
				return "", err
			}
			return wrap(n, sep, s), nil
		}
	}
	out["printf"] = func(format string, a ...any) (string, error) {
		if err := limited(printfSize(format, a)); err != nil {
			return "", err
		}
		if pointerVerb.MatchString(format) {
			r.rec.generate(printsAddress, r.current)
			format = pointerVerb.ReplaceAllString(format, "${1}"+string(addressVerb))
			for i := range a {
				a[i] = withoutAddress{a[i]}
			}
		}
		return fmt.Sprintf(format, a...), nil
	}
	return out
}

// pointerVerb is what prints an address: another one in each process.
var pointerVerb = regexp.MustCompile(`(%[-+# 0-9.*\[\]]*)p`)

// addressVerb stands for the verb p, which fmt does not leave to a Formatter.
const addressVerb = '\uE000'

// withoutAddress formats v, its address as the same one always.
type withoutAddress struct{ v any }

func (w withoutAddress) Format(f fmt.State, verb rune) {
	if verb == addressVerb {
		_, _ = io.WriteString(f, "0xc000000000")
		return
	}
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), w.v)
}

// printfSize is at most about what fmt.Sprintf makes of the format: each verb as
// wide as the format says (fmt itself refuses more than a million), and the
// arguments as often as the format can name them.
func printfSize(format string, args []any) int {
	size, verbs := len(format), strings.Count(format, "%")
	const widest = 1_000_000
	if strings.ContainsRune(format, '*') {
		size = plus(size, times(verbs, widest))
	} else {
		number := 0
		for i := range len(format) {
			if c := format[i]; c >= '0' && c <= '9' {
				number = min(number*10+int(c-'0'), widest)
			} else {
				size, number = plus(size, number), 0
			}
		}
	}
	all, largest := 0, 0
	for _, a := range args {
		if s, ok := a.(string); ok {
			all, largest = plus(all, len(s)), max(largest, len(s))
		}
	}
	if strings.ContainsRune(format, '[') {
		return plus(size, times(verbs, largest))
	}
	return plus(size, all)
}

// boundedLists are functions whose result is a list or mapping that can be far
// larger than what they are given, or that take far longer than that is long.
func (r *rendering) boundedLists(f template.FuncMap) template.FuncMap {
	out := template.FuncMap{}
	count := func(name string, n, each int) error {
		if n > maxList {
			return fmt.Errorf("%s: more than %d elements", name, maxList)
		}
		return r.made(times(n, each))
	}
	parts := func(sep, s string) int {
		if sep == "" {
			return len(s)
		}
		return strings.Count(s, sep) + 1
	}
	if split, ok := f["split"].(func(string, string) map[string]string); ok {
		out["split"] = func(sep, s string) (map[string]string, error) {
			if err := count("split", parts(sep, s), 120); err != nil {
				return nil, err
			}
			return split(sep, s), nil
		}
	}
	if split, ok := f["splitn"].(func(string, int, string) map[string]string); ok {
		out["splitn"] = func(sep string, n int, s string) (map[string]string, error) {
			most := parts(sep, s)
			if n >= 0 {
				most = min(n, most)
			}
			if err := count("splitn", most, 120); err != nil {
				return nil, err
			}
			return split(sep, n, s), nil
		}
	}
	out["splitList"] = func(sep, s string) ([]string, error) {
		if err := count("splitList", parts(sep, s), 16); err != nil {
			return nil, err
		}
		return strings.Split(s, sep), nil
	}
	// Text is split, or found, at most once for each of its bytes.
	found := func(name string, find func(*regexp.Regexp, string, int) []string) func(string, string, int) ([]string, error) {
		return func(pattern, s string, n int) ([]string, error) {
			re, err := regexp.Compile(pattern)
			if err != nil {
				return []string{}, err
			}
			if n < 0 || n > maxList {
				if n = maxList; len(s) >= maxList {
					if list := find(re, s, n); len(list) >= maxList {
						return nil, count(name, maxList+1, 0)
					}
				}
				n = -1
			}
			list := find(re, s, n)
			return list, count(name, len(list), 16)
		}
	}
	out["regexFindAll"] = found("regexFindAll", (*regexp.Regexp).FindAllString)
	out["regexSplit"] = found("regexSplit", (*regexp.Regexp).Split)
	out["mustRegexFindAll"], out["mustRegexSplit"] = out["regexFindAll"], out["regexSplit"]
	if until, ok := f["until"].(func(int) []int); ok {
		out["until"] = func(n int) ([]int, error) {
			if n > maxList || n < -maxList {
				return nil, fmt.Errorf("until %d: at most %d", n, maxList)
			}
			if err := count("until", max(n, -n), 8); err != nil {
				return nil, err
			}
			return until(n), nil
		}
	}
	if untilStep, ok := f["untilStep"].(func(int, int, int) []int); ok {
		out["untilStep"] = func(start, stop, step int) ([]int, error) {
			// The numbers do not overflow: sprig counts on until it is past the end.
			const far = math.MaxInt / 4
			if max(start, stop, step) > far || min(start, stop, step) < -far {
				return nil, fmt.Errorf("untilStep %d %d %d: numbers up to %d", start, stop, step, far)
			}
			if step != 0 && (stop-start)/step > maxList {
				return nil, fmt.Errorf("untilStep %d %d %d: more than %d numbers", start, stop, step, maxList)
			}
			if step != 0 {
				if err := count("untilStep", max((stop-start)/step, 0), 8); err != nil {
					return nil, err
				}
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
	r.boundPairs(f, out)
	return out
}

// boundPairs bounds what compares elements of lists each with each.
func (r *rendering) boundPairs(f, out template.FuncMap) {
	short := func(name string, v any) error {
		if l := reflect.ValueOf(v); l.IsValid() && (l.Kind() == reflect.Slice || l.Kind() == reflect.Array) && l.Len() > maxEach {
			return fmt.Errorf("%s: more than %d elements", name, maxEach)
		}
		return r.step()
	}
	for _, name := range []string{"uniq", "mustUniq"} {
		fn := reflect.ValueOf(f[name])
		out[name] = func(v any) ([]any, error) {
			if err := short(name, v); err != nil {
				return nil, err
			}
			return listAndError(fn.Call([]reflect.Value{reflect.ValueOf(&v).Elem()}))
		}
	}
	for _, name := range []string{"without", "mustWithout"} {
		fn := reflect.ValueOf(f[name])
		out[name] = func(v any, omit ...any) ([]any, error) {
			if err := errors.Join(short(name, v), short(name, omit)); err != nil {
				return nil, err
			}
			return listAndError(fn.CallSlice([]reflect.Value{reflect.ValueOf(&v).Elem(), reflect.ValueOf(omit)}))
		}
	}
	if concat, ok := f["concat"].(func(...any) any); ok {
		out["concat"] = func(lists ...any) (any, error) {
			n := 0
			for _, l := range lists {
				if v := reflect.ValueOf(l); v.IsValid() && (v.Kind() == reflect.Slice || v.Kind() == reflect.Array) {
					n += v.Len()
				}
			}
			if n > maxList {
				return nil, fmt.Errorf("concat: more than %d elements", maxList)
			}
			return concat(lists...), nil
		}
	}
}

// listAndError are the results of a function that returns a list, and perhaps an error.
func listAndError(results []reflect.Value) ([]any, error) {
	list, _ := results[0].Interface().([]any)
	if len(results) == 1 {
		return list, nil
	}
	err, _ := results[1].Interface().(error)
	return list, err
}
