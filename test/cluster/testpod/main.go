// Command testpod is what test pods run: a static program that needs nothing of
// its image. As the sandbox's pause container it waits; otherwise it does what
// its argument says.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
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
	case "serve": // serve ADDRESS: the pod's name to every request
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

func serve(args []string) {
	addr := ":8080"
	if len(args) > 0 {
		addr = args[0]
	}
	name, err := os.Hostname()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testpod:", err)
		os.Exit(1)
	}
	srv := &http.Server{Addr: addr, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, name)
	})}
	go func() {
		<-stopSignal()
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, "testpod:", srv.ListenAndServe())
	os.Exit(1)
}
