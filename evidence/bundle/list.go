package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"

	"github.com/companyos/helmproof/evidence"
)

// Findings can be many more than all else that is sealed. They are written, read and
// compared one by one, so that their JSON is in memory once at most.

// eachCanonical hands the canonical form of a list to write, piece by piece.
func eachCanonical[T any](list []T, write func([]byte) error) error {
	begin := byte('[')
	for i := range list {
		raw, err := CanonicalJSON(&list[i])
		if err == nil {
			err = write(append([]byte{begin}, raw...))
		}
		if err != nil {
			return err
		}
		begin = ','
	}
	if len(list) == 0 {
		return write([]byte("[]"))
	}
	return write([]byte{']'})
}

// canonicalList is CanonicalJSON of a list that is never null.
func canonicalList[T any](list []T) ([]byte, error) {
	var out []byte
	err := eachCanonical(list, func(b []byte) error {
		out = append(out, b...)
		return nil
	})
	return out, err
}

// errDiffers says that a list is written otherwise.
var errDiffers = errors.New("not in the canonical form that helmproof writes")

// isCanonicalList holds that raw is the canonical form of list; errDiffers if not.
func isCanonicalList[T any](raw []byte, list []T) error {
	err := eachCanonical(list, func(b []byte) error {
		var ok bool
		if raw, ok = bytes.CutPrefix(raw, b); !ok {
			return errDiffers
		}
		return nil
	})
	if err == nil && len(raw) > 0 {
		return errDiffers
	}
	return err
}

// readFindings is readRecord for findings. Their texts are mostly the same ones, and
// are kept once.
func readFindings(raw []byte) ([]evidence.Finding, error) {
	if !bytes.HasPrefix(raw, []byte("[")) {
		return nil, cmp.Or(readRecord(raw, new([]evidence.Finding)), errDiffers)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	list, known := []evidence.Finding{}, texts{}
	for dec.More() {
		var f evidence.Finding
		if err := dec.Decode(&f); err != nil {
			return nil, err
		}
		known.share(&f)
		list = append(list, f)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errDiffers
	}
	return list, isCanonicalList(raw, list)
}

// texts are texts that were seen.
type texts map[string]string

func (t texts) one(s string) string {
	if was, ok := t[s]; ok {
		return was
	}
	t[s] = s
	return s
}

func (t texts) share(f *evidence.Finding) {
	for _, s := range []*string{&f.Rule, &f.Message, &f.Remediation, &f.Target.APIVersion, &f.Target.Kind, &f.Target.Namespace, &f.Target.Name, &f.Target.Container, &f.Target.File} {
		*s = t.one(*s)
	}
	f.Outcome, f.Severity = evidence.Outcome(t.one(string(f.Outcome))), evidence.Severity(t.one(string(f.Severity)))
	for i, c := range f.Controls {
		f.Controls[i] = evidence.ControlID(t.one(string(c)))
	}
	for i := range f.Evidence {
		p := &f.Evidence[i]
		p.Artifact, p.Digest, p.Lines = t.one(p.Artifact), evidence.Digest(t.one(string(p.Digest))), t.one(p.Lines)
	}
}
