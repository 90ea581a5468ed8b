package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/signatures"
	"github.com/companyos/helmproof/evidence/bundle"
)

// evidenceLists says what a bundle's images were judged by that the gate has nothing of
// its own for, and so takes from the evidence.
func evidenceLists(b *bundle.Bundle) ([]string, error) {
	var out []string
	names := b.Names()
	if slices.Contains(names, images.PolicyFile) {
		raw, err := b.Read(images.PolicyFile)
		if err != nil {
			return nil, err
		}
		var p images.Policy
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, fmt.Errorf("%s: %w", images.PolicyFile, err)
		}
		out = append(out, fmt.Sprintf("scans of %s and databases of %s at most", time.Duration(p.MaxScanAge), time.Duration(p.MaxDatabaseAge)))
		if p.Grace > 0 {
			out = append(out, fmt.Sprintf("a grace of %s for new vulnerabilities", time.Duration(p.Grace)))
		}
		if p.FixableOnly {
			out = append(out, "vulnerabilities that nothing fixes only warn")
		}
	}
	for _, x := range []struct{ collector, folder, what string }{{images.Name, "vex/", "OpenVEX documents"}, {signatures.Name, "policies/", "signature policies"}} {
		n := 0
		for _, name := range names {
			if strings.HasPrefix(name, "artifacts/"+x.collector+"/"+x.folder) {
				n++
			}
		}
		if n > 0 {
			out = append(out, fmt.Sprintf("%s (%d)", x.what, n))
		}
	}
	return out, nil
}
