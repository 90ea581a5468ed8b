package bundle

import (
	"fmt"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
)

// otherRules reports whether another version's rules sealed the bundle.
func (s *verification) otherRules() bool { return s.b.runs.RulesVersion() != s.rules }

// judgeAgain compares what this version's rules derive with what was sealed, by
// control, target and outcome: wording belongs to a version.
func (s *verification) judgeAgain(now gate.Replayed) (string, error) {
	in, err := s.judgedBy()
	if err != nil {
		return "", err
	}
	if err := gate.Consistent(s.b.verdict, in); err != nil {
		return "", err
	}
	if s.Catalog != nil {
		if now.Catalog, err = s.parseCatalog(s.Catalog); err != nil {
			return "", err
		}
	}
	s.result.replayed = &now
	counts, worse := gate.Again(in, s.b.verdict, now)
	return s.settle(counts, worse), nil
}

// settle keeps the verdict that counts, and says how it compares with the sealed one.
func (s *verification) settle(counts evidence.Verdict, worse []evidence.Worse) string {
	sealed := s.b.runs.RulesVersion()
	s.result.Rules, s.result.Worse, s.result.counts = &Versions{Sealed: sealed, This: s.rules}, worse, counts
	by := fmt.Sprintf("sealed by rules %d, judged again by rules %d", sealed, s.rules)
	if sealed > s.rules {
		by += ", which are older: a newer helmproof can say more"
	}
	if len(worse) == 0 {
		return by + ": no control is worse"
	}
	var list []string
	for _, w := range worse {
		if w.Now == w.Sealed {
			list = append(list, fmt.Sprintf("%s (%s)", w.Control, w.Reason))
		} else {
			list = append(list, fmt.Sprintf("%s (%s, sealed as %s)", w.Control, w.Now, w.Sealed))
		}
	}
	return fmt.Sprintf("%s: intact, but worse in %s", by, strings.Join(list, ", "))
}

func waiversOf(v evidence.Verdict) []evidence.Waiver {
	var out []evidence.Waiver
	for _, w := range v.Waivers {
		out = append(out, w.Waiver)
	}
	return out
}
