// Release builds a release of helmproof into a folder: `make release VERSION=v1.2.3`.
// It runs in a clone of the repository without changes, and publishes nothing.
//
// Two runs on the same commit with the same release of Go write the same bytes,
// wherever the clones lie. SOURCE_DATE_EPOCH is the commit's time unless it is set.
package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/internal/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var platforms, key, nfpm string
	var dirty bool
	r := new(release.Release)
	fl := flag.NewFlagSet("release", flag.ContinueOnError)
	fl.StringVar(&r.Version, "version", "", "`VERSION` to release, such as v1.2.3")
	fl.StringVar(&r.Dist, "dist", "dist", "empty `DIR` for the release")
	fl.StringVar(&platforms, "platforms", "", "OS/ARCH to build for, separated by spaces; all of a release if empty")
	fl.StringVar(&key, "key", "", "private key `FILE` that signs the provenance, its password in COSIGN_PASSWORD; not signed if empty")
	fl.StringVar(&nfpm, "nfpm", "", "`PROGRAM` that makes deb and rpm packages; none are made if empty")
	fl.BoolVar(&dirty, "dirty", false, "release a tree with changes that are not committed, to try things out")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if fl.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fl.Arg(0))
	}
	r.Platforms = release.Platforms
	if names := strings.Fields(platforms); len(names) > 0 {
		r.Platforms = nil
		for _, name := range names {
			p, err := release.ParsePlatform(name)
			if err != nil {
				return err
			}
			r.Platforms = append(r.Platforms, p)
		}
	}
	if err := source(ctx, r, dirty); err != nil {
		return err
	}
	if key != "" {
		signer, err := attest.LoadSigner(key, func() ([]byte, error) { return []byte(os.Getenv("COSIGN_PASSWORD")), nil })
		if err != nil {
			return err
		}
		r.Signer = signer
	}
	b := builder{r}
	r.Build, r.Beside, r.Info = b.build, b.beside, buildinfo.ReadFile
	if nfpm != "" {
		r.Packager = func(ctx context.Context, format, config, target string) error {
			_, err := output(ctx, []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.When.Unix(), 10)}, nfpm, "package", "--config", config, "--packager", format, "--target", target)
			return err
		}
	}
	return r.Make(ctx)
}

// source says what is released: the commit that is checked out, and nothing beside it.
func source(ctx context.Context, r *release.Release, dirty bool) error {
	changes, err := output(ctx, nil, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if len(changes) > 0 && !dirty {
		return fmt.Errorf("the tree has changes that are not committed:\n%s", changes)
	}
	head, err := output(ctx, nil, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return err
	}
	commit, seconds, _ := strings.Cut(strings.TrimSpace(string(head)), " ")
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		seconds = s
	}
	epoch, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.Commit, r.When = commit, time.Unix(epoch, 0).UTC()
	return nil
}

type builder struct{ *release.Release }

// build compiles a static program that says nothing of where it was built.
func (b builder) build(ctx context.Context, p release.Platform, file string) error {
	fmt.Fprintf(os.Stderr, "release: building for %s\n", p)
	abs, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	_, err = output(ctx, []string{"GOOS=" + p.OS, "GOARCH=" + p.Arch, "CGO_ENABLED=0", "GOFLAGS=-tags=cloud", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off"},
		"go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-ldflags", "-s -w -buildid= -X main.version="+b.Version+" -X main.commit="+b.Commit, "-o", abs, "./cmd/helmproof")
	return err
}

// beside is what the program of this machine's platform says of itself, and files of
// the repository.
func (b builder) beside(ctx context.Context, programs map[release.Platform]string) (_ []release.File, err error) {
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	host := release.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}
	program := programs[host]
	if program == "" {
		program = filepath.Join(work, "helmproof")
		if err := b.build(ctx, host, program); err != nil {
			return nil, err
		}
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	return b.documents(ctx, program, work)
}

// documents collects licence, README, the example chart, manual pages and completions.
func (b builder) documents(ctx context.Context, program, work string) ([]release.File, error) {
	tracked, err := output(ctx, nil, "git", "ls-files", "-z", "LICENSE", "README.md", "CHANGELOG.md", "charts/service")
	if err != nil {
		return nil, err
	}
	var out []release.File
	add := func(name, from string) error {
		raw, err := os.ReadFile(from)
		out = append(out, release.File{Name: name, Mode: 0o644, Data: raw})
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(tracked), "\x00"), "\x00") {
		if err := add(name, name); err != nil {
			return nil, err
		}
	}
	env := []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.When.Unix(), 10), "XDG_CONFIG_HOME=" + work, "HOME=" + work}
	pages := filepath.Join(work, "man1")
	if _, err := output(ctx, env, program, "man", pages); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(pages)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := add("man/man1/"+e.Name(), filepath.Join(pages, e.Name())); err != nil {
			return nil, err
		}
	}
	for shell, name := range release.Completions {
		text, err := output(ctx, env, program, "completion", shell)
		if err != nil {
			return nil, err
		}
		out = append(out, release.File{Name: name, Mode: 0o644, Data: text})
	}
	return out, nil
}

// output runs a program and returns what it prints; what it says of an error is in the error.
func output(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // git, go, nfpm and what was just built
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, stderr.Bytes())
	}
	return stdout.Bytes(), nil
}
