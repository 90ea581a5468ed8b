package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/companyos/helmproof/internal/probe"
)

// loadRequest reads a message as --load-request gives it: hex:…, base64:… or @FILE.
// Errors repeat nothing of it.
func loadRequest(text string) ([]byte, error) {
	form, rest, _ := strings.Cut(text, ":")
	var raw []byte
	var err error
	switch {
	case strings.HasPrefix(text, "@"):
		if raw, err = loadRequestFile(text[1:]); err != nil {
			return nil, err
		}
	case form == "hex":
		raw, err = hex.DecodeString(rest)
	case form == "base64":
		raw, err = base64.StdEncoding.DecodeString(rest)
	default:
		return nil, errors.New("want hex:BYTES, base64:BYTES or @FILE")
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("what follows %s: is not in that form", form)
	case len(raw) > probe.MaxMessage:
		return nil, fmt.Errorf("it is longer than %d bytes", probe.MaxMessage)
	}
	return raw, nil
}

// loadRequestFile reads a file, and at most one byte more than a message may have.
func loadRequestFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, probe.MaxMessage+1))
	return raw, errors.Join(err, f.Close())
}
