package chart

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/semver/v3"
)

// No rendering shows what a template does for one patch version of Kubernetes, one
// suffix or one revision. So the other renderings have numbers there that nobody can
// know, and that can be told in what conditions and functions are given, by whatever
// ways they get there.

// otherPatch is the patch version of a provider's cluster, and the number in its suffix.
var otherPatch = 2_000_000_000 + rand.N(1_000_000_000)

const byPatch = " acts on the patch version or the suffix of .Capabilities.KubeVersion: not all of them were rendered"

// mark says what a number in a text stands for.
func (r *rendering) mark(s string) (patch, revision bool) {
	if len(s) < 10 {
		return false, false
	}
	ofPatch, made := r.marks[s]
	return strings.Contains(s, markPatch) || made && ofPatch, strings.Contains(s, markRevision) || made && !ofPatch
}

var markPatch, markRevision = fmt.Sprint(otherPatch), fmt.Sprint(otherRevision)

// sawText notes that a template decides by a text. excused: only whether it is an upgrade.
func (r *rendering) sawText(s string, excused bool) {
	patch, revision := r.mark(s)
	if patch {
		r.depend(r.current + byPatch)
	}
	if revision && !excused {
		r.depend(r.current + byNumber)
	}
}

// maxMarks bounds what is known to be made of a mark.
const maxMarks = 1000

// ofTexts are functions of texts that are tried with other numbers; the value says
// whether the function looks for something.
var ofTexts = map[string]bool{
	"contains": true, "hasPrefix": true, "hasSuffix": true, "regexMatch": true, "mustRegexMatch": true, "regexFind": true, "mustRegexFind": true,
	"regexFindAll": true, "mustRegexFindAll": true, "regexSplit": false, "mustRegexSplit": false, "split": false, "splitList": false, "splitn": false,
	"regexReplaceAll": false, "mustRegexReplaceAll": false, "regexReplaceAllLiteral": false, "mustRegexReplaceAllLiteral": false, "replace": false,
	"trim": false, "trimAll": false, "trimPrefix": false, "trimSuffix": false, "trunc": false, "substr": false, "nospace": false,
	"upper": false, "lower": false, "title": false, "untitle": false, "semver": false, "semverCompare": false,
	"b64enc": false, "b32enc": false, "sha1sum": false, "sha256sum": false, "sha512sum": false,
}

// digests are functions whose result stands for what they get.
var digests = setOf("b64enc", "b32enc", "sha1sum", "sha256sum", "sha512sum")

// tried has the functions of texts in f tried with other numbers where they get a mark.
func (r *rendering) tried(f template.FuncMap) template.FuncMap {
	out := template.FuncMap{}
	for name := range ofTexts {
		fn := reflect.ValueOf(f[name])
		if !fn.IsValid() {
			continue
		}
		out[name] = reflect.MakeFunc(fn.Type(), func(args []reflect.Value) []reflect.Value {
			results := fn.Call(args)
			r.try(name, fn, args, results[0])
			return results
		}).Interface()
	}
	return out
}

func (r *rendering) try(name string, fn reflect.Value, args []reflect.Value, result reflect.Value) {
	patch, revision := false, false
	for _, a := range args {
		if a.Kind() == reflect.String {
			p, n := r.mark(a.String())
			patch, revision = patch || p, revision || n
		}
	}
	if !patch && !revision {
		return
	}
	if digests[name] && len(r.marks) < maxMarks {
		if r.marks == nil {
			r.marks = map[string]bool{}
		}
		r.marks[result.String()] = patch
		return
	}
	r.asksSuffix = r.asksSuffix || patch && name != "semver" && name != "semverCompare"
	kept := false
	d := &digest{left: maxTraced, see: func(s string) {
		p, n := r.mark(s)
		kept = kept || p || n
	}}
	d.value(result, true)
	switch {
	case kept:
		if name != "trunc" && name != "substr" && !r.keepsOthers(fn, args, result) || patch && !ofTexts[name] && r.namesNumber(args) {
			if revision {
				r.depend(r.current + byNumber)
			}
			if patch {
				r.depend(r.current + byPatch)
			}
		}
	case revision:
		r.depend(r.current + byNumber)
	case name == "semverCompare":
		if patchMatters(args[0].String(), args[1].String()) {
			r.depend(r.current + byPatch)
		}
	case r.differs(fn, args, result), ofTexts[name] && result.IsZero() && r.namesSuffix(args):
		r.depend(r.current + byPatch)
	}
}

// keepsOthers reports whether a function that kept the mark does so with other numbers:
// what takes one away decides by it.
func (r *rendering) keepsOthers(fn reflect.Value, args []reflect.Value, result reflect.Value) bool {
	texts := func(v reflect.Value, with func(string) string) (out []string) {
		d := &digest{left: maxTraced, see: func(s string) { out = append(out, with(s)) }}
		d.value(v, true)
		return out
	}
	same := func(s string) string { return s }
	var constants []string
	for _, a := range args {
		if a.Kind() == reflect.String && !strings.Contains(a.String(), markPatch) && !strings.Contains(a.String(), markRevision) {
			constants = append(constants, a.String())
		}
	}
	for _, n := range numbersNear(strings.Join(constants, " ")) {
		as := func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(s, markPatch, fmt.Sprint(n)), markRevision, fmt.Sprint(n))
		}
		other := slices.Clone(args)
		for i, a := range args {
			if a.Kind() == reflect.String {
				other[i] = reflect.ValueOf(as(a.String()))
			}
		}
		if results := fn.Call(other); !slices.Equal(texts(results[0], same), texts(result, as)) {
			return false
		}
	}
	return true
}

// namesNumber reports whether what is taken away is more of a version than its minor one.
func (r *rendering) namesNumber(args []reflect.Value) bool {
	return slices.ContainsFunc(args, func(a reflect.Value) bool {
		if a.Kind() != reflect.String || strings.Contains(a.String(), markPatch) || minorOnly.MatchString(a.String()) {
			return false
		}
		return number.MatchString(anyVersion.ReplaceAllString(a.String(), ""))
	})
}

// differs reports whether a function has another result for another number.
func (r *rendering) differs(fn reflect.Value, args []reflect.Value, result reflect.Value) bool {
	sum := func(v reflect.Value) uint64 {
		d := &digest{left: maxTraced}
		d.value(v, true)
		return d.sum
	}
	var constants []string
	for _, a := range args {
		if a.Kind() == reflect.String && !strings.Contains(a.String(), markPatch) {
			constants = append(constants, a.String())
		}
	}
	want := sum(result)
	for _, n := range numbersNear(strings.Join(constants, " ")) {
		other := slices.Clone(args)
		for i, a := range args {
			if a.Kind() == reflect.String {
				other[i] = reflect.ValueOf(strings.ReplaceAll(a.String(), markPatch, fmt.Sprint(n)))
			}
		}
		if sum(fn.Call(other)[0]) != want {
			return true
		}
	}
	return false
}

var number = regexp.MustCompile(`[0-9]{1,9}`)

// numbersNear are numbers to try: some of each length, and those around the ones in a text.
func numbersNear(text string) []int {
	out := []int{0, 1, 3, 5, 8, 47, 912, 568_912}
	for i, m := range number.FindAllString(text, 20) {
		var n int
		if _, err := fmt.Sscan(m, &n); err == nil && i < 20 {
			out = append(out, max(n-1, 0), n, n+1)
		}
	}
	return out
}

// Parts of patterns that stand for any version, and texts that name a minor version.
var (
	anyVersion = regexp.MustCompile(`\[[^\]]*\]|\{[^}]*\}|\\[dDwWsS]|[vV]`)
	minorOnly  = regexp.MustCompile(`^[^0-9A-Za-z]*v?1[^0-9A-Za-z]+[0-9]+[^0-9A-Za-z]*$`)
)

// namesSuffix reports whether what is looked for, and was not found, may be the patch
// version or the suffix of a cluster that nobody rendered for.
func (r *rendering) namesSuffix(args []reflect.Value) bool {
	for _, a := range args {
		if a.Kind() == reflect.String && !strings.Contains(a.String(), markPatch) {
			s := a.String()
			if !minorOnly.MatchString(s) && strings.ContainsFunc(anyVersion.ReplaceAllString(s, ""), func(c rune) bool {
				return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
			}) {
				return true
			}
		}
	}
	return false
}

// patchMatters reports whether a constraint takes some patch versions of the minor
// version that a version is of, and not others, with a suffix or without. That a
// suffix alone matters is for renderings to show.
func patchMatters(constraint, version string) bool {
	v, err := semver.NewVersion(version)
	if err != nil || !strings.Contains(leadingZeros.ReplaceAllString(constraint, "."), fmt.Sprintf(".%d", v.Minor())) {
		return false
	}
	c, err := semver.NewConstraint(constraint)
	if err != nil {
		return false
	}
	suffixes := []string{"", "-gke.1200", "-eks-3025e55"}
	for _, m := range prerelease.FindAllString(constraint, 20) {
		if m != "-0" {
			suffixes = append(suffixes, m)
		}
	}
	var with []bool // answers to versions with a suffix
	for _, suffix := range suffixes {
		var first *bool
		for _, n := range numbersNear(constraint) {
			probe, err := semver.NewVersion(fmt.Sprintf("%d.%d.%d%s", v.Major(), v.Minor(), n, suffix))
			if err != nil {
				continue
			}
			got := c.Check(probe)
			if first != nil && *first != got {
				return true
			}
			first = &got
		}
		if suffix != "" && first != nil {
			with = append(with, *first)
		}
	}
	return slices.Contains(with, true) && slices.Contains(with, false)
}

var leadingZeros = regexp.MustCompile(`\.0+`)

var prerelease = regexp.MustCompile(`-[0-9A-Za-z][0-9A-Za-z.-]*`)

// tells reports whether a constraint answers otherwise for a version in the other
// renderings.
func tells(compare func(string, string) (bool, error), constraint, version string) bool {
	v, err := semver.NewVersion(version)
	if err != nil {
		return true
	}
	if v.Prerelease() != "" { // the same in all of them
		return false
	}
	want, err := compare(constraint, version)
	if err != nil {
		return false // which ends them all
	}
	return slices.ContainsFunc([]string{upgradeVersion(v), providerVersion(v)}, func(other string) bool {
		got, err := compare(constraint, other)
		return err != nil || got != want
	})
}

// bound is semverCompare of the version of Kubernetes itself.
func (r *rendering) bound(compare any) func(string, reflect.Value) (bool, error) {
	of, _ := compare.(func(string, string) (bool, error))
	return func(constraint string, v reflect.Value) (bool, error) {
		var version string
		switch x := concrete(v); {
		case x.Kind() == reflect.String:
			version = x.String()
		default:
			return false, fmt.Errorf("semverCompare: wrong type for a version: %v", v)
		}
		r.ask(func(f *keptFile) {
			f.kube = f.kube || r.keeping.caps == nil || version != r.keeping.caps.KubeVersion.Version
			f.bounds[constraint], _ = of(constraint, version) // an error ends the rendering
		})
		asked := [2]string{constraint, version}
		matters, known := r.bounds[asked]
		if !known {
			matters = patchMatters(constraint, version)
			r.asksVersion = r.asksVersion || matters || tells(of, constraint, version)
			r.asksCluster = r.asksCluster || r.asksVersion
			if len(r.bounds) < maxMarks {
				r.bounds[asked] = matters
			}
		}
		if matters {
			r.depend(r.current + byPatch)
		}
		return of(constraint, version)
	}
}
