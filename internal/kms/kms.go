// Package kms reaches keys in key management services: AWS, Azure, Google Cloud,
// HashiCorp Vault and OpenBao, by the references that cosign takes (package
// keyref). Credentials are those that each service's own tools use. Those of the
// three clouds need the build tag cloud.
package kms

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault" // registers its schemes
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/companyos/helmproof/internal/keyref"
	"github.com/companyos/helmproof/internal/parts"
)

// timeout is how long a service may take to answer.
const timeout = 30 * time.Second

// Key is a key in a service. Its private half does not leave it.
type Key struct {
	reference string
	public    crypto.PublicKey
	service   kms.SignerVerifier
}

// Open asks the service for the key's public half.
func Open(ctx context.Context, reference string) (*Key, error) {
	if !keyref.Is(reference) {
		return nil, fmt.Errorf("key %s: want %s", reference, keyref.Want)
	}
	if scheme, _, _ := strings.Cut(reference, "://"); absent[scheme] != "" {
		return nil, fmt.Errorf("key %s: %w", reference, parts.Missing(absent[scheme]))
	}
	k, err := within(ctx, func(ctx context.Context) (*Key, error) {
		service, err := kms.Get(ctx, reference, crypto.SHA256)
		if err != nil {
			return nil, err
		}
		public, err := service.PublicKey(options.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		return &Key{reference, public, service}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", reference, err)
	}
	return k, nil
}

// Public is the public half.
func (k *Key) Public() crypto.PublicKey { return k.public }

// PublicPEM is the public half in PEM.
func (k *Key) PublicPEM() ([]byte, error) { return cryptoutils.MarshalPublicKeyToPEM(k.public) }

// Sign has the service sign a digest made with hash.
func (k *Key) Sign(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error) {
	sig, err := within(ctx, func(ctx context.Context) ([]byte, error) {
		return k.service.SignMessage(bytes.NewReader(nil), options.WithContext(ctx), options.WithDigest(digest), options.WithCryptoSignerOpts(hash))
	})
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.reference, err)
	}
	return sig, nil
}

// within ends when ctx does, or the time limit: not every service's client looks at it.
func within[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	done := make(chan result, 1)
	go func() {
		v, err := f(ctx)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		if r.err != nil && errors.Is(r.err, context.DeadlineExceeded) {
			r.err = context.Cause(ctx)
		}
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
