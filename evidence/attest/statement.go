// Package attest signs and verifies in-toto statements: a DSSE envelope in a
// Sigstore bundle v0.3, by a key, with RFC 3161 timestamps where an authority is
// given. Everything here works offline but asking for a timestamp.
package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"github.com/companyos/helmproof/evidence"
)

// The predicate types. Once something has been signed with one, it never changes.
const (
	EvidenceType = "https://github.com/companyos/helmproof/evidence/v1"
	ReportsType  = "https://github.com/companyos/helmproof/reports/v1"
	VSAType      = "https://slsa.dev/verification_summary/v1"  // https://slsa.dev/spec/v1.0/verification_summary
	VulnsType    = "https://in-toto.io/attestation/vulns/v0.2" // https://github.com/in-toto/attestation/blob/main/spec/predicates/vulns_02.md
	// ReviewType is that of people: who reviewed what, in which role (package review).
	ReviewType = "https://github.com/companyos/helmproof/review/v1"
	// WithdrawalType is that of a review's withdrawal, whose subject is the signed review.
	WithdrawalType = "https://github.com/companyos/helmproof/review-withdrawal/v1"
)

const (
	statementType = "https://in-toto.io/Statement/v1" // https://github.com/in-toto/attestation/tree/main/spec/v1
	payloadType   = "application/vnd.in-toto+json"
	// maxSubjects bounds a statement that is read; a release has some dozens.
	maxSubjects = 10_000
)

// Subject is what a statement is about, matched by digest only.
type Subject struct {
	Name   string
	Digest evidence.Digest
}

// Statement is an in-toto Statement v1.
type Statement struct {
	PredicateType string
	Subjects      []Subject // the first one is the artifact that is verified against
	Predicate     json.RawMessage
}

type statementJSON struct {
	Type          string          `json:"_type"`
	Subject       []subjectJSON   `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subjectJSON struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Marshal returns the statement as canonical JSON (RFC 8785).
func (s *Statement) Marshal() ([]byte, error) {
	if s.PredicateType == "" || len(s.Predicate) == 0 {
		return nil, errors.New("statement without a predicate and its predicate type")
	}
	out := statementJSON{Type: statementType, PredicateType: s.PredicateType, Predicate: s.Predicate}
	for _, x := range s.Subjects {
		if _, err := evidence.ParseDigest(string(x.Digest)); err != nil {
			return nil, fmt.Errorf("statement subject %s: %w", x.Name, err)
		}
		out.Subject = append(out.Subject, subjectJSON{Name: x.Name, Digest: map[string]string{"sha256": x.Digest.Hex()}})
	}
	if len(out.Subject) == 0 {
		return nil, errors.New("statement without a subject")
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	return jsoncanonicalizer.Transform(raw)
}

// ParseStatement reads a statement strictly: version 1, at least one subject,
// each with a SHA-256 digest, a predicate, and exactly the bytes that Marshal
// writes: no unknown, repeated or differently spelled key.
func ParseStatement(raw []byte) (*Statement, error) {
	var in statementJSON
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return nil, fmt.Errorf("in-toto statement: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("in-toto statement: data after the statement")
	}
	if in.Type != statementType {
		return nil, fmt.Errorf("in-toto statement: _type %q, want %q", in.Type, statementType)
	}
	if len(in.Subject) == 0 || len(in.Subject) > maxSubjects {
		return nil, fmt.Errorf("in-toto statement: %d subjects", len(in.Subject))
	}
	out := &Statement{PredicateType: in.PredicateType, Predicate: in.Predicate}
	for _, s := range in.Subject {
		d, err := evidence.ParseDigest("sha256:" + s.Digest["sha256"])
		if err != nil {
			return nil, fmt.Errorf("in-toto statement: subject %q: %w", s.Name, err)
		}
		out.Subjects = append(out.Subjects, Subject{Name: s.Name, Digest: d})
	}
	again, err := out.Marshal()
	if err != nil {
		return nil, fmt.Errorf("in-toto statement: %w", err)
	}
	if !bytes.Equal(raw, again) {
		return nil, errors.New("in-toto statement: not in the canonical form (RFC 8785) that it is signed in")
	}
	return out, nil
}
