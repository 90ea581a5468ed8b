package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// passwordVariable holds the password of a private key, as for cosign.
const passwordVariable = "COSIGN_PASSWORD"

// password is that of a private key: of COSIGN_PASSWORD where that is set, also to
// nothing, or what somebody types at a terminal, unseen. Elsewhere it is empty: nobody
// is asked through a pipe.
func (a *app) password(ctx context.Context, prompt string) ([]byte, error) {
	if text, ok := os.LookupEnv(passwordVariable); ok {
		return []byte(text), nil
	}
	in, ok := a.io.in.(*os.File)
	if !ok || !isTerminal(in) {
		return nil, nil
	}
	a.asked = true
	return readPassword(ctx, in, a.io.err, printable(prompt))
}

// readPassword asks at a terminal, which echoes nothing meanwhile and is as it was
// afterwards, also where ctx ends first.
func readPassword(ctx context.Context, in *os.File, out io.Writer, prompt string) ([]byte, error) {
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("ask for a password: %w; give it in %s", err, passwordVariable)
	}
	type answer struct {
		text []byte
		err  error
	}
	done := make(chan answer, 1)
	fmt.Fprint(out, prompt)
	go func() {
		text, err := term.ReadPassword(fd)
		done <- answer{text, err}
	}()
	defer fmt.Fprintln(out)
	select {
	case got := <-done:
		if got.err != nil {
			return nil, fmt.Errorf("ask for a password: %w; give it in %s", got.err, passwordVariable)
		}
		return got.text, nil
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), term.Restore(fd, before))
	}
}

// newPassword is the password of a key that is made: asked for twice at a terminal.
func (a *app) newPassword(ctx context.Context, name string) ([]byte, error) {
	first, err := a.password(ctx, "new password of "+name+" (empty: none): ")
	if err != nil || !a.asked {
		return first, err
	}
	again, err := a.password(ctx, "the same again: ")
	if err != nil {
		return nil, err
	}
	if string(again) != string(first) {
		return nil, usageErr("the passwords differ: nothing was written")
	}
	return first, nil
}
