package secrets

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
)

// CleanError returns err, of a release that could not be loaded, without the secrets
// that it shows: those of what was loaded, and those in given, the user's
// NAME=VALUE arguments. An error is for people, and nothing is derived from it: in it
// short secrets and words are replaced wherever they stand, too.
func CleanError(ctx context.Context, err error, given []string) error {
	var le *chart.LoadError
	if !errors.As(err, &le) || saysNames(le) {
		return err
	}
	// The rendering, if there is one, is what failed.
	rel := &chart.Release{}
	if l := le.Loaded; l != nil {
		rel.Info, rel.Record, rel.Files, rel.Values, rel.UserValues = l.Info, l.Record, l.Files, l.Values, l.UserValues
	}
	if rel.Values == nil {
		rel.Values = writtenValues(rel)
	}
	for i, text := range given {
		name, value, _ := strings.Cut(text, "=")
		key := name[strings.LastIndexAny(name, ".]}")+1:]
		values := map[string]any{key: value, key + "s": splitList(value)}
		rel.Values["given "+string(rune('a'+i%26))+strings.Repeat("+", i/26)] = values
	}
	_, r, bad := Scan(ctx, rel)
	if bad != nil {
		clean := *le
		clean.Err, clean.Loaded = errors.New("the reason cannot be shown: it could hold a secret"), nil
		return &clean
	}
	was := le.Err.Error()
	text, _ := r.text([]byte(was))
	out := r.withoutShort(quotedValues.ReplaceAllString(string(text), "${1}"+mask), rel)
	if le.Stage == chart.StageValues {
		out = withoutGiven(out, given)
	}
	if out == was {
		return err
	}
	clean := *le
	clean.Err, clean.Loaded = errors.New(out), nil
	return &clean
}

// saysNames reports whether an error says nothing of a chart, or nothing but plain names
// of other charts: of charts/* half can be libraries, and charts without their
// dependencies.
func saysNames(le *chart.LoadError) bool {
	var missing *chart.MissingError
	if errors.As(le.Err, &missing) {
		return !slices.ContainsFunc(missing.Names, func(name string) bool { return !chartName.MatchString(name) })
	}
	return le.Err == chart.ErrLibrary //nolint:errorlint // what wraps it says more
}

// chartName matches what charts are called, and no token.
var chartName = regexp.MustCompile("^[a-z0-9]+(-[a-z0-9]+)*$")

// quotedValues matches how decoders quote a value that they cannot read, whole or cut:
// of a file that is not understood nobody knows what in it is a secret.
var quotedValues = regexp.MustCompile("((?:cannot unmarshal !![a-z]+|unable to cast|unknown anchor|parsing) )(?:`[^`]*`|\"(?:[^\"\\\\]|\\\\.)*\"|'[^']*')")

// minShown is the length, in bytes, of values that are too short to be replaced
// wherever they stand.
const minShown = 3

// withoutShort replaces, as whole words, the secrets that are not replaced everywhere in
// what is sealed; those that name the chart or a file of it say where the error is.
func (r *Redactor) withoutShort(text string, rel *chart.Release) string {
	names := rel.Info.Chart
	for _, f := range rel.Files {
		names += "/" + f.Name
	}
	parts := strings.FieldsFunc(names, func(c rune) bool { return c == '/' || c == '.' })
	for v := range r.partial {
		if len(v) < minShown || slices.Contains(parts, v) {
			continue
		}
		for _, s := range append(cases(v), v) {
			text = replaceWord(text, s)
		}
		for s := range shortForms(v) {
			text = replaceWord(text, strings.TrimRight(s, "="))
		}
	}
	return text
}

// replaceWord replaces v in text by the mask, where no letter or number is beside it.
func replaceWord(text, v string) string {
	var out strings.Builder
	for from := 0; ; {
		i := strings.Index(text[from:], v)
		if i < 0 {
			return out.String() + text[from:]
		}
		i += from
		to := i + len(v)
		out.WriteString(text[from:i])
		if i > 0 && isAlphanumeric(text[i-1]) && isAlphanumeric(v[0]) || to < len(text) && isAlphanumeric(text[to]) && isAlphanumeric(v[len(v)-1]) {
			out.WriteString(v)
		} else {
			out.WriteString(mask)
		}
		from = to
	}
}

func isAlphanumeric(c byte) bool { return isWord(c) && c != '-' && c != '_' }

// withoutGiven replaces what the user gave as values: an error of reading an argument
// shows it, and its secrets are not known before it is read.
func withoutGiven(text string, given []string) string {
	var all []string
	for _, g := range given {
		_, value, ok := strings.Cut(g, "=")
		if !ok {
			value = g
		}
		all = append(all, value)
		all = append(all, strings.FieldsFunc(value, func(c rune) bool { return strings.ContainsRune(" \t\n\"'{}[]:,=", c) })...)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for _, v := range slices.Compact(all) {
		if v = strings.TrimSpace(v); len(v) >= minShown && !strings.Contains(mask, v) {
			text = strings.ReplaceAll(text, v, mask)
		}
	}
	return text
}

func splitList(value string) []any {
	var list []any
	for part := range strings.SplitSeq(value, ",") {
		list = append(list, part)
	}
	return list
}

// writtenValues are the values of the chart's files and the user's, not merged.
func writtenValues(rel *chart.Release) map[string]any {
	all := map[string]any{"user": rel.UserValues}
	for _, f := range rel.Files {
		if f.Name != "values.yaml" && !strings.HasSuffix(f.Name, "/values.yaml") {
			continue
		}
		var m map[string]any
		if err := yaml.Unmarshal(f.Data, &m); err == nil {
			all[f.Name] = m
		}
	}
	return all
}
