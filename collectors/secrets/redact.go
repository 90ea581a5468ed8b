package secrets

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"index/suffixarray"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/manifest"
)

// Redactor replaces the secrets of one release in all that is written about it.
//
// What is odd enough to be nothing else is replaced wherever it stands, in each of
// its forms, in names and keys too, always by the same text. Short values and words
// are replaced where they were found, beside keys that name a secret, and in
// addresses. YAML and JSON are redacted value by value, in place, so that what is
// left are the same objects but for these values.
//
// It is safe for concurrent use.
type Redactor struct {
	forms   matcher
	oddOnly matcher                    // the forms of odd secrets: for the keys of records
	whole   map[string]bool            // values of several lines, trimmed: replaced when a scalar is one
	partial map[string]map[string]bool // short values and words → keys where they were found
	short   trie                       // the keys of partial
	encoded map[string]string          // their encoded forms → what replaces them
	origins []origin                   // of what is in forms, for Find

	manifests, instead []byte // the true manifests, and what is sealed for them
	values             []byte // the true values
	masks              int
}

// origin is a secret that is replaced everywhere, and where it was found.
type origin struct{ value, where string }

func newRedactor(list []found, rel *chart.Release, set *manifest.ObjectSet) (*Redactor, error) {
	r := &Redactor{whole: map[string]bool{}, partial: map[string]map[string]bool{}, encoded: map[string]string{}}
	if len(list) == 0 {
		return r, nil
	}
	l := learning{Redactor: r, names: newNameSet(names(set, rel), len(list)), plain: newNameSet(plainValues(set), len(list)), forms: map[string]form{}, odd: map[string]form{}, aliases: map[string]string{}}
	spots := map[*manifest.Object]*spots{}
	for _, f := range list {
		key, where := lastKey(f.place.Key), f.where()
		for _, v := range f.texts() {
			l.learn(v, key, where)
		}
		if f.object != nil {
			if spots[f.object] == nil {
				spots[f.object] = newSpots()
			}
			spots[f.object].add(f.spot)
		}
	}
	r.forms, r.oddOnly = newMatcher(l.forms), newMatcher(l.odd)
	for v := range r.partial {
		r.short.add(v)
	}
	if len(rel.Values) > 0 {
		var err error
		if r.values, err = yaml.Marshal(rel.Values); err != nil {
			return nil, fmt.Errorf("values: %w", err)
		}
	}
	return r, r.seal(rel.Manifests, set, spots)
}

// texts are what must not be seen of a secret.
func (f *found) texts() []string {
	if f.spot.encoded && len(f.also) > 0 {
		return f.also // and what encodes it
	}
	return append([]string{f.value}, f.also...)
}

// where names the place of a secret for people.
func (f *found) where() string {
	t := f.place.Target
	at := t.File
	if t.Kind != "Chart" {
		at = strings.TrimSpace(t.Object())
	}
	switch {
	case at == "":
		return f.place.Key
	case f.place.Key == "":
		return at
	}
	return f.place.Key + " of " + at
}

// lastKey is the key that a secret stands beside: the last part of a path.
func lastKey(key string) string {
	key, _, _ = strings.Cut(key, " (")
	if i := strings.LastIndexAny(key, " "); i >= 0 {
		key = key[i+1:]
	}
	for _, p := range []string{"data.", "stringData."} {
		if rest, ok := strings.CutPrefix(key, p); ok {
			return rest
		}
	}
	return key[strings.LastIndexByte(key, '.')+1:]
}

// learning is what is known while a Redactor is made.
type learning struct {
	*Redactor
	names   *nameSet // keys and names of the release
	plain   *nameSet // other values that could be words of an API
	forms   map[string]form
	odd     map[string]form
	aliases map[string]string // used ones, to the secret
}

// learn sorts a value by how it can be replaced.
func (l *learning) learn(v, key, where string) {
	v = strings.TrimSpace(v)
	if v == "" || v == mask {
		return
	}
	if strings.Contains(v, "\n") {
		l.learnLines(v, key, where)
		return
	}
	switch l.classOf(v) {
	case odd:
		instead := mask
		if l.names.contain(v) {
			instead = l.alias(v)
		}
		l.add(v, instead, odd)
		l.origins = append(l.origins, origin{v, where})
		l.learnCases(v, where)
		// A YAML parser names what follows an indicator: "unknown anchor 'v'".
		if rest := strings.TrimLeft(v, "*&!|>%@`"); rest != v && l.classOf(rest) == odd {
			l.add(rest, mask, odd)
			l.origins = append(l.origins, origin{rest, where})
		}
	case words:
		l.add(v, mask, words)
		l.origins = append(l.origins, origin{v, where})
		l.learnCases(v, where)
	case local:
		if l.partial[v] == nil {
			l.partial[v] = map[string]bool{}
		}
		l.partial[v][key] = true
		if len(v) >= 4 {
			maps.Copy(l.encoded, shortForms(v))
		}
	}
}

// learnCases learns a value that is replaced everywhere in upper and lower case too,
// but for what a name of the release could be: that is one for itself.
func (l *learning) learnCases(v, where string) {
	for _, s := range cases(v) {
		instead := mask
		c := l.classOf(s)
		if l.names.contain(s) {
			if !looksRandom(s) {
				continue
			}
			instead = l.alias(s)
		}
		if c != local {
			l.add(s, instead, c)
			l.origins = append(l.origins, origin{s, where})
		}
	}
}

func (l *learning) classOf(v string) class {
	c := classOf(v, l.names)
	if c == words && l.plain.contain("\x00"+v+"\x00") {
		return local
	}
	return c
}

// learnLines is learn for a value of several lines: the whole of it, and each line
// that is a secret by itself.
func (l *learning) learnLines(v, key, where string) {
	for _, text := range []string{v, dedent(v)} {
		l.whole[text] = true
		l.add(text, shaped(text), odd)
	}
	if !strings.Contains(v, "PRIVATE KEY") && looksLikeConfig(v) {
		for _, p := range parts(v, "") {
			l.learn(v[p.from:p.to], p.key, where)
		}
		return
	}
	for line := range strings.Lines(v) {
		line = strings.TrimLeft(strings.TrimSpace(line), "#/ \t")
		if strings.HasPrefix(line, "-----") {
			continue
		}
		if c := l.classOf(line); c != local {
			l.add(line, mask, c)
			l.origins = append(l.origins, origin{line, where})
		}
	}
}

// alias returns what stands for v in names, different for each secret.
func (l *learning) alias(v string) string {
	for n := 0; ; n++ {
		a := alias(v, n)
		if owner, used := l.aliases[a]; used && owner == v {
			return a
		} else if !used && !l.names.contain(a) || n > 999 {
			l.aliases[a] = v
			return a
		}
	}
}

// dedent is a text of several lines without their indentation, as a block scalar has it.
func dedent(v string) string {
	var lines []string
	for line := range strings.Lines(v) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

// nameSet is the names of a release, joined; with many secrets it has an index.
type nameSet struct {
	text  string
	index *suffixarray.Index
}

func newNameSet(text string, lookups int) *nameSet {
	n := &nameSet{text: text}
	if lookups > 100 {
		n.index = suffixarray.New([]byte(text))
	}
	return n
}

// contain reports whether s stands in a name.
func (n *nameSet) contain(s string) bool {
	if n.index != nil {
		return len(n.index.Lookup([]byte(s), 1)) > 0
	}
	return strings.Contains(n.text, s)
}

// add adds the ways in which a value stands in texts: as it is, escaped, and
// encoded.
func (l *learning) add(v, instead string, c class) {
	set := func(s string, f form) {
		if len(s) < minEverywhere || s == mask {
			return
		}
		if old, ok := l.forms[s]; ok && (!old.encoded || f.encoded) {
			return
		}
		l.forms[s] = f
		if c == odd {
			l.odd[s] = f
		}
	}
	formsOf(v, instead, set)
}

func jsonEscaped(s string, escapeHTML bool) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(escapeHTML)
	if err := enc.Encode(s); err != nil {
		return s
	}
	q := strings.TrimSuffix(b.String(), "\n")
	return q[1 : len(q)-1]
}

// Find returns where a secret of the release that stands in b was found, unless all
// of known has it too: what the rules of this program say is no secret.
func (r *Redactor) Find(b, known []byte) (where string, at int, found bool) {
	for i := 0; i+4 <= len(b); i++ {
		f := r.forms.at(b, i)
		if f == "" {
			continue
		}
		if !bytes.Contains(known, []byte(f)) {
			return r.whereOf(f), i, true
		}
		i += len(f) - 1
	}
	return "", 0, false
}

// whereOf names the place of the secret that has the form.
func (r *Redactor) whereOf(f string) string {
	for _, o := range r.origins {
		if strings.Contains(f, o.value) {
			return o.where
		}
	}
	for _, o := range r.origins {
		l := learning{Redactor: &Redactor{}, forms: map[string]form{}, odd: map[string]form{}}
		l.add(o.value, mask, odd)
		if _, ok := l.forms[f]; ok {
			return o.where
		}
	}
	return "the chart"
}

func (r *Redactor) isPartial(v string) bool { return r.partial[strings.TrimSpace(v)] != nil }

// occurrences is how often a value stands in what was counted, plain or in base64.
func occurrences(counts map[string]int, v string) int {
	v = strings.TrimSpace(v)
	return counts[v] + counts[base64.StdEncoding.EncodeToString([]byte(v))]
}

// Redact implements collectors.Redactor. It takes any text: what is YAML or JSON
// stays that.
func (r *Redactor) Redact(b []byte) ([]byte, int) {
	if len(r.forms.forms) == 0 && len(r.partial) == 0 && len(r.whole) == 0 {
		return b, 0
	}
	if r.manifests != nil && bytes.Equal(b, r.manifests) {
		return r.instead, r.masks
	}
	return r.structured(b)
}

// text replaces secrets in plain text.
func (r *Redactor) text(b []byte) ([]byte, int) {
	n := 0
	if in, m := r.inside(string(b), ""); m > 0 {
		b, n = []byte(in), m
	}
	b, more := r.forms.replace(b)
	out, m := r.beside(b)
	return out, n + more + m
}

// matcher finds any of many texts.
type matcher struct {
	forms map[uint32][]string // by their first 4 bytes, longest first
	first [1 << 16]bool       // by their first 2 bytes
	how   map[string]form
}

func newMatcher(how map[string]form) matcher {
	m := matcher{forms: map[uint32][]string{}, how: how}
	forms := slices.Collect(maps.Keys(how))
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	for _, f := range forms {
		k := binary.LittleEndian.Uint32([]byte(f))
		m.forms[k] = append(m.forms[k], f)
		m.first[uint16(k)] = true
	}
	return m
}

// count says how often each form stands in b, the longest at each place.
func (m *matcher) count(b []byte) map[string]int {
	n := map[string]int{}
	for i := 0; i+4 <= len(b) && len(m.forms) > 0; i++ {
		if f := m.at(b, i); f != "" {
			n[f]++
			i += len(f) - 1
		}
	}
	return n
}

// at returns the longest form that b has at i, or "".
func (m *matcher) at(b []byte, i int) string {
	if !m.first[uint16(b[i])|uint16(b[i+1])<<8] {
		return ""
	}
	for _, f := range m.forms[binary.LittleEndian.Uint32(b[i:])] {
		if len(b)-i >= len(f) && string(b[i:i+len(f)]) == f {
			return f
		}
	}
	return ""
}

// replace replaces all matches, the longest at each place. With none it returns b.
func (m *matcher) replace(b []byte) ([]byte, int) {
	if len(m.forms) == 0 {
		return b, 0
	}
	var out []byte
	n, done := 0, 0
	for i := 0; i+4 <= len(b); i++ {
		f := m.at(b, i)
		if f == "" {
			continue
		}
		how := m.how[f]
		from, to, instead := i, i+len(f), how.instead
		switch {
		case how.encoded:
			from, to, instead = m.base64Around(b, done, from, to)
		case how.base32:
			from, to = base32Around(b, done, from, to)
		}
		out = append(append(out, b[done:from]...), instead...)
		n, done = n+1, to
		i = to - 1
	}
	if n == 0 {
		return b, 0
	}
	return append(out, b[done:]...), n
}

// base64Around widens a match in the middle of a longer base64 text: to the whole
// of it where that decodes to text, which is then redacted and encoded again; else
// by the groups of four that hold the rest of the secret, so that what is left
// still decodes. mask is two such groups.
func (m *matcher) base64Around(b []byte, least, from, to int) (int, int, string) {
	const reach = 1 << 14 // of what is longer, only the secret itself is cut out
	start, end := from, to
	for start > max(least, from-reach) && strings.IndexByte(base64Alphabet, b[start-1]) >= 0 {
		start--
	}
	for end < min(len(b), to+reach) && strings.IndexByte(base64Alphabet, b[end]) >= 0 {
		end++
	}
	padded := end
	for padded < len(b) && padded < end+2 && b[padded] == '=' {
		padded++
	}
	if start == from-reach || end == to+reach {
		return from, to, mask
	}
	if again, ok := m.encodedAgain(string(b[start:padded])); ok {
		return start, padded, again
	}
	// Groups are counted from the start of the whole text.
	from = max(start, from-(from-start)%4-4)
	to += (4-(to-start)%4)%4 + 4
	if to > end {
		to = padded
	}
	return from, to, mask
}

// base32Around widens a match to the whole of the base32 text that it stands in.
func base32Around(b []byte, least, from, to int) (int, int) {
	isDigit := func(c byte) bool {
		return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '2' && c <= '7' || c == '='
	}
	for from > least && isDigit(b[from-1]) {
		from--
	}
	for to < len(b) && isDigit(b[to]) {
		to++
	}
	return from, to
}

// encodedAgain redacts what a base64 text decodes to, where that is text.
func (m *matcher) encodedAgain(s string) (string, bool) {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		plain, err := enc.Strict().DecodeString(s)
		if err != nil || !utf8.Valid(plain) {
			continue
		}
		if out, n := m.replace(plain); n > 0 {
			return enc.EncodeToString(out), true
		}
	}
	return s, false
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"

// beside masks short values, and those that are names, where the text around
// says that they are secrets.
func (r *Redactor) beside(b []byte) ([]byte, int) {
	if len(r.short) == 0 {
		return b, 0
	}
	var out []byte
	n, done := 0, 0
	root := r.short[0].next
	for i := 0; i < len(b); i++ {
		if i > 0 && isWord(b[i]) && isWord(b[i-1]) {
			continue // in the middle of a word
		}
		if _, ok := root[b[i]]; !ok {
			continue
		}
		to := 0
		r.short.walk(b[i:], func(length int) {
			if v := string(b[i : i+length]); r.isSecretAt(b, i, i+length, v) {
				to = i + length // the longest counts
			}
		})
		if to > 0 {
			out = append(append(out, b[done:i]...), mask...)
			n, done, i = n+1, to, to-1
		}
	}
	if n == 0 {
		return b, 0
	}
	return append(out, b[done:]...), n
}

// trie finds which of many texts another starts with.
type trie []trieNode

type trieNode struct {
	next map[byte]int
	end  bool
}

func (t *trie) add(s string) {
	if len(*t) == 0 {
		*t = append(*t, trieNode{next: map[byte]int{}})
	}
	at := 0
	for _, c := range []byte(s) {
		next, ok := (*t)[at].next[c]
		if !ok {
			next = len(*t)
			*t = append(*t, trieNode{next: map[byte]int{}})
			(*t)[at].next[c] = next
		}
		at = next
	}
	(*t)[at].end = true
}

// walk calls f with the length of each text that b starts with, shortest first.
func (t trie) walk(b []byte, f func(length int)) {
	at := 0
	for i, c := range b {
		next, ok := t[at].next[c]
		if !ok {
			return
		}
		if at = next; t[at].end {
			f(i + 1)
		}
	}
}

// isSecretAt looks at the text around b[from:to]: "key: v", "key=v", "key":"v",
// name and value of a variable, user:v@host.
func (r *Redactor) isSecretAt(b []byte, from, to int, v string) bool {
	if from > 0 && isWord(b[from-1]) && isWord(v[0]) || to < len(b) && isWord(b[to]) && isWord(v[len(v)-1]) {
		return false
	}
	// user:v@host
	if to < len(b) && b[to] == '@' && from > 0 && b[from-1] == ':' {
		return bytes.Contains(b[max(0, from-120):from], []byte("://"))
	}
	key, rest := keyBefore(b[max(0, from-200):from])
	switch key {
	case "":
		return false
	case "value":
		// The name stands before it, or after.
		around := string(b[max(0, from-300):from]) + "\x00" + string(b[to:min(len(b), to+300)])
		return r.besideName(around, len(b[max(0, from-300):from])-rest, v)
	}
	return r.keyHolds(key, v)
}

func (r *Redactor) keyHolds(key, v string) bool { return namesSecret(key) || r.partial[v][key] }

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// keyBefore returns the key that b ends with, when only quotes, blanks, one
// separator and a YAML tag follow it, and how many bytes follow its start.
func keyBefore(b []byte) (key string, rest int) {
	t := bytes.TrimRight(b, " \t\"'\\")
	if len(t) == 0 {
		return "", 0
	}
	switch t[len(t)-1] {
	case ':', '=':
		t = bytes.TrimRight(t[:len(t)-1], " \t\"'\\")
	case '\n':
		// "key:\n  - v" is no pair; "key: |\n  v" and "key: >-\n  v" are.
		t = bytes.TrimRight(t, " \t\n")
		block := bytes.TrimRight(t, "|>+-0123456789")
		if len(block) == len(t) {
			return "", 0
		}
		block = bytes.TrimRight(block, " ")
		if len(block) == 0 || block[len(block)-1] != ':' {
			return "", 0
		}
		t = bytes.TrimRight(block[:len(block)-1], "\"'")
	default:
		if len(b) == len(t) {
			return "", 0
		}
		// "--password v"
		i := len(t)
		for i > 0 && (isWord(t[i-1]) || t[i-1] == '.') {
			i--
		}
		if k := string(t[i:]); strings.HasPrefix(k, "-") {
			return strings.TrimLeft(k, "-"), len(b) - i
		}
		return "", 0
	}
	i := len(t)
	for i > 0 && (isWord(t[i-1]) || t[i-1] == '.') {
		i--
	}
	return strings.TrimLeft(string(t[i:]), "-"), len(b) - i
}

// besideName reports whether the variable whose "value" key starts at byte at
// of around has a name that holds the secret.
func (r *Redactor) besideName(around string, at int, v string) bool {
	before, after := around[:max(0, at)], around[strings.IndexByte(around, 0)+1:]
	nameOf := func(s string) string {
		s = strings.TrimLeft(s, " \t\n\r\"'\\,{-")
		s, ok := strings.CutPrefix(s, "name")
		if !ok {
			return ""
		}
		s = strings.TrimLeft(s, " \t\"'\\:")
		end := strings.IndexFunc(s, func(c rune) bool { return c > 127 || !isWord(byte(c)) && c != '.' })
		if end < 0 {
			end = len(s)
		}
		return s[:end]
	}
	holds := func(name string) bool { return name != "" && (namesSecret(name) || r.partial[v][name]) }
	if i := strings.LastIndex(before, "name"); i >= 0 {
		name := nameOf(before[i:])
		// Nothing but punctuation may stand between the name and the value.
		if j := strings.Index(before[i:], name); holds(name) && strings.Trim(before[i+j+len(name):], " \t\r\n\"'\\,-") == "" {
			return true
		}
	}
	return holds(nameOf(after))
}
