package watch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the HTTP server: whoever can reach it may be slow, or ask for ever.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
	maxScrapes    = 4 // at once
	shutdown      = 2 * time.Second
)

// Handler serves /metrics, /healthz and /readyz.
func (w *Watch) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.Registry(), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: writeTimeout - time.Second}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if why := w.unready(); why != "" {
			http.Error(rw, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "ok")
	})
	return mux
}

// Ready is what has to be read before a watch is ready.
type Ready string

// What a watch may wait for.
const (
	ReadyBoth       Ready = "both" // of the sources that are watched
	ReadyAny        Ready = "any"  // one of them
	ReadyRepository Ready = "repository"
)

// unready says why the watch is not ready; empty: it is. It stays ready when a source
// goes away later.
func (w *Watch) unready() string {
	w.mu.Lock()
	repo := w.repo.last.IsZero()
	w.mu.Unlock()
	api := false
	if w.api != nil {
		w.api.mu.Lock()
		api = w.api.reading.last.IsZero()
		w.api.mu.Unlock()
	}
	switch {
	case w.Ready == ReadyAny && (!repo || w.api != nil && !api):
		return ""
	case repo:
		return "the repository was not read yet"
	case api && w.Ready != ReadyRepository:
		return "the cluster was not read yet"
	}
	return ""
}

// Serve answers on the listener until ctx ends.
func (w *Watch) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: w.Handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
		defer cancel()
		if srv.Shutdown(end) != nil {
			_ = srv.Close() // whoever still reads is cut off
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
