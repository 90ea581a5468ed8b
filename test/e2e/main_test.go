// Package e2e holds the tests that need a real Kubernetes: docs/testing.md.
package e2e

import (
	"testing"

	"github.com/companyos/helmproof/test/kube"
)

func TestMain(m *testing.M) { kube.Main(m, kube.TierC) }
