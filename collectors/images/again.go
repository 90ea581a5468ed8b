package images

import (
	"encoding/json"
	"fmt"

	"github.com/companyos/helmproof/evidence"
)

// PolicyFile is the artifact that has what images were judged by.
const PolicyFile = folder + policyFile

// ForRegistries is a sealed policy that judges registries alone, by another
// allow-list than the one that was sealed, which it returns. Findings derived with it
// are those that collecting with that list would have made.
func ForRegistries(policy []byte, allow []string, controls []evidence.ControlID) (changed []byte, was []string, err error) {
	var p Policy
	if err := json.Unmarshal(policy, &p); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", PolicyFile, err)
	}
	was = p.Registries
	p.Registries, p.Controls = allow, controls
	changed, err = json.Marshal(p)
	return changed, was, err
}

// CheckRegistries says what is wrong with an allow-list.
func CheckRegistries(allow []string) error { return (&Policy{Registries: allow}).check() }
