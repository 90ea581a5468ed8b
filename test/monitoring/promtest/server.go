package promtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Server is a running Prometheus.
type Server struct {
	URL string
	Log string // its file
}

// Start runs Prometheus with a configuration in a folder, which may have the files that
// the configuration names.
func Start(t *testing.T, dir, config string) Server {
	t.Helper()
	program := Tool(t, "prometheus")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	logfile, err := os.Create(filepath.Join(dir, "log"))
	if err = errors.Join(err, l.Close(), os.WriteFile(filepath.Join(dir, "prometheus.yaml"), []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it ends in Cleanup, before its folder goes
	cmd := exec.CommandContext(ctx, program, "--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address="+address,
		"--rules.alert.resend-delay=1s", "--log.level=warn")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, logfile, logfile
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		logfile.Close()
	})
	return Server{URL: "http://" + address, Log: logfile.Name()}
}

// get decodes the data of an answer of Prometheus' API.
func (s Server) get(ctx context.Context, path string, query url.Values, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// Query asks for the series of an expression now, and gives the labels of each.
func (s Server) Query(ctx context.Context, expr string) ([]map[string]string, error) {
	var data struct {
		Result []struct{ Metric map[string]string }
	}
	if err := s.get(ctx, "/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	out := make([]map[string]string, 0, len(data.Result))
	for _, r := range data.Result {
		out = append(out, r.Metric)
	}
	return out, nil
}

// Alert is an alert that is pending or fires.
type Alert struct {
	Labels, Annotations map[string]string
	State               string
}

// Firing gives the alerts that fire.
func (s Server) Firing(ctx context.Context) ([]Alert, error) {
	var data struct{ Alerts []Alert }
	if err := s.get(ctx, "/api/v1/alerts", nil, &data); err != nil {
		return nil, err
	}
	var out []Alert
	for _, a := range data.Alerts {
		if a.State == "firing" {
			out = append(out, a)
		}
	}
	return out, nil
}

// Until asks again and again, for two minutes at most, until nothing is wrong.
func (s Server) Until(t *testing.T, wrong func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := wrong(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(s.Log) // beside the reason, not instead of it
			t.Fatalf("%v\n%s", err, log)
		case <-tick.C:
		}
	}
}
