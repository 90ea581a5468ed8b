package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

const (
	idKey     = "repository.json"
	maxIDSize = 4 << 10
	maxIDLen  = 128
)

// identity is the content of repository.json, which is written once.
type identity struct {
	ID string `json:"id"`
}

// ID returns the id that is stored in the repository: fs.ErrNotExist where nothing
// was ever sealed for it, ErrStray where it cannot be read. It is not signed: who
// wants to know whose bundles count compares it with an id from elsewhere.
func (r *Repository) ID(ctx context.Context) (string, error) {
	raw, err := r.store.Read(ctx, idKey, maxIDSize)
	if errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrStray, err)
	}
	if err != nil {
		return "", fmt.Errorf("id of repository %s: %w", r.URL(), err)
	}
	var in identity
	if err := json.Unmarshal(raw, &in); err != nil || CheckID(in.ID) != nil {
		return "", fmt.Errorf("id of repository %s: %s: %w", r.URL(), idKey, ErrStray)
	}
	return in.ID, nil
}

// EnsureID returns the stored id, or stores the given one where there is none.
func (r *Repository) EnsureID(ctx context.Context, id string) (string, error) {
	if stored, err := r.ID(ctx); !errors.Is(err, fs.ErrNotExist) {
		return stored, err
	}
	if err := CheckID(id); err != nil {
		return "", err
	}
	raw, err := json.Marshal(identity{id})
	if err != nil {
		return "", err
	}
	switch err := r.store.Create(ctx, idKey, raw); {
	case errors.Is(err, ErrExists): // somebody else was faster
		return r.ID(ctx)
	case err != nil:
		return "", fmt.Errorf("id of repository %s: %w", r.URL(), err)
	}
	return id, nil
}

// CheckID refuses what cannot be a repository's id: 1 to 128 letters, digits, ".", "_" and "-".
func CheckID(id string) error {
	ok := id != "" && len(id) <= maxIDLen
	for _, c := range id {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fmt.Errorf("repository id %q: want 1 to %d letters, digits, \".\", \"_\" and \"-\"", id, maxIDLen)
	}
	return nil
}
