package kubebench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"io"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// redactedCheck is one check with values taken out.
type redactedCheck struct {
	check  string
	values int
}

var (
	assignment = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)
	// anywhere is an assignment or a flag with a telling name, in a command line or
	// a configuration file. Paths stay: the checks are about them.
	telling = regexp.MustCompile(`(?i)((?:password|passwd|secret|token|api-?key|credential)[a-z0-9_-]*["']?\s*[=:]\s*["']?)([^\s"',/][^\s"',]*)`)
	// userinfo is the password of a URL.
	userinfo = regexp.MustCompile(`(://[^/\s:@"']*:)([^/\s@"']+)(@)`)
	inText   = regexp.MustCompile(`\b([A-Za-z_][A-Za-z0-9_]*)=\S+`)
)

// plainReasons are the reasons that kube-bench gives without quoting anything.
var plainReasons = []string{"", "There are no tests", "Test marked as skip", "Test marked as a manual test", "No tests defined"}

// span is a JSON string in the output whose text came from the node.
type span struct {
	from, to int
	key      string
	text     string
	check    *int // index of the check that it belongs to; shared
}

// redact takes the values out of the process environments that kube-bench
// prints: a check with AuditEnv shows, as its actual_value and in its reason, the
// whole environment of etcd, the API server … Names stay, values go, and with
// them every other place where one of the values stands; so do values behind
// telling names (password, token …) and passwords in URLs in other checks. All other bytes stay as
// they are: where nothing is to be redacted the result is raw itself.
func redact(raw []byte) ([]byte, []redactedCheck, error) {
	spans, checks, err := nodeTexts(raw)
	if err != nil {
		return nil, nil, err
	}
	counts := make([]int, len(checks))
	secrets := map[string]bool{}
	texts := make([]string, len(spans))
	for i, s := range spans {
		texts[i] = s.text
		if !checks[*s.check].env {
			continue
		}
		n := 0
		if s.key == "reason" {
			if !slices.Contains(plainReasons, s.text) {
				texts[i], n = redacted, 1
			}
		} else {
			texts[i], n = redactEnvironment(s.text, secrets)
		}
		counts[*s.check] += n
	}
	for i, s := range spans {
		if checks[*s.check].env {
			continue
		}
		n := 0
		for _, v := range sortedByLength(secrets) {
			n += strings.Count(texts[i], v)
			texts[i] = strings.ReplaceAll(texts[i], v, redacted)
		}
		texts[i] = telling.ReplaceAllStringFunc(texts[i], func(m string) string {
			p := telling.FindStringSubmatch(m)
			if p[2] == redacted || slices.Contains([]string{"true", "false", "null"}, p[2]) {
				return m
			}
			n++
			return p[1] + redacted
		})
		texts[i] = userinfo.ReplaceAllStringFunc(texts[i], func(m string) string {
			p := userinfo.FindStringSubmatch(m)
			if p[2] == redacted {
				return m
			}
			n++
			return p[1] + redacted + p[3]
		})
		counts[*s.check] += n
	}
	var out bytes.Buffer
	at := 0
	for i, s := range spans {
		if texts[i] == s.text {
			continue
		}
		quoted, err := json.Marshal(texts[i])
		if err != nil {
			return nil, nil, err
		}
		out.Write(raw[at:s.from])
		out.Write(quoted)
		at = s.to
	}
	var list []redactedCheck
	for i, n := range counts {
		if n > 0 {
			list = append(list, redactedCheck{jobrun.OneLine(checks[i].id, 64), n})
		}
	}
	if at == 0 {
		return raw, list, nil
	}
	out.Write(raw[at:])
	return out.Bytes(), list, nil
}

// redactEnvironment keeps the names of NAME=value lines. What is no such line is
// the rest of a value, or a process's command line: it goes as a whole.
func redactEnvironment(text string, secrets map[string]bool) (string, int) {
	if strings.TrimSpace(text) == "" {
		return text, 0
	}
	n := 0
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		m := assignment.FindStringSubmatch(line)
		switch {
		case strings.TrimSpace(line) == "" || m != nil && m[2] == "":
			continue
		case m != nil:
			lines[i] = m[1] + "=" + redacted
			if v := strings.TrimSpace(m[2]); len(v) >= 8 && !strings.HasPrefix(v, "/") {
				secrets[v] = true
			}
		default:
			lines[i] = redacted
		}
		n++
	}
	return strings.Join(lines, "\n"), n
}

func sortedByLength(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for s := range m {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return out
}

// redactAssignments takes the values out of a message that may quote a command line.
func redactAssignments(s string) string { return inText.ReplaceAllString(s, "$1="+redacted) }

// checkInfo is what decides how an object's texts are redacted.
type checkInfo struct {
	id  string
	env bool
}

// frame is an open object or array.
type frame struct {
	object bool
	key    string
	isKey  bool // the next string is a key
	check  int
}

// nodeTexts finds the strings that came from the node, by their place in raw. It
// looks at keys as encoding/json does, whatever their case, and believes every
// one of several AuditEnv.
func nodeTexts(raw []byte) ([]span, []checkInfo, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var spans []span
	var checks []checkInfo
	var stack []frame
	closed := false
	for {
		from := int(dec.InputOffset())
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("what kube-bench printed is not JSON: %w", err)
		}
		if closed {
			return nil, nil, errors.New("what kube-bench printed is more than one JSON document")
		}
		to := int(dec.InputOffset())
		var top *frame
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			stack = stack[:len(stack)-1]
			closed = len(stack) == 0
			continue
		}
		if top != nil && top.isKey {
			top.key, top.isKey = tok.(string), false
			continue
		}
		if top != nil && top.object {
			top.isKey = true
			c := &checks[top.check]
			text, isText := tok.(string)
			switch {
			case strings.EqualFold(top.key, "AuditEnv") && tok != nil && (!isText || text != ""):
				c.env = true
			case strings.EqualFold(top.key, "test_number"):
				c.id = text
			case !strings.EqualFold(top.key, "actual_value") && !strings.EqualFold(top.key, "reason") || tok == nil:
			case !isText:
				return nil, nil, fmt.Errorf("what kube-bench printed is not its JSON: %s is no text", strings.ToLower(top.key))
			default:
				check := top.check
				spans = append(spans, span{
					from: from + bytes.IndexByte(raw[from:to], '"'), to: to, key: strings.ToLower(top.key), text: text, check: &check,
				})
			}
		}
		if d, ok := tok.(json.Delim); ok {
			f := frame{object: d == '{', isKey: d == '{'}
			if f.object {
				f.check = len(checks)
				checks = append(checks, checkInfo{})
			}
			stack = append(stack, f)
		} else if top == nil {
			closed = true
		}
	}
	if !closed {
		return nil, nil, errors.New("what kube-bench printed is not JSON: it is empty or cut off")
	}
	return spans, checks, nil
}
