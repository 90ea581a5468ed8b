//go:build !cloud

package gcs

import (
	"context"

	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/parts"
)

// Open says that this build has no Google Cloud Storage.
func Open(context.Context, string, string) (repository.Store, error) {
	return nil, parts.Missing("Google Cloud Storage")
}
