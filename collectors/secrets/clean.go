package secrets

import (
	"context"
	"errors"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
)

// CleanError returns err, of a release that could not be loaded, without the secrets
// that it shows: those of what was loaded, and those in given, the user's
// NAME=VALUE arguments.
func CleanError(ctx context.Context, err error, given []string) error {
	var le *chart.LoadError
	if !errors.As(err, &le) {
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
	text, n := r.text([]byte(le.Err.Error()))
	if n == 0 {
		return err
	}
	clean := *le
	clean.Err, clean.Loaded = errors.New(string(text)), nil
	return &clean
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
