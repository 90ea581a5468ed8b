package chart

import (
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/internal/nearest"
)

// UnknownValue is a key that somebody set, which nothing in the chart speaks of.
type UnknownValue struct {
	Key   string // "imgae.tag"
	Meant string // a key of values.yaml that is nearly the same; may be empty
}

// UnknownValues returns the keys of --set, --set-string and --set-json that the chart
// does not know, in their order: neither its values.yaml has them nor does any of its
// templates name them. Of a chart with a schema it returns nothing: the schema says what
// is allowed. What lies in an empty mapping, in a list or in global is free, and what a
// subchart is given is judged by the subchart's own files.
func (r *Release) UnknownValues(o LoadOptions) []UnknownValue {
	var out []UnknownValue
	look := func(raw string, parse func(string) (map[string]any, error)) {
		set, err := parse(raw)
		if err != nil {
			return // loading the chart says so
		}
		for _, u := range r.unknownIn("", set) {
			if !slices.Contains(out, u) {
				out = append(out, u)
			}
		}
	}
	for _, raw := range slices.Concat(o.Set, o.SetString) {
		look(raw, strvals.Parse)
	}
	for _, raw := range o.SetJSON {
		look(raw, func(s string) (map[string]any, error) {
			set := map[string]any{}
			if strings.HasPrefix(strings.TrimSpace(s), "{") {
				return set, yaml.Unmarshal([]byte(s), &set)
			}
			return set, strvals.ParseJSON(s, set)
		})
	}
	return out
}

// unknownIn looks in the chart whose files lie under prefix.
func (r *Release) unknownIn(prefix string, set map[string]any) []UnknownValue {
	defaults := map[string]any{}
	var comments []byte
	var templates [][]byte
	subcharts := map[string]bool{}
	for _, f := range r.Files {
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok {
			continue
		}
		switch sub, below := strings.CutPrefix(name, "charts/"); {
		case name == "values.schema.json":
			return nil
		case name == "values.yaml":
			if yaml.Unmarshal(f.Data, &defaults) != nil {
				return nil // loading the chart says so
			}
			comments = f.Data
		case name == "Chart.yaml":
			templates = append(templates, f.Data) // conditions, tags and aliases of subcharts
		case below:
			sub, _, _ = strings.Cut(sub, "/")
			subcharts[sub] = true
			templates = append(templates, f.Data) // what a library's templates read
		default:
			templates = append(templates, f.Data)
		}
	}
	var out []UnknownValue
	for _, key := range sortedKeys(set) {
		value, mapping := set[key].(map[string]any)
		if key == "global" || key == "tags" {
			continue
		}
		if subcharts[key] && mapping {
			for _, u := range r.unknownIn(prefix+"charts/"+key+"/", value) {
				u.Key = key + "." + u.Key
				if u.Meant != "" {
					u.Meant = key + "." + u.Meant
				}
				out = append(out, u)
			}
			continue
		}
		out = append(out, unknownAt("", map[string]any{key: set[key]}, defaults, texts{comments, templates})...)
	}
	return out
}

// texts are what may speak of a value besides the defaults: values.yaml, whose comments
// may, and the chart's other files.
type texts struct {
	values []byte
	other  [][]byte
}

// name reports whether the texts have the key: as an example in a comment, after
// .Values or quoted; below the top also as any word, since templates pass mappings on.
func (t texts) name(key string, top bool) bool {
	k := regexp.QuoteMeta(key)
	pattern := `(^|[^\w-])` + k + `($|[^\w-])`
	if top {
		pattern = `Values\.` + k + `($|[^\w-])|["'` + "`" + `]` + k + `["'` + "`" + `]|(?m:^\s*(condition|alias|- name|name):.*\b` + k + `\b)`
	}
	word, err := regexp.Compile(pattern)
	comment, err2 := regexp.Compile(`(?m)^\s*#+\s*` + k + `:`)
	return err != nil || err2 != nil || comment.Match(t.values) || slices.ContainsFunc(t.other, word.Match)
}

// unknownAt compares what was set at a place of the values with the defaults there.
func unknownAt(at string, set, defaults map[string]any, t texts) []UnknownValue {
	var out []UnknownValue
	for _, key := range sortedKeys(set) {
		was, known := defaults[key]
		below, isMap := set[key].(map[string]any)
		table, hasTable := was.(map[string]any)
		switch {
		case known && isMap && hasTable && len(table) > 0:
			out = append(out, unknownAt(at+key+".", below, table, t)...)
		case known:
		case !t.name(key, at == ""):
			u := UnknownValue{Key: at + key}
			if like := nearest.Of(key, sortedKeys(defaults)); like != "" {
				u.Meant = at + like
			}
			out = append(out, u)
		}
	}
	return out
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
