// Helmproof proves that a Helm release is hardened: it collects evidence about
// a chart, decides a verdict against a control profile, and seals everything in
// a signed bundle that anyone can verify again, offline.
//
// Usage:
//
//	helmproof collect CHART...     collect, judge, seal, render, store
//	helmproof check CHART...       the same, nothing sealed or stored
//	helmproof collect --cluster    the cluster itself: CIS benchmark, admission
//	helmproof verify ID            signature, signer, replay, reports
//	helmproof gate CHART           the verdict on what is about to be deployed
//	helmproof forecast             what draining nodes and zones would come to
//	helmproof harden               a Helm post-renderer for other people's charts
//
// Exit codes, the same for every output format:
//
//	0  pass
//	1  operational failure (disk, network, interrupted)
//	2  usage, configuration or input error
//	3  the verdict is FAIL or INCOMPLETE
//	4  integrity or signature failure
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/helmlog"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/internal/worker"
)

// The exit codes of DESIGN and of the doc comment above.
const (
	exitPass      = 0
	exitFailure   = 1
	exitUsage     = 2
	exitVerdict   = 3
	exitIntegrity = 4
)

func main() {
	// Helm's packages log to the process's own logger, values included. The helm
	// collector captures what is its own; the rest must not reach a terminal.
	helmlog.Route()
	if len(os.Args) == 2 && os.Args[1] == workerArg {
		os.Exit(serve())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal begins to clean up, the second ends the program at once.
	context.AfterFunc(ctx, stop)
	args, streams := os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr, self: self()}
	if len(args) > 0 && args[0] == apartArg {
		args = args[1:]
	} else if streams.self != nil {
		streams.again = func() error { return worker.Replace(append([]string{streams.self[0], apartArg}, args...)) }
	}
	code := run(ctx, args, streams)
	stop()
	os.Exit(code)
}

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	self     []string // the command line of a child that renders; nil: this process does
	// again replaces the process by one that does the same and leaves all rendering
	// to children; nil: this is that one.
	again func() error
}

// workerArg is the only argument of a child process that renders and lints charts
// for another helmproof. It is no command: nobody else is to use it.
const workerArg = "__worker"

// apartArg comes before the arguments of a helmproof that takes the place of one which
// rendered a chart itself, and whose chart took too much.
const apartArg = "__apart"

// serve is that child.
func serve() int {
	handlers := chart.Handlers()
	maps.Copy(handlers, helm.Handlers())
	if err := worker.Serve(handlers); err != nil {
		fmt.Fprintln(os.Stderr, "helmproof: "+err.Error())
	}
	return exitFailure
}

// self is the command line by which this program starts itself as a child, nil
// where it does not know its own file.
func self() []string {
	exe, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{exe, workerArg}
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, io stdio) int {
	a := newApp(io)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(io.in)
	root.SetOut(io.out)
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		root.SetOut(completions{io.out})
	}
	root.SetErr(io.err)
	err := misspelled(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return exitPass
	}
	code := exitCode(ctx, err)
	if text := err.Error(); text != "" {
		fmt.Fprintln(io.err, "helmproof: "+printable(text))
		if a.json == nil && asksForJSON(args) { // it ended before the configuration was read
			a.json = &written{w: io.out}
		}
		if a.json != nil && !a.json.any {
			if err := writeJSON(a.json, errorJSON{text, code}); err != nil {
				fmt.Fprintln(io.err, "helmproof: "+printable(err.Error()))
			}
		}
	}
	return code
}

// errorJSON is the document of -o json where a command ends before it has another one;
// docs/schemas/error.schema.json describes it.
type errorJSON struct {
	Error    string `json:"error"`
	ExitCode int    `json:"exitCode"`
}

// exitError carries an exit code. An empty text means that the command has said
// everything already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageErr(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func exitCode(ctx context.Context, err error) int {
	var exit *exitError
	var load *chart.LoadError
	var conf *config.Error
	var input *pipeline.InputError
	var integrity *pipeline.IntegrityError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case ctx.Err() != nil:
		return exitFailure
	case errors.As(err, &integrity), errors.Is(err, repository.ErrIrregular):
		return exitIntegrity
	case errors.As(err, &input), errors.As(err, &load), errors.As(err, &conf):
		return exitUsage
	}
	return exitFailure
}

// exact and atLeast are cobra's argument checks with exit code 2.
func exact(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageErr("%s: want %s, got %s; see %s --help", cmd.Name(), what, plural(len(args), "argument"), cmd.CommandPath())
		}
		return nil
	}
}
