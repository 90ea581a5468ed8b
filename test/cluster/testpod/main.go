// Command testpod is what test pods run: a static program that needs nothing of
// its image. As the sandbox's pause container it waits; otherwise it does what
// its argument says.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	action := "wait"
	if len(os.Args) > 1 {
		action = os.Args[1]
	}
	switch action {
	case "wait":
		wait()
	case "echo": // echo WORD…
		fmt.Println(strings.Join(os.Args[2:], " "))
	case "serve": // serve [ADDRESS] [burn=5ms] [alloc=1Mi] [late=5s]: the pod's name to every request, good health to gRPC's
		serve(os.Args[2:])
	default:
		fmt.Fprintf(os.Stderr, "testpod: no action %q: wait, echo or serve\n", action)
		os.Exit(2)
	}
}

func stopSignal() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return c
}

// wait ends when told to. As process 1 of a pod it also reaps the children
// that others left to it.
func wait() {
	orphans := make(chan os.Signal, 1)
	signal.Notify(orphans, syscall.SIGCHLD)
	stop := stopSignal()
	for {
		select {
		case <-stop:
			return
		case <-orphans:
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || pid <= 0 {
					break
				}
			}
		}
	}
}

// load is what each request costs: time of a processor, and memory that is kept.
type load struct {
	burn  time.Duration
	alloc int
	mu    sync.Mutex
	kept  [][]byte
}

func (l *load) take() error {
	if l.burn > 0 {
		if err := burn(l.burn); err != nil {
			return err
		}
	}
	if l.alloc > 0 {
		b := make([]byte, l.alloc)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1 // the kernel gives a page when it is written to
		}
		l.mu.Lock()
		l.kept = append(l.kept, b)
		l.mu.Unlock()
	}
	return nil
}

// burn uses that much time of a processor, however long that takes.
func burn(d time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() (time.Duration, error) {
		var u syscall.Rusage
		const thread = 1 // RUSAGE_THREAD
		if err := syscall.Getrusage(thread, &u); err != nil {
			return 0, err
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
	}
	start, err := used()
	for now := start; err == nil && now-start < d; now, err = used() {
	}
	return err
}

// healthy answers a health check of gRPC: it is serving.
func healthy(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	if _, err := w.Write([]byte{0, 0, 0, 0, 2, 8, 1}); err != nil {
		return // whoever asked is gone
	}
	w.Header().Set("Grpc-Status", "0")
}

func serve(args []string) {
	addr := ":8080"
	var l load
	var late time.Duration // after which anything but /ready is served
	for _, a := range args {
		var err error
		if v, ok := strings.CutPrefix(a, "burn="); ok {
			l.burn, err = time.ParseDuration(v)
		} else if v, ok := strings.CutPrefix(a, "alloc="); ok {
			l.alloc, err = strconv.Atoi(strings.TrimSuffix(v, "Mi"))
			l.alloc <<= 20
		} else if v, ok := strings.CutPrefix(a, "late="); ok {
			late, err = time.ParseDuration(v)
		} else {
			addr = a
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "testpod: %s: %v\n", a, err)
			os.Exit(2)
		}
	}
	name, err := os.Hostname()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testpod:", err)
		os.Exit(1)
	}
	began := time.Now()
	srv := &http.Server{Addr: addr, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" && time.Since(began) < late {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		if err := l.take(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			healthy(w)
			return
		}
		fmt.Fprintln(w, name)
	})}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		<-stopSignal()
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, "testpod:", srv.ListenAndServe())
	os.Exit(1)
}
