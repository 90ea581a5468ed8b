package dir

import (
	"context"
	"io"
	"os"
)

// OpenSyncing is Open with another way to make files and directories durable.
func OpenSyncing(root string, sync func(*os.File) error) *Store {
	s := Open(root)
	s.sync = sync
	return s
}

// Reading reads f as Store.Open does.
func Reading(ctx context.Context, f *os.File) io.Reader { return &file{File: f, ctx: ctx} }
