package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// userLog writes what the engine wants people to know to standard error, a line each.
type userLog struct {
	mu *sync.Mutex
	w  io.Writer
}

func newUserLog(w io.Writer) *slog.Logger { return slog.New(userLog{new(sync.Mutex), w}) }

func (userLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (u userLog) Handle(_ context.Context, r slog.Record) error {
	prefix := "helmproof: "
	if r.Level >= slog.LevelWarn {
		prefix += "warning: "
	}
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	u.mu.Lock()
	defer u.mu.Unlock()
	_, err := fmt.Fprintln(u.w, prefix+printable(text))
	return err
}

func (u userLog) WithAttrs([]slog.Attr) slog.Handler { return u }
func (u userLog) WithGroup(string) slog.Handler      { return u }
