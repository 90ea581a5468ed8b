package policy

import (
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Refusal is what a built-in policy says against an object.
type Refusal struct {
	Policy  string // without helmproof-
	Message string
	// Undecided says that the policy could not be evaluated, and refuses for that.
	Undecided bool
}

// Refusals returns, for each object, what the built-in policies among those of a
// policies.yaml would refuse it for if it were created as it stands. Namespaces among
// the objects are what the policies know of namespaces' labels. An error is one of the policies.
func Refusals(policies []byte, objects []manifest.Object) ([][]Refusal, error) {
	set, err := load(policies)
	if err != nil {
		return nil, err
	}
	w := newWorld("", objects)
	out := make([][]Refusal, len(objects))
	err = inParallel(len(objects), func(i int) error {
		sub := w.subject(&objects[i])
		for _, r := range set.policies {
			if !r.builtin {
				continue
			}
			results, err := set.evaluate(r, w, sub)
			if err != nil {
				return err
			}
			for _, res := range results {
				if res.outcome != evidence.OutcomePass {
					out[i] = append(out[i], Refusal{strings.TrimPrefix(r.rule, rulePrefix), res.message, res.outcome != evidence.OutcomeFail && res.outcome != evidence.OutcomeWarn})
				}
			}
		}
		return nil
	})
	return out, err
}
