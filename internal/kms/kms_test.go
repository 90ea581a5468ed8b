package kms

import (
	"strings"
	"testing"

	"github.com/companyos/helmproof/internal/keyref"
)

// TestAbsent holds that a build without a service says so, and how to get it, and
// that it knows the service's references all the same.
func TestAbsent(t *testing.T) {
	t.Parallel()
	for scheme, service := range absent {
		reference := scheme + "://a/b"
		if !keyref.Is(reference) {
			t.Errorf("%s is no reference", reference)
		}
		_, err := Open(t.Context(), reference)
		if want := "key " + reference + ": this build has no " + service + ": make build makes one that has (go build -tags cloud)"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Open(t.Context(), "ls://a"); err == nil || !strings.Contains(err.Error(), "want awskms://…") {
		t.Errorf("%v", err)
	}
}
