package secrets

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
)

// maxScanned bounds one file that is scanned by gitleaks' rules, in bytes. No
// chart's file is longer than Helm's own limit of 5 MiB.
const maxScanned = 8 << 20

// Prepare loads the rules ahead of the first release, which nearly always needs
// them; it may run beside the loading of it.
func Prepare() { _, _ = loadRules() }

// hit is what a rule of gitleaks matched in one text.
type hit struct {
	rule, secret, key string
	line              int // 1-based
}

// scanned remembers the hits of texts by digest: charts share subcharts.
var scanned = struct {
	sync.Mutex
	hits map[[sha256.Size]byte][]hit
}{hits: map[[sha256.Size]byte][]hit{}}

const maxRemembered = 1 << 14

// texts runs gitleaks' rules over the chart's files and over what of the
// rendering does not stand there literally.
func (s *scan) texts(ctx context.Context) error {
	for _, f := range s.rel.Files {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if keyStore.MatchString(f.Name) {
			t := evidence.Target{Kind: "Chart", Name: s.rel.Info.Chart, File: f.Name}
			s.found = append(s.found, found{place: Place{Rule: RuleGitleaks, Detail: "pkcs12-file", Target: t}})
		}
		if !scannable(f) {
			continue
		}
		s.files++
		hits, err := scanFile(ctx, f)
		if err != nil {
			return err
		}
		eachCandidate(f.Data, func(_ int, line []byte) { s.known[lineHash(line)] = struct{}{} })
		t := evidence.Target{Kind: "Chart", Name: s.rel.Info.Chart, File: f.Name}
		for _, h := range hits {
			t.Line = h.line
			s.addHit(h, t)
		}
	}
	if err := s.userText(ctx); err != nil {
		return err
	}
	hits, err := scanText(ctx, s.rel.Manifests, "manifests.yaml", func(line []byte) bool {
		_, known := s.known[lineHash(line)]
		return known
	})
	if err != nil {
		return err
	}
	for _, h := range hits {
		t := evidence.Target{Kind: "Chart", Name: s.rel.Info.Chart}
		// Objects are in the order of their lines; the items of a list share them.
		i := sort.Search(len(s.set.Objects), func(i int) bool { return s.set.Objects[i].To >= h.line })
		if i < len(s.set.Objects) && s.set.Objects[i].From <= h.line {
			t = s.set.Objects[i].Target("")
		}
		s.addHit(h, t)
	}
	return nil
}

// userText scans the values that the user gave, which are in no file of the chart.
func (s *scan) userText(ctx context.Context) error {
	if len(s.rel.UserValues) == 0 {
		return nil
	}
	raw, err := yaml.Marshal(s.rel.UserValues)
	if err != nil {
		return fmt.Errorf("read the given values: %w", err)
	}
	hits, err := scanText(ctx, raw, "values.yaml", nil)
	if err != nil {
		return err
	}
	for _, h := range hits {
		h.key += ", given by the user"
		s.addUserHit(h)
	}
	return nil
}

func (s *scan) addUserHit(h hit) {
	for _, f := range s.found {
		if f.place.Target.File == "" && strings.Contains(f.value, h.secret) {
			return
		}
	}
	s.add(RuleGitleaks, h.rule, evidence.Target{Kind: "Chart", Name: s.rel.Info.Chart}, strings.TrimPrefix(h.key, ", "), h.secret)
}

// addHit adds a hit unless structure found the same value at that place, better
// explained.
func (s *scan) addHit(h hit, t evidence.Target) {
	secret := unspaced(h.secret)
	for _, i := range s.near(t, secret) {
		f := s.found[i]
		p := f.place.Target
		if f.place.Rule == RuleGitleaks && p.Line != t.Line {
			continue
		}
		// An object's line is that of its start; of the chart's own files it is the key's.
		if past := t.Line - p.Line; p.Kind == "Chart" && (past < 0 || past > 1+strings.Count(f.value, "\n")) {
			continue
		}
		for _, v := range append([]string{f.value}, f.also...) {
			if v = unspaced(v); strings.Contains(v, secret) || strings.Contains(secret, v) && len(v) >= minEverywhere {
				return
			}
		}
	}
	s.add(RuleGitleaks, h.rule, t, h.key, h.secret)
}

// maxNear bounds how many places a hit is compared with: beyond, a secret may be
// reported twice.
const maxNear = 2000

// near returns the places in the file of t that may hold a hit: those on its
// line, those with the same value, and, while they are few, all others.
func (s *scan) near(t evidence.Target, secret string) []int {
	for ; s.indexed < len(s.found); s.indexed++ {
		f := s.found[s.indexed]
		for _, key := range []string{
			f.place.Target.File,
			fmt.Sprintf("%s\x00%d", f.place.Target.File, f.place.Target.Line),
			f.place.Target.File + "\x01" + unspaced(f.value),
		} {
			if len(s.index[key]) < maxNear {
				s.index[key] = append(s.index[key], s.indexed)
			}
		}
	}
	return slices.Concat(s.index[fmt.Sprintf("%s\x00%d", t.File, t.Line)], s.index[t.File+"\x01"+secret], s.index[t.File])
}

// unspaced makes an indented block comparable to its value.
func unspaced(s string) string {
	if !strings.ContainsAny(s, " \n") {
		return s
	}
	return strings.Join(strings.Fields(s), "")
}

var seed = maphash.MakeSeed()

func lineHash(line []byte) uint64 { return maphash.Bytes(seed, bytes.TrimSpace(line)) }

// scannable are the files that could hold a secret; lock files, packed charts,
// CustomResourceDefinitions and what is not text are left out.
func scannable(f chart.File) bool {
	switch base := path.Base(f.Name); {
	case base == "LICENSE", base == "Chart.lock", base == "values.schema.json", strings.HasSuffix(base, ".prov"), strings.HasSuffix(base, ".tgz"),
		strings.HasPrefix(f.Name, "crds/"), strings.Contains(f.Name, "/crds/"), strings.HasSuffix(base, ".svg"), strings.HasSuffix(base, ".png"):
		return false
	}
	return len(f.Data) <= maxScanned && bytes.IndexByte(f.Data[:min(len(f.Data), 8000)], 0) < 0
}

func scanFile(ctx context.Context, f chart.File) ([]hit, error) {
	// Path rules and documentation depend on the kind of file.
	digest := sha256.Sum256(append([]byte(path.Ext(f.Name)+"\x00"), f.Data...))
	scanned.Lock()
	hits, ok := scanned.hits[digest]
	scanned.Unlock()
	if ok {
		return hits, nil
	}
	hits, err := scanText(ctx, f.Data, path.Base(f.Name), nil)
	if err != nil {
		return nil, err
	}
	scanned.Lock()
	defer scanned.Unlock()
	if len(scanned.hits) >= maxRemembered {
		clear(scanned.hits)
	}
	scanned.hits[digest] = hits
	return hits, nil
}

// scanText runs the rules over those lines of raw that could hold a secret and
// that skip does not refuse.
func scanText(ctx context.Context, raw []byte, name string, skip func(line []byte) bool) ([]hit, error) {
	text, lines := excerpt(raw, skip)
	if len(text) == 0 {
		return nil, nil
	}
	set, err := loadRules()
	if err != nil {
		return nil, err
	}
	if set.pathAllowed(name) {
		return nil, nil
	}
	starts := lineStarts(text, len(lines))
	var raws []finding
	raws = append(raws, keys(text, lines)...)
	raws = append(raws, encodedKeys(text, lines)...)
	for r, keep := range set.near(text, starts) {
		rule := &set.rules[r]
		d, err := rule.detector()
		if err != nil {
			return nil, err
		}
		if rule.id == genericRule {
			if keep = assignments(text, starts, func(v string) bool { return rule.worthwhile(v, d.rule.Entropy) }); keep == nil {
				continue
			}
		}
		kept, numbers := pick(text, starts, keep, lines)
		file := ""
		if rule.byPath {
			file = name
		}
		for _, f := range d.detect(ctx, kept, file) {
			if rule.stop.within(f.Secret) {
				continue
			}
			// gitleaks counts lines from 0, and a match may start on the line before the secret.
			f.StartLine = numbers[min(f.StartLine+strings.Count(before(f.Match, f.Secret), "\n"), len(numbers)-1)]
			raws = append(raws, f)
		}
	}
	var out []hit
	seen := map[hit]bool{}
	for _, f := range raws {
		// What has a format of its own is not reported without it as well.
		if f.RuleID == genericRule && slices.ContainsFunc(raws, func(o finding) bool {
			return o.RuleID != genericRule && o.StartLine == f.StartLine && strings.Contains(o.Secret, f.Secret)
		}) {
			continue
		}
		h := hit{rule: f.RuleID, secret: f.Secret, line: f.StartLine, key: keyOf(f.Match, f.Secret)}
		if h.key == "" && f.RuleID != keyRule {
			h.key = keyOf(f.Line, f.Secret)
		}
		if f.Secret != "" && !onNextLine(&f) && !isSealed(raw, f.StartLine, f.Secret) && !harmless(f.RuleID, f.Secret, f.Match, f.Line, name) && !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	// The rules are tried in random order.
	slices.SortFunc(out, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.line, b.line), compareBool(a.rule == genericRule, b.rule == genericRule),
			strings.Compare(a.rule, b.rule), strings.Compare(a.key, b.key), strings.Compare(a.secret, b.secret))
	})
	return out, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// genericRule is gitleaks' rule for what has no format of its own.
const genericRule = "generic-api-key"

// before is what stands in match before secret.
func before(match, secret string) string {
	s, _, _ := strings.Cut(match, secret)
	return s
}

// excerpt keeps the lines that could hold a secret, each with the one before,
// which may name it, and PEM blocks. lines has the number of each line kept.
func excerpt(raw []byte, skip func([]byte) bool) (text string, lines []int) {
	var b strings.Builder
	last := 0 // the last line written
	var before []byte
	keep := func(n int, line []byte) {
		if n <= last {
			return
		}
		if n > last+1 && last > 0 {
			b.WriteByte('\n') // not neighbours
			lines = append(lines, last)
		}
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
		lines = append(lines, n)
		last = n
	}
	n, pem, curl := 0, 0, bytes.Contains(raw, curlWord)
	for line := range bytes.Lines(raw) {
		n++
		begin := bytes.Contains(line, []byte("-----BEGIN"))
		if begin {
			pem = 200 // no key has more lines
		}
		switch {
		case pem > 0:
			keep(n, line)
			if pem--; bytes.Contains(line, []byte("-----END")) {
				pem = 0
			}
		case isCandidate(line, curl) && (skip == nil || !skip(line)):
			if n > 1 {
				keep(n-1, before)
			}
			keep(n, line)
		}
		before = line
	}
	return b.String(), lines
}

// eachCandidate calls f for the lines that could hold a secret.
func eachCandidate(raw []byte, f func(n int, line []byte)) {
	n, curl := 0, bytes.Contains(raw, curlWord)
	for line := range bytes.Lines(raw) {
		n++
		if isCandidate(line, curl) {
			f(n, line)
		}
	}
}

// isCandidate reports whether a line has what all rules want: a word of at
// least 8 characters with a digit or sign among them, or a curl command, if curl says
// that the text has one at all.
func isCandidate(line []byte, curl bool) bool {
	run, mixed := 0, false
	for _, c := range line {
		k := wordClass[c]
		if k == 0 {
			run, mixed = 0, false
			continue
		}
		run++
		mixed = mixed || k == 2
		if run >= 8 && mixed {
			return true
		}
	}
	return curl && bytes.Contains(line, curlWord)
}

var curlWord = []byte("curl")

// wordClass is 1 for letters and separators of a word, 2 for digits and signs of base64.
var wordClass = func() (t [256]byte) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '-', c == '.':
			t[c] = 1
		case c >= '0' && c <= '9', c == '+', c == '/', c == '=', c == '%', c == '~':
			t[c] = 2
		}
	}
	return t
}()

// keyOf is the key in front of a secret: `token: "x"` → "token".
func keyOf(match, secret string) string {
	if !strings.Contains(match, secret) {
		return ""
	}
	before := strings.TrimRight(before(match, secret), " \t\n\"'`:=>,|?")
	if i := strings.LastIndexAny(before, " \t\n\"'`{(,;"); i >= 0 {
		before = before[i+1:]
	}
	if len(before) > 60 || strings.Contains(before, "-----") {
		return ""
	}
	return before
}

// keyStore matches files that hold keys in binary form: gitleaks' only rule
// without a keyword.
var keyStore = lazily(`(?i)\.(p12|pfx)$`)

var (
	hashKey    = lazily(`(?i)(checksum|sha-?(1|256|512)|digest|hash|commit|revision|fingerprint|thumbprint|etag|md5|uuid|image)`)
	hashValue  = lazily(`^(?i)([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$`)
	templating = lazily(`\{\{|\}\}|\.Values\b|\.Release\b|\binclude\b|\$\(|\$\{`)
	plainWords = lazily(`^[A-Za-z]+([-_./][A-Za-z]+[0-9]{0,2})*$`)
	nameOfKey  = lazily(`^\s*(- )?(key|name|secretKey|property|subPath):\s`)
	crossedOut = lazily(`[xX]{8,}|\.\.\.`)
	exampleish = lazily(`(?i)(example|placeholder|your[-_]|dummy|sample|xxxx|<[a-z])`)
)

// onNextLine reports whether what a rule took for the value of a key is the next
// line's key: the first has no value.
func onNextLine(f *finding) bool {
	if f.RuleID == keyRule {
		return false
	}
	between := before(f.Match, f.Secret)
	i := strings.LastIndexByte(between, '\n')
	if i < 0 {
		return false
	}
	if assignment.MatchString(between[i+1:] + f.Secret) {
		return true
	}
	_, after, _ := strings.Cut(f.Line, f.Secret)
	after = strings.TrimLeft(after, " \t\"'")
	return after != "" && (after[0] == ':' || after[0] == '=')
}

var assignment = lazily(`^[\s#-]*["']?[A-Za-z_][A-Za-z0-9_.-]*["']?\s*[:=]`)

// isSealed reports whether a value of this line is ciphertext: of SOPS, or as
// SealedSecrets have it; what is too short for that may stand below encryptedData.
func isSealed(raw []byte, line int, secret string) bool {
	all := bytes.SplitAfterN(raw, []byte("\n"), line+1)
	if line < 1 || line > len(all) {
		return false
	}
	text := string(all[line-1])
	i := strings.Index(text, secret)
	if i < 0 {
		return false
	}
	if strings.Contains(text[:i], "ENC[") {
		return true
	}
	for i > 0 && strings.IndexByte(base64Alphabet, text[i-1]) >= 0 {
		i--
	}
	if !hasAny(text[i:], "Ag", "AQ") {
		return false
	}
	if isSealedValue(text[i:][:len(text[i:])-len(strings.TrimLeft(text[i:], base64Alphabet+"="))]) {
		return true
	}
	width := indentation(text)
	for n := line - 2; n >= max(0, line-100); n-- {
		t := bytes.TrimSpace(all[n])
		switch {
		case bytes.HasPrefix(t, []byte("---")) || bytes.HasPrefix(t, []byte("kind:")):
			return false
		case bytes.HasPrefix(t, []byte("encryptedData:")):
			return indentation(string(all[n])) < width
		}
	}
	return false
}

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// harmless are matches that are no secrets: checksums, templates, references,
// names, and in documentation whatever has no format of its own.
func harmless(rule, secret, match, line, file string) bool {
	if chart.IsGenerated(secret) || isPublishable(secret) || templating.MatchString(secret) || isReference(secret) {
		return true
	}
	if plain, err := decodeBase64(secret); err == nil && filledIn(string(plain)) {
		return true // "<change-me>" in a Secret
	}
	doc := strings.HasSuffix(file, ".md") || strings.HasSuffix(file, ".txt") || strings.HasSuffix(file, ".rst")
	before := before(line, secret)
	switch rule {
	case keyRule:
		return doc && strings.Contains(secret, "..") // shortened
	case genericRule:
		return doc || hashValue.MatchString(secret) && hashKey.MatchString(before) || strings.Contains(before, "sha256:") || strings.Contains(line, "checksum/") ||
			plainWords.MatchString(secret) || nameOfKey.MatchString(line) && (!looksRandom(secret) || isWords(secret)) || exampleish.MatchString(secret) || templating.MatchString(match) || strings.HasPrefix(strings.TrimSpace(line), "#") && !looksRandom(secret)
	case "slack-webhook-url":
		return crossedOut.MatchString(secret)
	case "curl-auth-user", "curl-auth-header":
		return doc || strings.ContainsAny(secret, "$<")
	}
	return isHexOnly(secret) && hashKey.MatchString(before)
}

// isWords reports whether a text is the name of an entry, of words with signs between
// them: rfc2136_tsig_secret.
func isWords(s string) bool {
	return keyReference.MatchString(s) && !slices.ContainsFunc(strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune("-_.", c) }), func(word string) bool { return len(word) > 12 })
}

func isHexOnly(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}
