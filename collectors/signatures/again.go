package signatures

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/companyos/helmproof/evidence"
)

// RecordFile is the artifact that says what was fetched, and what it is judged by.
const RecordFile = folder + recordFile

// Lists is what signatures are judged by. It is sealed with the files that it names.
type Lists struct {
	Policies    []policyRecord `json:"policies"`
	TrustedRoot string         `json:"trustedRoot,omitempty"` // artifact
	Keys        []keyRecord    `json:"keys,omitempty"`        // in key management services, by reference

	files memory
}

// memory is files by name in evidence.zip, written below a folder of it.
type memory map[string][]byte

type below struct {
	memory
	folder string
}

func (b below) Write(name string, content []byte) error {
	b.memory[b.folder+name] = content
	return nil
}

// ReadLists makes lists of policies for somebody who did not collect the evidence. Its
// files are called what they are to be sealed as, in the folder of evidence.zip. Key
// management services are asked for the keys that policies name: one that does not
// answer is recorded. An error is that of a policy, or of ctx.
func ReadLists(ctx context.Context, o Options, folder string) (*Lists, error) {
	set, err := parsePolicies(o.Policies, o.TrustedRoot, nil)
	if err != nil {
		return nil, err
	}
	files := memory{}
	l, err := seal(ctx, o, set, below{files, folder + "/"}, folder+"/")
	if err != nil {
		return nil, err
	}
	l.files = files
	return l, nil
}

// Open gives lists that were parsed of their sealed form the files that they name. An
// error says what cannot be read.
func (l *Lists) Open(in evidence.ArtifactReader) error {
	l.files = memory{}
	names := []string{l.TrustedRoot}
	for _, p := range l.Policies {
		names = append(names, p.Artifact)
	}
	for _, k := range l.Keys {
		names = append(names, k.Artifact)
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		var err error
		if l.files[name], err = in.Read(name); err != nil {
			return err
		}
	}
	return nil
}

// Files are those to be sealed with the lists, by name.
func (l *Lists) Files() map[string][]byte { return l.files }

// Over puts the lists over those of evidence, of which it returns the policies' names:
// findings derived with these files over those of the evidence are by the lists alone.
// An error says which artifact cannot be read.
func (l *Lists) Over(in evidence.ArtifactReader) (files map[string][]byte, was []string, err error) {
	var rec record
	raw, err := in.Read(RecordFile)
	if err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(raw, &rec); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", RecordFile, err)
	}
	for _, p := range rec.Policies {
		was = append(was, p.Name)
	}
	rec.Lists = *l
	files = map[string][]byte{}
	for name, raw := range l.files {
		files[name] = raw
	}
	if files[RecordFile], err = json.Marshal(rec); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", RecordFile, err)
	}
	return files, was, nil
}
