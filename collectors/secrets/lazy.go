package secrets

import (
	"regexp"
	"sync"
)

// lazyRegexp is a pattern that is compiled when it is first used: a command that
// looks for no secrets does not pay for them all.
type lazyRegexp struct {
	compiled func() *regexp.Regexp
}

func lazily(pattern string) lazyRegexp {
	return lazyRegexp{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })}
}

func (l lazyRegexp) MatchString(s string) bool { return l.compiled().MatchString(s) }

func (l lazyRegexp) FindStringSubmatch(s string) []string { return l.compiled().FindStringSubmatch(s) }

func (l lazyRegexp) FindStringSubmatchIndex(s string) []int {
	return l.compiled().FindStringSubmatchIndex(s)
}

func (l lazyRegexp) FindAllStringSubmatchIndex(s string, n int) [][]int {
	return l.compiled().FindAllStringSubmatchIndex(s, n)
}

func (l lazyRegexp) FindAllStringSubmatch(s string, n int) [][]string {
	return l.compiled().FindAllStringSubmatch(s, n)
}

func (l lazyRegexp) FindString(s string) string { return l.compiled().FindString(s) }

func (l lazyRegexp) FindAllString(s string) []string { return l.compiled().FindAllString(s, -1) }

func (l lazyRegexp) ReplaceAllString(s, by string) string {
	return l.compiled().ReplaceAllString(s, by)
}
