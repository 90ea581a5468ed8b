// Prober sends probes to the Services of a release while a drill goes on, from a
// pod in the cluster. helmproof makes that pod and reads its log.
//
// Usage:
//
//	prober [--config JSON | --load JSON] [--linger 20s]
//
// The configuration is a JSON array of probes (internal/probe, Config), from the
// flag or from the environment variable PROBER_CONFIG. The log, on standard output,
// holds the files of all probes. With --load, or PROBER_LOAD, it sends a load instead
// (internal/loadgen, Options), and the log says what came of it. At SIGTERM the prober stops sending, waits for the
// requests that are under way, ends its files, and stays for the time of --linger,
// or until the second signal, so that its log can be read.
//
// Exit codes:
//
//	0  all files are whole
//	1  a probe failed, or standard output did
//	2  usage or configuration error
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/companyos/helmproof/internal/loadgen"
	"github.com/companyos/helmproof/internal/probe"
)

const (
	exitDone    = 0
	exitFailure = 1
	exitUsage   = 2
	// beatEvery is how often the log says that the prober lives, and its clock.
	beatEvery = 2 * time.Second
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(signals, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the program. The first of the signals ends the probes, the second the time
// after them.
func run(signals <-chan os.Signal, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("prober", flag.ContinueOnError)
	flags.SetOutput(stderr)
	load := flags.String("load", "", "a load to send instead of probes, as JSON (default: the variable PROBER_LOAD)")
	config := flags.String("config", "", "the probes, as a JSON array (default: the variable PROBER_CONFIG)")
	linger := flags.Duration("linger", 20*time.Second, "how long to stay when all is done, for the log to be read")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "prober: argument %q: there are none, see --help\n", flags.Arg(0))
		return exitUsage
	}
	if *config == "" && *load == "" {
		*config, *load = getenv("PROBER_CONFIG"), getenv("PROBER_LOAD")
	}
	work, err := workOf(*config, *load, from(getenv), stdout)
	if err != nil {
		fmt.Fprintln(stderr, "prober: configuration:", err)
		return exitUsage
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- work(ctx) }()
	stopped := false
	select {
	case err = <-over:
	case <-signals:
		stopped = true
		cancel()
		err = <-over
	}
	if err != nil {
		fmt.Fprintln(stderr, "prober:", err)
		return exitFailure
	}
	if stopped { // what was printed stays to be read before the container ends
		select {
		case <-signals:
		case <-time.After(*linger):
		}
	}
	return exitDone
}

// workOf is what there is to do, until its context ends.
func workOf(config, load, from string, stdout io.Writer) (func(ctx context.Context) error, error) {
	switch {
	case config != "" && load != "":
		return nil, errors.New("probes and a load: want one of them")
	case load != "":
		o, err := parseLoad([]byte(load))
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return loadgen.Print(ctx, *o, from, stdout) }, nil
	}
	probes, err := parse([]byte(config), from)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return probeAll(ctx, probes, stdout) }, nil
}

func parseLoad(raw []byte) (*loadgen.Options, error) {
	var o loadgen.Options
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something stands after the load")
	}
	return &o, o.Validate()
}

// from says where requests are sent from.
func from(getenv func(string) string) string {
	pod, node := getenv("POD_NAME"), getenv("NODE_NAME")
	if pod == "" {
		return "outside"
	}
	return "pod " + pod + " on node " + node
}

func parse(raw []byte, from string) ([]probe.Config, error) {
	if len(raw) == 0 {
		return nil, errors.New("there is none: give --config or set PROBER_CONFIG")
	}
	var probes []probe.Config
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&probes); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something stands after the array")
	}
	if len(probes) == 0 {
		return nil, errors.New("there are no probes")
	}
	for i := range probes {
		probes[i].From = from
		if err := probes[i].Validate(); err != nil {
			return nil, err
		}
	}
	return probes, nil
}

// probeAll runs the probes until ctx ends, or one of them fails, or all are over.
func probeAll(ctx context.Context, probes []probe.Config, stdout io.Writer) error {
	mux, err := probe.NewMux(stdout, len(probes))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(probes)+1)
	var running sync.WaitGroup
	for i := range probes {
		running.Go(func() {
			if errs[i] = probe.Run(ctx, probes[i], mux.File(i)); errs[i] != nil {
				cancel()
			}
		})
	}
	over := make(chan struct{})
	go func() {
		running.Wait()
		close(over)
	}()
	errs[len(probes)] = beat(mux, over)
	<-over
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.Join(mux.Beat(time.Now()), mux.End())
}

func beat(mux *probe.Mux, over <-chan struct{}) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		if err := mux.Beat(time.Now()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-over:
			return nil
		}
	}
}
