// Package trivy scans images with Trivy, which the user has: as a program on
// this machine.
package trivy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// Name is the scanner's name.
const Name = "trivy"

// Limits on what Trivy prints, in bytes.
const (
	maxVersion = 1 << 20
	maxErrors  = 64 << 10
)

// settings are the arguments of every scan: packages with vulnerabilities, from
// the registry, with the database that State saw.
var settings = []string{"image", "--quiet", "--format", "json", "--scanners", "vuln", "--image-src", "remote", "--skip-db-update", "--skip-version-check"}

// Options says how to run it.
type Options struct {
	// Command is the program: a path, or a name in PATH.
	Command string
	// Timeout is how long one image, or fetching the database, may take.
	Timeout time.Duration
	// PlainHTTP talks to the registries without TLS.
	PlainHTTP bool
}

// Program is Trivy on this machine. It is a scan.Scanner.
type Program struct {
	o       Options
	version []byte // what it says of itself and of its database
}

// New returns the scanner; the error says that there is no such program.
func New(o Options) (*Program, error) {
	path, err := exec.LookPath(o.Command)
	if err != nil {
		return nil, fmt.Errorf("trivy: %w; install it (https://trivy.dev), or name it with --trivy", err)
	}
	o.Command = path
	return &Program{o: o}, nil
}

// Name implements scan.Scanner.
func (*Program) Name() string { return Name }

// State implements scan.Scanner. It has Trivy fetch its database where there is a
// newer one; where that fails the one at hand is used, and its age is judged.
func (p *Program) State(ctx context.Context) (evidence.Digest, error) {
	_, fetchErr := p.run(ctx, maxVersion, "image", "--quiet", "--download-db-only", "--skip-version-check")
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	raw, err := p.run(ctx, maxVersion, "version", "--format", "json")
	if err != nil {
		return "", err
	}
	version, built, err := scan.ReadTrivyVersion(raw)
	if err != nil {
		return "", errors.Join(err, fetchErr)
	}
	p.version = raw
	state, err := json.Marshal([]any{version, built, settings, p.o.PlainHTTP})
	if err != nil {
		return "", err
	}
	return evidence.DigestOf(state), nil
}

// Scan implements scan.Scanner. Images are scanned one after the other: Trivy's
// cache takes one process at a time.
func (p *Program) Scan(ctx context.Context, targets []scan.Target, done func(int, scan.Result)) error {
	for i, t := range targets {
		args := append(append([]string{}, settings...), "--platform", t.Platform)
		if p.o.PlainHTTP {
			args = append(args, "--insecure")
		}
		raw, err := p.run(ctx, scan.DefaultLimits().MaxBytes, append(args, "--", t.Reference)...)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		done(i, scan.Result{Raw: raw, Version: p.version, Err: err})
	}
	return nil
}

// run returns what Trivy prints. The error has the last line that it wrote about it.
func (p *Program) run(ctx context.Context, limit int64, args ...string) ([]byte, error) {
	limited, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, fmt.Errorf("no result within %s", p.o.Timeout))
	defer cancel()
	cmd := exec.CommandContext(limited, p.o.Command, args...) //nolint:gosec // the user's own program; what it is about follows --
	cmd.WaitDelay = 5 * time.Second
	out, errs := &bounded{limit: limit}, &bounded{limit: maxErrors, drop: true}
	cmd.Stdout, cmd.Stderr = out, errs
	err := cmd.Run()
	switch {
	case out.over:
		return nil, fmt.Errorf("trivy printed more than the %d bytes that are read", limit)
	case err != nil && limited.Err() != nil:
		return nil, context.Cause(limited)
	case err != nil:
		return nil, fmt.Errorf("trivy %s: %w: %s", args[0], err, lastLine(errs.kept.Bytes()))
	}
	return out.kept.Bytes(), nil
}

func lastLine(raw []byte) string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(raw), "")), "\n")
	return oci.Clip(strings.Join(strings.Fields(lines[len(lines)-1]), " "))
}

// bounded keeps the first bytes; with drop it takes what follows all the same.
// The buffer is no embedded one: its ReadFrom would know no limit.
type bounded struct {
	kept  bytes.Buffer
	limit int64
	drop  bool
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if left := b.limit - int64(b.kept.Len()); int64(len(p)) > left {
		b.over = true
		if !b.drop {
			return 0, io.ErrShortWrite
		}
		b.kept.Write(p[:left])
		return len(p), nil
	}
	return b.kept.Write(p)
}
