package secrets

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

var (
	// publicEntry matches names of Secret entries that say where or who, not with what.
	publicEntry = lazily(`(?i)(^|[-_.a-z0-9])(user|username|user[-_]?id|userId|adminUser|host|hostname|port|database|dbname|db[-_]name|region|bucket|endpoint|namespace|email|protocol|interface|verbose|selector|log[-_]?level|tenant[-_]?id|client[-_]?id|app[-_]?id|project[-_]?id|type)$|^(ca|tls)\.crt$|^ca\.pem$|^known_hosts$`)
	// switchValue matches values that no secret has.
	switchValue = lazily(`(?i)^(true|false|yes|no|on|off|null|none|[0-9]{1,5}|[0-9]{1,3}(\.[0-9]{1,3}){3}|debug|info|warn|error)$`)
)

// looksLikeConfig reports whether most lines of a text read like those of a
// configuration file or script, rather than like a key or an encoded blob.
func looksLikeConfig(text string) bool {
	lines, config := 0, 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		lines++
		if strings.ContainsAny(line, " :={}[]#") || line[0] == '<' && line[len(line)-1] == '>' {
			config++
		}
	}
	return lines > 0 && config*2 > lines
}

// jsonSecrets returns the texts of a JSON record, such as a Docker configuration,
// whose keys name a secret.
func jsonSecrets(text string) []string {
	t := strings.TrimSpace(text)
	if t == "" || t[0] != '{' && t[0] != '[' {
		return nil
	}
	v, err := decodeJSON([]byte(t))
	if err != nil {
		return nil
	}
	var out []string
	var walk func(v any, key string, depth int)
	walk = func(v any, key string, depth int) {
		if depth > 200 {
			return
		}
		switch x := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(x)) {
				walk(x[k], k, depth+1)
			}
		case []any:
			for _, e := range x {
				walk(e, key, depth+1)
			}
		case string:
			if key == "auth" { // base64 of user:password
				out = append(out, x)
				if plain, err := decodeBase64(x); err == nil {
					if _, password, ok := strings.Cut(string(plain), ":"); ok {
						out = append(out, password)
					}
				}
			} else if secretKey(key, x) {
				out = append(out, x)
			}
		}
	}
	walk(v, "", 0)
	return out
}

// yamlLines returns the line of each key and list item of the only document of
// raw, by its path joined with NUL. What does not parse has none.
func yamlLines(raw []byte) map[string]int {
	var doc yamlv3.Node
	if err := yamlv3.Unmarshal(raw, &doc); err != nil || len(doc.Content) == 0 {
		return nil
	}
	lines := map[string]int{}
	var walk func(n *yamlv3.Node, at string, depth int)
	walk = func(n *yamlv3.Node, at string, depth int) {
		if depth > 200 {
			return
		}
		switch n.Kind {
		case yamlv3.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				p := join(at, n.Content[i].Value)
				lines[p] = n.Content[i].Line
				walk(n.Content[i+1], p, depth+1)
			}
		case yamlv3.SequenceNode:
			for i, e := range n.Content {
				p := join(at, strconv.Itoa(i))
				lines[p] = e.Line
				walk(e, p, depth+1)
			}
		}
	}
	walk(doc.Content[0], "", 0)
	return lines
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "\x00" + key
}
