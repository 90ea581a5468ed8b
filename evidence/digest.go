package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Digest is "sha256:" followed by 64 lower-case hexadecimal digits.
// The zero value is "unknown" and is never equal to a computed digest.
type Digest string

const digestPrefix = "sha256:"

// DigestOf returns the SHA-256 digest of b.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest(digestPrefix + hex.EncodeToString(sum[:]))
}

// DigestOfReader returns the SHA-256 digest of all that r reads, and r's error.
func DigestOfReader(r io.Reader) (Digest, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return DigestOfHash(h), nil
}

// DigestOfHash returns the digest of what was written to a SHA-256 hash.
func DigestOfHash(h hash.Hash) Digest { return Digest(digestPrefix + hex.EncodeToString(h.Sum(nil))) }

// ParseDigest accepts "sha256:<64 hex>" or the bare 64 hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	h := strings.TrimPrefix(s, digestPrefix)
	if len(h) != 64 {
		return "", fmt.Errorf("digest %q: want sha256: and 64 hexadecimal digits", s)
	}
	for _, c := range h {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("digest %q: want lower-case hexadecimal digits", s)
		}
	}
	return Digest(digestPrefix + h), nil
}

// Hex returns the 64 hexadecimal digits without the algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Short returns the first 12 hexadecimal digits, for people; never compare it.
func (d Digest) Short() string {
	h := d.Hex()
	if len(h) > 12 {
		return h[:12]
	}
	return h
}
