package secrets

import "strings"

// fallback returns the literal that stands in for the variable text[from:to] where it is
// not set: ${NAME:-x} of shells, ${NAME:x} of Spring, getenv("NAME", "x"),
// process.env.NAME || "x", {{ env "NAME" | default "x" }}.
func (r *reading) fallback(from, to int) (value, bool) {
	before, after := r.text[max(0, from-30):from], r.text[to:min(len(r.text), to+300)]
	m := []int(nil)
	switch {
	case braced.MatchString(before):
		if m = bracedDefault.FindStringSubmatchIndex(after); m != nil && r.kind == shell && substring.MatchString(after) {
			return value{}, false
		}
	case envCall.MatchString(before):
		if m = secondArgument.FindStringSubmatchIndex(after); m == nil {
			m = orLiteral.FindStringSubmatchIndex(after)
		}
	case envFunction.MatchString(before):
		m = orDefault.FindStringSubmatchIndex(after)
	case envName.MatchString(r.text[max(0, from-5):to]):
		m = orLiteral.FindStringSubmatchIndex(after)
	}
	if m == nil {
		return value{}, false
	}
	return r.trimmed(value{key: from, from: to + m[2], to: to + m[3], quoted: true, named: true})
}

var (
	// braced matches what stands before the name in ${NAME…}, with a prefix as of Log4j.
	braced = lazily(`\$\{(?:(?:env|sys):)?$`)
	// lookup matches what stands before the address in ${vault:path:field}.
	lookup        = lazily(`\$\{[a-zA-Z][a-zA-Z-]*:$`)
	bracedDefault = lazily(`^(?::[-=]|:)["']?([^-=+?{}$"'\x60\n][^{}$"'\x60\n]*)["']?\}`)
	substring     = lazily(`^:\s*-?[0-9]+(:[0-9]+)?\}`)
	envCall       = lazily(`(?i)(?:env|environ\.get|fetch|getordefault|env\.[a-z]{1,10})\s*\(\s*["']$`)
	envFunction   = lazily(`(?i)\benv\s+\\?["']$`)
	envName       = lazily(`(?i)\benv(?:\.|\[["'])[a-z]`)
	// What follows the name.
	secondArgument = lazily(`^["']\s*,\s*(?:default\s*=\s*)?["']([^"'\n]+)["']\s*\)`)
	orDefault      = lazily(`^\\?["']\s*\|\s*default\s+\\?["']([^"'\\\n]+)\\?["']`)
	orLiteral      = lazily(`^["'\])]*\s*(?:\|\||\?\?|or\b)\s*["']([^"'\n]+)["']`)
	// orElseLiteral matches values that are one reference, with a literal in its place: of
	// shells and Log4j, of shells alone, of Spring.
	orElseLiteral = lazily(`^\$\{(?:(?:(?:env|sys):)?[A-Za-z_][\w.]*:[-=]|[A-Z_][A-Z0-9_]*[-=]|(?:[A-Z_][A-Z0-9_]+|[a-z][\w-]*(?:\.[\w-]+)+):)([^-=+?{}$:][^{}$]*)\}$`)
)

// orElse is the literal that a value comes to where the variable that it refers to is not
// set; the value itself where it has none.
func orElse(v string) string {
	if !strings.HasPrefix(v, "${") {
		return v
	}
	if m := orElseLiteral.FindStringSubmatch(v); m != nil {
		return m[1]
	}
	return v
}
