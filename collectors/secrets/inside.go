package secrets

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"

	ahocorasick "github.com/BobuSumisu/aho-corasick"

	"github.com/companyos/helmproof/collectors/chart"
)

// kind says how a text is read.
type kind int

const (
	inline kind = iota // one value: a variable, an argument, a connection string
	conf               // a configuration file: key and value in each line
	shell              // a script of a shell
	code               // any other program: texts without quotes are no literals
)

// kindOf tells from the name of a file, which may be unknown, and from its text.
func kindOf(name, text string) kind {
	switch strings.ToLower(path.Ext(name)) {
	case ".sh", ".bash", ".envrc":
		return shell
	case ".graphql", ".graphqls", ".gql", ".proto", ".thrift", ".avdl", ".py", ".js", ".ts", ".rb", ".lua", ".go", ".java", ".groovy", ".php", ".pl", ".cs", ".sql", ".ps1", ".tf", ".vcl", ".rego", ".kts", ".scala", ".ex", ".exs":
		return code
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".json", ".yaml", ".yml", ".xml", ".properties", ".conf", ".cfg", ".cnf", ".ini", ".toml", ".env", ".config", ".hcl":
		return conf
	}
	if first, _, ok := strings.Cut(text, "\n"); !ok {
		return inline
	} else if strings.HasPrefix(first, "#!") {
		if strings.HasSuffix(strings.TrimSpace(first), "sh") {
			return shell
		}
		return code
	}
	return conf
}

// part is a secret inside of a text, which stands in text[from:to] beside a key.
type part struct {
	from, to int
	key      string
}

// maxRead is how much is looked at for parts at once, in bytes: a ConfigMap holds no
// more. Where lines are longer than longLine, which no secret is, it is less: what is
// looked for goes back to the beginning of its line.
const (
	maxRead  = 1 << 20
	longLine = 32 << 10
	around   = 4 << 10 // what is seen before and after a piece
)

// parts returns the secrets inside of a text, in order: passwords in addresses, what
// is assigned to a name that says secret, options, headers, and what files of their
// own kinds hold.
func parts(text, name string) []part {
	k, size := kindOf(name, text), maxRead
	if len(text) > longLine {
		for line := range strings.Lines(text) {
			if len(line) > longLine {
				size = longLine
			}
		}
	}
	if len(text) <= size {
		return partsOf(text, name, k)
	}
	var out []part
	for from := 0; from < len(text); from += size {
		begin, end := max(0, from-around), min(len(text), from+size+around)
		for _, p := range partsOf(text[begin:end], name, k) {
			p.from, p.to = p.from+begin, p.to+begin
			if p.from >= from && p.from < from+size && (len(out) == 0 || p.from >= out[len(out)-1].to) {
				out = append(out, p)
			}
		}
	}
	return out
}

func partsOf(text, name string, k kind) []part {
	if len(text) < 4 {
		return nil
	}
	r := reading{text: text, name: name, kind: k}
	r.addresses()
	r.words()
	r.accounts(name)
	if k == inline || k == shell {
		r.tools()
	}
	slices.SortStableFunc(r.found, func(a, b part) int { return cmp.Or(a.from-b.from, b.to-a.to) })
	out := r.found[:0]
	for _, p := range r.found {
		if n := len(out); n > 0 && p.from < out[n-1].to {
			continue // inside of the one before
		}
		out = append(out, p)
	}
	return out
}

// reading is the search in one text.
type reading struct {
	text  string
	name  string // of the file, which may be unknown
	kind  kind
	found []part
}

func (r *reading) add(from, to int, key string) {
	if from < to && (r.kind == inline || !r.isComment(from)) && !isMade(r.text[from:to]) {
		r.found = append(r.found, part{from, to, key})
	}
}

// isMade reports whether rendering made a value up: charts put a letter before it.
func isMade(v string) bool {
	return chart.IsGenerated(v) || len(v) > 8 && (chart.IsGenerated(v[1:]) || chart.IsGenerated(v[2:]))
}

// isComment reports whether what stands at i is part of a comment.
func (r *reading) isComment(i int) bool {
	from := strings.LastIndexByte(r.text[:i], '\n') + 1
	line := strings.TrimLeft(r.text[from:i], " \t")
	if strings.HasPrefix(line, "//") {
		return !strings.Contains(line+"_", "/:_") // .npmrc has addresses there
	}
	for _, sign := range []string{"#", ";", "-- ", "! ", "* ", "/*", "<!--"} {
		if strings.HasPrefix(line, sign) {
			return true
		}
	}
	return strings.Contains(line, " #") && strings.Count(line, `"`)%2 == 0 && strings.Count(line, "'")%2 == 0
}

// words looks at each word that may say secret.
func (r *reading) words() {
	done := 0
	secretWords().Walk(lowerASCII(r.text), func(end, n, _ int64) bool {
		at := int(end-n) + 1
		if at < done {
			return true
		}
		from, to := at, int(end)+1
		for from > done && isName(r.text[from-1]) && to-from < 100 {
			from--
		}
		for to < len(r.text) && isName(r.text[to]) && to-from < 100 {
			to++
		}
		for from < to && (r.text[from] == '-' || r.text[from] == '.') {
			from++
		}
		done = max(to, r.word(from, to))
		return true
	})
}

// secretWords are the words that names of secrets have, and headers and commands
// with one.
var secretWords = sync.OnceValue(func() *ahocorasick.Trie {
	return ahocorasick.NewTrieBuilder().AddStrings([]string{
		"pass", "pwd", "psw", "pw", "secret", "token", "key", "credential", "creds", "connection", "auth", "cookie", "bearer", "basic", "identified", "sig",
	}).Build()
})

// word looks at one name, text[from:to], and returns where the value ends that was
// taken for its secret, or 0.
func (r *reading) word(from, to int) int {
	key := r.text[from:to]
	switch strings.ToLower(key) {
	case "bearer", "basic":
		return r.scheme(to, key)
	case "identified":
		return r.identified(to)
	}
	if strings.HasSuffix(strings.ToLower(key), "authorization") {
		return r.authorization(to)
	}
	if v, ok := r.fallback(from, to); ok && fileSecret(key, r.text[v.from:v.to]) {
		r.add(v.from, v.to, key)
		return v.to
	}
	v, ok := r.assigned(from, to)
	if !ok || r.kind != inline && r.isComment(from) {
		return 0
	}
	value := r.text[v.from:v.to]
	if r.isSecret(key, value, v) && (!isProse(value) || !isTranslation(r.name, r.text)) {
		r.add(v.from, v.to, key)
		return v.to
	}
	return 0
}

// isSecret judges an assignment.
func (r *reading) isSecret(key, value string, v value) bool {
	value = strings.TrimSpace(value)
	lower := strings.ToLower(key)
	switch {
	case value == "":
		return false
	case orElse(value) != value:
		return fileSecret(key, value)
	case lower == "auth" || lower == "_auth":
		return isAccount(value)
	case lower == "sig":
		return madeAtRandom(unescaped(value))
	case r.kind == inline && !v.quoted && v.spaced && !v.option && !v.named && !r.inNetrc(v.key):
		return false // prose
	case r.kind != inline && !v.quoted && v.operator == ':' && v.spaced && !v.named && !r.startsLine(v.key) && !mixed(value):
		return false // prose
	case hasAny(value, "$(", "{{", "<%") || strings.HasPrefix(value, "${") && (filledIn(value) || strings.ContainsAny(value, "\"'`") || !strings.Contains(value, "}")) || r.kind == shell && !v.quoted && value[0] == '(':
		return false // filled in, with quotes inside; an array
	case r.kind != inline && strings.HasPrefix(value, "<<") || v.bare && strings.HasPrefix(value, "-"):
		return false // a here-document; the next option
	case v.key > 0 && r.text[v.key-1] == '=' && v.operator == ':', !v.quoted && v.spaced && value[0] == '#':
		return false // zone=token:10m; a comment
	case v.operator == ':' && lookup.MatchString(r.text[max(0, v.key-30):v.key]):
		return false // where it is, in a store
	case len(pattern.FindAllStringSubmatchIndex(value, 2)) > 1 || (r.kind == shell || r.kind == code || strings.Contains(value, "(?")) && pattern.MatchString(value):
		return false
	case strings.HasPrefix(value, "=") || strings.HasPrefix(value, "~") || strings.HasPrefix(value, "//"):
		return false
	case !v.quoted && (r.kind != inline || v.named) && (value[0] == '{' || value[0] == '[' || strings.Trim(value, "{}[]()|>&*,;") == "" || (value[0] == '&' || value[0] == '!') && strings.Contains(value, " ")):
		return false // a structure
	case !v.quoted && call.MatchString(value):
		return false
	case r.kind == code && (!v.quoted || sameWord(key, value)):
		return false
	case r.kind == shell && !v.quoted && v.operator == ':' && !looksRandom(value):
		return false
	case v.bare && (capitals.MatchString(value) || !v.quoted && r.kind != inline && !mixed(value) && !takesWord.MatchString(key) && !r.inNetrc(v.key) && !r.isTold(v)):
		return false // "--token TOKEN" in a usage, "password to use" in a text
	case r.kind == inline && !v.quoted && v.operator == ':' && !mixed(value) && !v.named:
		return false
	}
	if r.kind == inline && (!v.option || !strings.HasSuffix(lower, "secret")) {
		return literalSecret(key, value)
	}
	return fileSecret(key, value)
}

// isTold reports whether an option is one of a command that a script runs: the usage that
// it prints begins with the option, or is written by echo.
func (r *reading) isTold(v value) bool {
	if r.kind != shell || !v.option {
		return false
	}
	start := strings.LastIndexByte(r.text[:v.key], '\n') + 1
	words := strings.Fields(r.text[start:v.key])
	if len(words) == 0 || strings.HasPrefix(words[0], "-") {
		return strings.HasSuffix(strings.TrimRight(r.text[:start], " \t\r\n"), `\`) // goes on
	}
	return !usage.MatchString(words[0])
}

var usage = lazily(`(?i)^(echo|printf|usage|cat|log|\W+.*)$|:$`)

// fileSecret is secretKey for files: few say there where a Secret is.
func fileSecret(key, value string) bool {
	if !literalSecret(key, value) || saysNothing(key, value) {
		return false
	}
	last := key[strings.LastIndexByte(key, '.')+1:]
	return (!keyName.MatchString(key) || !camelWord.MatchString(value) || placeholder.MatchString(value)) &&
		(!strings.EqualFold(last, "secret") || !namesObject(value))
}

var (
	call = lazily(`^[A-Za-z_$][\w.$>:-]*[(\[].*$`)
	// pattern matches regular expressions.
	pattern = lazily(`\.[*+]|\(\?[a-z:=!<]|\[\^|\\[KwSd]`)
	// takesWord matches directives whose value may be any word.
	takesWord = lazily(`(?i)^(requirepass|masterauth|primaryauth)$`)
	capitals  = lazily(`^[A-Z][A-Z_]+$`)
)

// mixed reports whether a text has more than letters in it.
func mixed(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' })
}

// sameWord is password = "password", as programs have it for names of fields.
func sameWord(key, value string) bool {
	key = key[strings.LastIndexAny(key, ".")+1:]
	return strings.EqualFold(key, value) || identifier.MatchString(value) && namesSecret(value)
}

var identifier = lazily(`^[a-z]+(_[a-z]+)*$|^[a-z]+([A-Z][a-z]+)*$`)

// value is what is assigned to a key, text[from:to].
type value struct {
	from, to int
	key      int  // where its key begins
	named    bool // the key has quotes
	quoted   bool
	operator byte // '=', ':', '>' of an XML element, or 0 for none
	spaced   bool // there is space after the operator
	bare     bool // there is nothing but space between
	option   bool // the key has dashes before it
}

// assigned returns the value of the key text[from:to].
func (r *reading) assigned(from, to int) (value, bool) {
	t := r.text
	v := value{key: from, option: from > 0 && t[from-1] == '-' && !r.atLineStartList(from)}
	closed := skipAny(t, to, `\"'`)
	v.named = closed > to
	i := skipAny(t, closed, "])")
	j := skipAny(t, i, " \t")
	switch {
	case j >= len(t):
		return v, false
	case strings.HasPrefix(t[j:], "=>"), strings.HasPrefix(t[j:], ":="):
		v.operator, j = '=', j+2
	case t[j] == '=' || t[j] == ':' && !hasAny(t[j+1:], ":", "-", "?", "+", "//"):
		v.operator, j = t[j], j+1
	case t[j] == '>' && (r.isTag(from) || closed > to && nameBefore.MatchString(t[max(0, from-40):from])), closed == to && j > to && r.isTag(from) && tagEnd(t, j) > 0:
		if t[j] != '>' {
			j = tagEnd(t, j)
		}
		end := strings.IndexByte(t[j+1:], '<')
		if end < 0 || !strings.HasPrefix(t[j+1+end:], "</") {
			return v, false
		}
		v.from, v.to, v.operator, v.quoted = j+1, j+1+end, '>', true
		return r.trimmed(v)
	case closed > to && strings.HasPrefix(t[j:], ",") && strings.HasSuffix(strings.TrimRight(t[:max(0, from-1)], " "), "define("):
		v.operator, j = '=', j+1
	default:
		if at, ok := r.pairValue(from, to, closed); ok {
			v.operator, j = '=', at
			break
		}
		if closed > to || j == i || j >= len(t) || t[j] == '\n' {
			return v, false
		}
		// "--password x", "requirepass x", PASSWORD 'x'.
		v.bare = true
		if !v.option && (t[j] != '\'' || !strings.EqualFold(t[from:to], "password")) && !(r.kind == conf && r.startsLine(from) && r.oneWordLeft(j)) && !r.inNetrc(from) {
			return v, false
		}
	}
	start := skipAny(t, j, " \t")
	v.spaced = start > j || v.bare
	return r.valueAt(v, from, start)
}

// atLineStartList reports whether the dash before a key is that of a YAML list.
func (r *reading) atLineStartList(from int) bool {
	line := r.text[strings.LastIndexByte(r.text[:from], '\n')+1 : from]
	return strings.TrimLeft(line, " ") == "-" && r.kind == conf
}

// valueAt reads the value at start: quoted, or up to what ends it there.
func (r *reading) valueAt(v value, key, start int) (value, bool) {
	t := r.text
	if tag := strings.HasPrefix(t[start:], "!!str ") || strings.HasPrefix(t[start:], "!!binary "); tag {
		start += strings.IndexByte(t[start:], ' ') + 1
	}
	if len(t) > start+1 && (t[start] == 'u' || t[start] == 'b' || t[start] == 'r') && (t[start+1] == '"' || t[start+1] == '\'') {
		start++
	}
	slashes := start
	for slashes < len(t) && t[slashes] == '\\' {
		slashes++
	}
	if slashes < len(t) && t[slashes] == '`' && r.kind != code {
		return v, false // a command
	}
	if slashes < len(t) && strings.IndexByte("\"'`", t[slashes]) >= 0 {
		if end := closing(t, slashes, t[start:slashes+1]); end > 0 {
			v.from, v.to, v.quoted = slashes+1, end, true
			return r.trimmed(v)
		}
		if slashes > start {
			return v, false
		}
		start++
	}
	v.from = start
	if r.kind == conf && v.operator == ':' && isBlockSign(t[start:lineEnd(t, start)]) {
		return r.blockValue(v, key)
	}
	v.to = start + r.bareEnd(t[start:lineEnd(t, start)], v, key)
	return r.trimmed(v)
}

// trimmed is a value without the space around it, of whatever kind: what looks at
// values has none of it either.
func (r *reading) trimmed(v value) (value, bool) {
	text := r.text[v.from:v.to]
	v.from = v.to - len(strings.TrimLeftFunc(text, unicode.IsSpace))
	v.to = v.from + len(strings.TrimSpace(text))
	return v, v.from < v.to
}

// bareEnd is where a value without quotes ends in the rest of its line.
func (r *reading) bareEnd(rest string, v value, key int) int {
	before := strings.TrimRight(r.text[:key], " \t\"'-")
	last := byte('\n')
	if before != "" {
		last = before[len(before)-1]
	}
	first := last == '\n' || r.startsLine(key)
	ends := " \t\r\n;,\"'`"
	switch {
	case r.kind == shell:
		ends = " \t\r\n;&|\"'`<>)"
	case r.kind == conf && first && !v.bare:
		if i := strings.Index(rest, " #"); i >= 0 {
			rest = rest[:i]
		}
		return len(strings.TrimRight(rest, " \t\r\n,\"'"))
	case r.kind == inline && before == "" && !moreFields.MatchString(rest):
		return len(rest) // all of an argument, whatever is in it
	case last == '?' || last == '&':
		ends = " \t\r\n&\"'`<>;"
		if strings.Contains(r.text[:key], "&amp;") {
			ends = " \t\r\n&\"'`<>"
		}
	case last == ';' || first && fields.MatchString(rest):
		ends = ";\r\n\"'"
	case v.option:
		ends = " \t\r\n\"'`"
	case last == '{':
		ends = "},\r\n"
	}
	if i := strings.IndexAny(rest, ends); i >= 0 {
		return i
	}
	return len(rest)
}

// moreFields matches the rest of "password=x user=y".
var moreFields = lazily(`[;,&\s]\s*[A-Za-z][\w .-]*[=:]|\s`)

// fields matches the rest of "password=x;server=y".
var fields = lazily(`^[^;"']*;\s*[A-Za-z][A-Za-z ]*=`)

// startsLine reports whether nothing but what may stand before a key is on its line.
func (r *reading) startsLine(key int) bool {
	line := strings.TrimLeft(r.text[strings.LastIndexByte(r.text[:key], '\n')+1:key], " \t\"'-$")
	switch line {
	case "", "export ", "set ", "ENV ", "SET ", "exportr ":
		return true
	}
	return strings.HasPrefix(line, "//") && strings.HasSuffix(line, ":")
}

// oneWordLeft reports whether what is left of the line is one word.
func (r *reading) oneWordLeft(i int) bool {
	return len(strings.Fields(r.text[i:lineEnd(r.text, i)])) == 1
}

// inNetrc reports whether a key stands in an entry of a .netrc.
func (r *reading) inNetrc(key int) bool {
	before := r.text[max(0, key-300):key]
	return strings.Contains(before, "login ") && (strings.Contains(before, "machine ") || strings.Contains(before, "default "))
}

// pairValue returns where the value stands whose name is text[from:to]:
// {name: X, value: Y}, <property name="x" value="y">, <name>x</name><value>y</value>.
func (r *reading) pairValue(from, to, closed int) (int, bool) {
	after := r.text[to:min(len(r.text), closed+100)]
	before := r.text[max(0, from-40):from]
	if !strings.Contains(after, "alue") || !nameBefore.MatchString(before) && !(strings.EqualFold(r.text[from:to], "password") && typeBefore.MatchString(before)) {
		return 0, false
	}
	m := valueAfter.FindStringSubmatch(after)
	if m == nil {
		return 0, false
	}
	return to + len(m[0]), true
}

var (
	nameBefore = lazily(`(?:[Nn]ame|[Kk]ey)(?:\\?["']?\s*[:=]\s*\\?["']?|>\s*)$`)
	// typeBefore is that of {type: password, value: Y}, as Keycloak has it.
	typeBefore = lazily(`[Tt]ype\\?["']?\s*[:=]\s*\\?["']?$`)
	valueAfter = lazily(`^(?:\\?["']?[\s,]*(?:-\s+)?\\?["']?value\\?["']?\s*[:=][ \t]*|\s*</(?:[Nn]ame|[Kk]ey)>\s*<[Vv]alue>)`)
)

func (r *reading) isTag(from int) bool { return from > 0 && r.text[from-1] == '<' }

// tagEnd is where the XML tag ends whose attributes stand at i, or 0.
func tagEnd(t string, i int) int {
	end := strings.IndexAny(t[i:min(len(t), i+300)], "<>")
	if end < 0 || t[i+end] != '>' || end > 0 && t[i+end-1] == '/' {
		return 0
	}
	return i + end
}

func isBlockSign(s string) bool {
	s = strings.TrimSpace(s)
	return s == "|" || s == ">" || s == "|-" || s == ">-" || s == "|+" || s == ">+"
}

// blockValue is the first line of a YAML block.
func (r *reading) blockValue(v value, key int) (value, bool) {
	t := r.text
	indent := func(i int) int { return skipAny(t, i, " ") - i }
	lineStart := strings.LastIndexByte(t[:key], '\n') + 1
	next := lineEnd(t, v.from)
	if next >= len(t) || indent(next) <= indent(lineStart) {
		return v, false
	}
	v.from, v.to, v.quoted = next, lineEnd(t, next), true
	v, ok := r.trimmed(v)
	return v, ok && !strings.HasPrefix(t[v.from:], "-----")
}

// scheme looks at what follows Bearer and Basic.
func (r *reading) scheme(i int, name string) int {
	start := skipAny(r.text, i, " \t")
	end := start
	for end < len(r.text) && (isName(r.text[end]) || strings.IndexByte("~+/=", r.text[end]) >= 0) {
		end++
	}
	token := r.text[start:end]
	basic := strings.EqualFold(name, "basic")
	if start == i || len(token) < 8 || basic && !isAccount(token) || !basic && (!mixed(token) || !strings.ContainsAny(token, "0123456789") || pointsElsewhere(token)) {
		return 0
	}
	r.add(start, end, name)
	return end
}

// authorization looks at other schemes than Bearer and Basic in a header.
func (r *reading) authorization(i int) int {
	m := otherScheme.FindStringSubmatch(r.text[i:min(len(r.text), i+300)])
	if m == nil || !mixed(m[2]) || pointsElsewhere(m[2]) {
		return 0
	}
	r.add(i+len(m[1]), i+len(m[0]), "authorization")
	return i + len(m[0])
}

var otherScheme = lazily(`^(\\?["']?\s*[:=]?\s*\\?["']?(?i:token|apikey|api-key|splunk|key|genieKey|sso-key)\s+)([A-Za-z0-9._~+/=-]{8,})`)

// identified looks at IDENTIFIED BY 'password'.
func (r *reading) identified(i int) int {
	m := identifiedBy.FindStringSubmatch(r.text[i:min(len(r.text), i+300)])
	if m == nil || !literalSecret("password", m[2]) {
		return 0
	}
	r.add(i+len(m[1]), i+len(m[1])+len(m[2]), "IDENTIFIED BY")
	return i + len(m[0])
}

var identifiedBy = lazily(`^((?i:\s+(?:with\s+\S+\s+)?by\s+)['"])([^'"\n]+)['"]`)

func skipAny(t string, i int, chars string) int {
	for i < len(t) && strings.IndexByte(chars, t[i]) >= 0 {
		i++
	}
	return i
}

func hasAny(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// closing is where the text ends whose quote, with backslashes before it, stands at
// i: on the same line, or -1.
func closing(t string, i int, quote string) int {
	q := t[i]
	for j := i + 1; j < len(t) && t[j] != '\n'; j++ {
		switch {
		case len(quote) > 1 && strings.HasPrefix(t[j:], quote):
			return j
		case len(quote) > 1:
		case t[j] == '\\' && q == '"':
			j++
		case t[j] == '\'' && q == '\'' && j+1 < len(t) && t[j+1] == '\'':
			j++
		case t[j] == q:
			return j
		}
	}
	return -1
}
