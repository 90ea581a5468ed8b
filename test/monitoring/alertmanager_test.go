package monitoring

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/companyos/helmproof/test/monitoring/promtest"
)

// TestAlertmanager: amtool takes the example, and sends each alert to the receivers
// that it should go to.
func TestAlertmanager(t *testing.T) {
	t.Parallel()
	amtool := promtest.Tool(t, "amtool")
	if out, err := run(t, templates, amtool, "check-config", "alertmanager.yaml"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := func(r promtest.Rule) string {
		switch {
		case r.Alert == "HelmproofVerdictChanged":
			return "verdicts"
		case strings.HasPrefix(r.Alert, "HelmproofWatch"), r.Alert == "HelmproofSourceDown", r.Alert == "HelmproofSeriesDropped":
			return "platform"
		case r.Labels["severity"] == "critical":
			return "urgent"
		case r.Labels["severity"] == "info":
			return "silent"
		}
		return "mail"
	}
	seen := map[string]bool{}
	for _, r := range append(promtest.ReadRules(t).Alerts(), promtest.Rule{Alert: "Other", Labels: map[string]string{"severity": "critical"}}) {
		to := want(r)
		if r.Alert == "Other" {
			to = "platform"
		}
		seen[to] = true
		out, err := run(t, templates, amtool, "config", "routes", "test", "--config.file=alertmanager.yaml", "--verify.receivers="+to,
			"alertname="+r.Alert, "severity="+r.Labels["severity"], "namespace=shop", "release=web")
		if err != nil {
			t.Errorf("%s goes to %s, want %s (%v)", r.Key(), strings.TrimSpace(out), to, err)
		}
	}
	if len(seen) != 5 {
		t.Errorf("receivers %v", seen)
	}
}

// TestAlertmanagerSecrets: the example holds no secret, and groups by release.
func TestAlertmanagerSecrets(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(templates, "alertmanager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"smtp_auth_password:", " api_url:", " url:", "hooks.slack.com"} {
		if strings.Contains(string(raw), key) {
			t.Errorf("%s names a secret instead of its file", key)
		}
	}
	var c struct {
		Route struct {
			Routes []struct {
				GroupBy []string `json:"group_by"`
				Routes  []struct {
					GroupBy []string `json:"group_by"`
				}
			}
		}
		Receivers []map[string]any
	}
	decodeSome(t, raw, &c)
	if got := strings.Join(c.Route.Routes[0].GroupBy, " "); got != "namespace release target" {
		t.Errorf("grouped by %s", got)
	}
	kinds := map[string]bool{}
	for _, r := range c.Receivers {
		for k := range r {
			kinds[k] = true
		}
	}
	for _, k := range []string{"webhook_configs", "slack_configs", "email_configs"} {
		if !kinds[k] {
			t.Errorf("no example of %s", k)
		}
	}
}
