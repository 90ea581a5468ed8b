package monitoring

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/companyos/helmproof/test/monitoring/promtest"
)

// inbox is what a webhook, Slack and a mail server got.
type inbox struct {
	mu                    sync.Mutex
	webhook, slack, mails []string
}

func (i *inbox) add(to *[]string, text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	*to = append(*to, text)
}

func (i *inbox) all(of *[]string) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(*of)
}

func (i *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m struct {
		Status      string
		GroupLabels map[string]string
		Alerts      []struct{ Annotations map[string]string }
		Attachments []struct{ Title, Text string }
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/slack" {
		for _, a := range m.Attachments {
			i.add(&i.slack, a.Title+": "+a.Text)
		}
	} else {
		var said []string
		for _, a := range m.Alerts {
			said = append(said, a.Annotations["summary"])
		}
		slices.Sort(said)
		i.add(&i.webhook, fmt.Sprintf("%s %s: %s", m.Status, m.GroupLabels["release"], strings.Join(said, ", ")))
	}
	_, _ = w.Write([]byte("ok")) // whoever has gone needs no answer
}

// mailServer takes every mail, and keeps its subject.
func (i *inbox) mailServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	talk := func(c net.Conn) {
		defer c.Close()
		say := func(s string) { fmt.Fprintf(c, "%s\r\n", s) }
		say("220 mail")
		text := false
		for in := bufio.NewScanner(c); in.Scan(); {
			switch line := in.Text(); {
			case text && line == ".":
				text = false
				say("250 ok")
			case text:
				if s, ok := strings.CutPrefix(line, "Subject: "); ok {
					status, alerts, _ := strings.Cut(s, ": ")
					parts := strings.Split(alerts, "; ") // they come in any order
					slices.Sort(parts)
					i.add(&i.mails, status+": "+strings.Join(parts, "; "))
				}
			case strings.HasPrefix(line, "DATA"):
				text = true
				say("354 go on")
			case strings.HasPrefix(line, "QUIT"):
				say("221 bye")
				return
			default:
				say("250 ok")
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go talk(c)
		}
	}()
	return l.Addr().String()
}

// amServer is a running Alertmanager.
type amServer struct{ promtest.Server }

// startAlertmanager runs Alertmanager by the example, with addresses of the test, and
// waits of a second where it has minutes.
func startAlertmanager(t *testing.T, i *inbox) amServer {
	t.Helper()
	program, dir := promtest.Tool(t, "alertmanager"), t.TempDir()
	hook := httptest.NewServer(i)
	t.Cleanup(hook.Close)
	raw, err := os.ReadFile(filepath.Join(templates, "alertmanager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(group_wait|group_interval): \w+`).ReplaceAllString(string(raw), "$1: 1s")
	text = regexp.MustCompile(`(?m)^  smtp_auth_.*\n`).ReplaceAllString(text, "")
	text = strings.NewReplacer("/etc/alertmanager/secrets/", dir+"/", "smtp.example.com:587", i.mailServer(t), "smtp_require_tls: true", "smtp_require_tls: false").Replace(text)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	logfile, err := os.Create(filepath.Join(dir, "log"))
	for name, content := range map[string]string{"alertmanager.yaml": text, "verdict-webhook": hook.URL + "/hook", "slack": hook.URL + "/slack"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it ends in Cleanup, before its folder goes
	cmd := exec.CommandContext(ctx, program, "--config.file=alertmanager.yaml", "--storage.path=data", "--web.listen-address="+address, "--cluster.listen-address=", "--log.level=warn")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, logfile, logfile
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		logfile.Close()
	})
	return amServer{promtest.Server{URL: "http://" + address, Log: logfile.Name()}}
}

// post gives Alertmanager alerts, as Prometheus does.
func (s amServer) post(ctx context.Context, ends time.Time, labels ...map[string]string) error {
	var alerts []map[string]any
	for _, l := range labels {
		summary := fmt.Sprintf("%s %s %s", l["alertname"], l["release"], l["profile"])
		alerts = append(alerts, map[string]any{"labels": l, "annotations": map[string]string{"summary": summary}, "endsAt": ends})
	}
	raw, err := json.Marshal(alerts)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/api/v2/alerts", bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

// TestMessages: a real Alertmanager, by the example, makes one message of what is about
// one release. Verdicts that changed go to the webhook and to Slack, and not again when
// that is over; warnings go by mail, and so does that they are over.
func TestMessages(t *testing.T) {
	t.Parallel()
	i := &inbox{}
	s := startAlertmanager(t, i)
	of := func(alert, severity, release, profile string) map[string]string {
		return map[string]string{"alertname": alert, "severity": severity, "kind": "release", "release": release, "namespace": "shop", "profile": profile}
	}
	alerts := []map[string]string{
		of("HelmproofVerdictChanged", "info", "web", "chart"), of("HelmproofVerdictChanged", "info", "web", "release"), of("HelmproofVerdictChanged", "info", "api", "chart"),
		of("HelmproofEvidenceFailed", "warning", "web", "chart"), of("HelmproofEvidenceMissing", "warning", "web", ""),
		of("HelmproofBudgetBurn", "info", "", ""),
		// Of one alert the worse form is enough.
		of("HelmproofEvidenceStale", "critical", "old", "chart"), of("HelmproofEvidenceStale", "warning", "old", "chart"),
	}
	s.Until(t, func(ctx context.Context) error { return s.post(ctx, time.Now().Add(time.Hour), alerts...) })

	// Lists compare as wanted: each line is one message, in any order.
	expect := func(what string, list *[]string, want ...string) {
		t.Helper()
		s.Until(t, func(context.Context) error {
			got := i.all(list)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("%s got %q, want %q", what, got, want)
			}
			return nil
		})
	}
	expect("the webhook", &i.webhook,
		"firing api: HelmproofVerdictChanged api chart",
		"firing web: HelmproofVerdictChanged web chart, HelmproofVerdictChanged web release")
	expect("Slack", &i.slack,
		"firing: shop/old: HelmproofEvidenceStale old chart.  <|Runbook>\n",
		"shop/api: HelmproofVerdictChanged api chart (chart)\n",
		"shop/web: HelmproofVerdictChanged web chart (chart)\nHelmproofVerdictChanged web release (release)\n")
	expect("mail", &i.mails,
		"firing: HelmproofEvidenceFailed web chart; HelmproofEvidenceMissing web ",
		"firing: HelmproofEvidenceStale old chart")

	s.Until(t, func(ctx context.Context) error { return s.post(ctx, time.Now(), alerts...) })
	s.Until(t, func(context.Context) error {
		if got := i.all(&i.mails); !slices.ContainsFunc(got, func(m string) bool { return strings.HasPrefix(m, "resolved: HelmproofEvidence") }) {
			return fmt.Errorf("no mail that it is over: %q", got)
		}
		return nil
	})
	if got := i.all(&i.webhook); len(got) != 2 {
		t.Errorf("the webhook got %q", got)
	}
}
