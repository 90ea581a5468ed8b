// Package oci reads from registries, bounded and checked, and says what went
// wrong in words that can be sealed.
package oci

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// The kinds of problems.
const (
	Unauthorized = "unauthorized" // 401 or 403
	Missing      = "missing"      // 404 for what should be there
	Limited      = "rate limited" // 429
	Registry     = "registry"     // any other answer
	Unreachable  = "unreachable"  // no answer
	TooLarge     = "too large"    // over a limit of ours
	Altered      = "altered"      // other bytes than the digest says
	NoKey        = "no key"       // a key management service did not give a key that signatures are verified with
)

// maxText bounds the text of an error, in bytes.
const maxText = 500

// Problem says why something of a registry is not known.
type Problem struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// ProblemOf tells what an error of the registry client means; nil when ctx ended.
func ProblemOf(ctx context.Context, err error) *Problem {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // whose end it is is the caller's to say
	}
	p := &Problem{Kind: Unreachable, Text: Clip(err.Error())}
	var answer *transport.Error
	switch {
	case errors.As(err, &answer):
		switch answer.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			p.Kind = Unauthorized
		case http.StatusNotFound:
			p.Kind = Missing
		case http.StatusTooManyRequests:
			p.Kind = Limited
		default:
			p.Kind = Registry
		}
	case strings.Contains(p.Text, "does not match requested digest") || strings.Contains(p.Text, "error verifying sha256"):
		p.Kind = Altered // the registry client has no type for it
	}
	return p
}

// Clip bounds a text of outside in an error.
func Clip(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// Error makes a problem an error.
func (p *Problem) Error() string { return p.String() }

func (p *Problem) String() string {
	switch p.Kind {
	case Unauthorized:
		return "the registry refused access: " + p.Text
	case Missing:
		return "the registry does not have it: " + p.Text
	case Limited:
		return "the registry limits requests: " + p.Text
	case Unreachable:
		return "the registry could not be reached: " + p.Text
	case TooLarge:
		return "too large: " + p.Text
	case Altered:
		return "the registry sent other bytes than the digest says: " + p.Text
	case NoKey:
		return "its key is not known: " + p.Text
	}
	return "the registry failed: " + p.Text
}

// Remediation says what to do about it.
func (p *Problem) Remediation() string {
	switch p.Kind {
	case Unauthorized:
		return "Log in to the registry (docker login) where helmproof runs, with permission to pull, and collect again."
	case Missing:
		return "Push the image with this digest, or correct the digest, and collect again."
	case TooLarge:
		return "Remove signatures and attestations that are not needed from the image, and collect again."
	case NoKey:
		return "Let helmproof's account read the key's public half, or write it into the policy (key.data), and collect again."
	}
	return "Make the registry reachable from where helmproof runs, and collect again."
}
