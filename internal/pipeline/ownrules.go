package pipeline

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/internal/manifest"
)

// free refuses what the user judges by where a secret of the chart stands in it: it
// is sealed as it is, and never altered by what a chart says. Short values and
// everyday words are no reason.
func (r Rules) free(red *secrets.Redactor) error {
	builtin := BuiltinRules()
	own := map[string][]byte{cmp.Or(r.From.Waivers, chartWaivers): r.WaiversRaw}
	if r.file() {
		own[r.From.Profile] = r.ProfileRaw
	}
	if r.From.Policies != "" {
		own[r.From.Policies] = r.Policies
	}
	for file, raw := range own {
		where, at, found := red.Find(raw, builtin)
		if !found {
			// Escapes and folded lines are another spelling of the same text.
			where, _, found = red.Find(spoken(raw), builtin)
		}
		if !found {
			continue
		}
		if file == r.From.Policies {
			file = policyFile(file, raw[:at])
		}
		clean, _ := red.Redact([]byte(where)) // a key may be a secret, too
		return inputErr("%s holds a secret of the chart, %s: what releases are judged by is sealed in clear; take the secret out of it", file, clean)
	}
	return nil
}

// spoken is all texts of YAML documents, as they are once they are parsed. What
// cannot be parsed is refused elsewhere.
func spoken(raw []byte) []byte {
	var out []byte
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			out = append(append(out, v...), '\n')
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(k)
				walk(v[k])
			}
		}
	}
	for d := range manifest.Documents(raw) {
		if v, err := manifest.Decode(d.Text); err == nil {
			walk(v)
		}
	}
	return out
}

// policyFile is the last file of the folder dir that starts in raw, with its line.
func policyFile(dir string, raw []byte) string {
	const source = "\n# Source: "
	i := bytes.LastIndex(raw, []byte(source))
	if i < 0 {
		return dir
	}
	name, _, _ := strings.Cut(string(raw[i+len(source):]), "\n")
	if n := strings.LastIndexByte(name, ':'); n > 0 {
		name = name[:n]
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

// BuiltinRules is all that helmproof judges by itself: no secret of anybody.
var BuiltinRules = sync.OnceValue(func() []byte {
	catalog, _ := config.Catalog()
	all := [][]byte{catalog}
	if raw, err := policy.Bundle(""); err == nil {
		all = append(all, raw)
	}
	for _, name := range config.Profiles() {
		if raw, _, err := config.Profile(name); err == nil {
			all = append(all, raw)
		}
	}
	return bytes.Join(all, []byte("\n"))
})
