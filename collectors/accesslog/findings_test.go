package accesslog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

const manifests = "---\n# Source: templates/es.yaml:1\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db}\nspec: {data: [{secretKey: p, remoteRef: {key: orders-db}}]}\n"

func seal(tb testing.TB, manifests string, artifact []byte) *collectors.Sealed {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	for name, b := range map[string][]byte{
		collectors.ManifestsFile: []byte(manifests), collectors.ReleaseFile: []byte(`{"chart":"test","namespace":"shop"}`), collectors.Artifact(Name, file): artifact,
	} {
		if _, err := art.Put(name, b); err != nil {
			tb.Fatal(err)
		}
	}
	return collectors.NewSealed(art, config.RuleControls())
}

func derive(tb testing.TB, manifests string, seen any) []evidence.Finding {
	tb.Helper()
	raw, err := json.Marshal(seen)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := New(Options{})
	if err != nil {
		tb.Fatal(err)
	}
	found, err := collectors.Findings(seal(tb, manifests, raw), c)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

func TestFindings(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	good := func() *Seen {
		return &Seen{
			At: at, MaxAge: evidence.Duration(24 * time.Hour), Readers: []string{"operator@*.iam.gserviceaccount.com"},
			Logs: []File{{Name: "audit.json", Reads: 3, Spans: map[string]Span{"gcp": {Entries: 9, First: at.Add(-20 * time.Hour), Last: at.Add(-time.Hour)}}}},
			Reads: []Read{{Provider: "gcp", Secret: "projects/1/secrets/orders-db", Principal: "operator@shop.iam.gserviceaccount.com", Count: 3,
				First: at.Add(-9 * time.Hour), Last: at.Add(-time.Hour)}},
		}
	}
	other := func(principal string) Read {
		return Read{Provider: "gcp", Secret: "projects/1/secrets/orders-db", Principal: principal, Count: 1, First: at.Add(-time.Hour), Last: at.Add(-time.Hour)}
	}
	search := strings.Replace(manifests, "data: [{secretKey: p, remoteRef: {key: orders-db}}]", "dataFrom: [{find: {name: {regexp: .*}}}]", 1)
	for _, tt := range []struct {
		name, manifests string
		edit            func(*Seen)
		want            []string // outcome and part of the message
	}{
		{"all well", "", func(*Seen) {}, []string{"pass was read to its end: gcp 9 entries from 2026-10-31T16:00:00Z", "pass secret orders-db was read by operator@shop.iam.gserviceaccount.com (3 times, 2026-11-01T03:00Z to 2026-11-01T11:00Z)"}},
		{"an unknown reader", "", func(s *Seen) { s.Reads = append(s.Reads, other("eve@example.com")) },
			[]string{"pass was read to its end", "fail secret orders-db was read by eve@example.com (once, 2026-11-01T11:00Z), whom secretReaders does not name"}},
		{"a reader without name", "", func(s *Seen) { s.Reads = append(s.Reads, other("")) }, []string{"pass was read to its end", "fail by somebody whom the log does not name"}},
		{"a reader whose name was clipped", "", func(s *Seen) {
			s.Readers = append(s.Readers, "abcdef*")
			s.Reads = append(s.Reads, other(clip("abcdef"+strings.Repeat("g", 600))))
		}, []string{"pass was read to its end", "fail whom secretReaders does not name"}},
		{"a reader across what * stands for", "", func(s *Seen) { s.Reads = append(s.Reads, other("operator@evil@x.iam.gserviceaccount.com")) }, []string{"pass was read to its end", "fail by operator@evil@x"}},
		{"an unknown reader in vain", "", func(s *Seen) {
			r := other("eve@example.com")
			r.Refused = 1
			s.Reads = append(s.Reads, r)
		}, []string{"pass was read to its end", "warn was asked for in vain by eve@example.com (once, 2026-11-01T11:00Z, 1 refused)", "pass secret orders-db was read by operator"}},
		{"many unknown readers", "", func(s *Seen) {
			for i := range maxFailed + 3 {
				s.Reads = append(s.Reads, other(fmt.Sprintf("eve%02d@example.com", i)))
			}
		}, append(append([]string{"pass was read to its end"}, slicesOf("fail secret orders-db was read by eve", maxFailed)...), "fail was read by 3 more whom")},
		{"who may is not said", "", func(s *Seen) { s.Readers = nil }, []string{"pass was read to its end", "not-checked was read by operator@shop.iam.gserviceaccount.com (3 times"}},
		{"no read of it", "", func(s *Seen) { s.Reads[0].Secret = "projects/1/secrets/orders-db-2" }, []string{"pass was read to its end", "not-checked secret orders-db was read by nobody, by the logs, and so not by the operator either"}},
		{"only in vain", "", func(s *Seen) { s.Reads[0].Refused = 3 }, []string{"pass was read to its end", "not-checked was read by nobody"}},
		{"a search counts all", search, func(s *Seen) { s.Reads = append(s.Reads, other("eve@example.com")) }, []string{"pass was read to its end", "fail the secrets that it searches for was read by eve@example.com"}},
		{"a log with bad entries", "", func(s *Seen) { s.Logs[0].Malformed, s.Logs[0].FirstBad = 2, "line 7: why" }, []string{"not-checked entries that could not be read: 2, the first: line 7: why", "pass secret orders-db"}},
		{"a log that was cut", "", func(s *Seen) { s.Logs[0].Cut = "it ends in the middle" }, []string{"not-checked was not read to its end: it ends in the middle", "pass secret orders-db"}},
		{"reads left out", "", func(s *Seen) { s.Logs[0].LeftOut = 4 }, []string{"not-checked reads that were left out: 4", "pass secret orders-db"}},
		{"an empty log", "", func(s *Seen) { s.Logs = append(s.Logs, File{Name: "empty.json"}) }, []string{"pass was read to its end", "not-checked has no entry", "pass secret orders-db"}},
		{"an old log", "", func(s *Seen) { s.At = at.Add(24 * time.Hour) }, []string{"not-checked says nothing of now: the newest entry of gcp is 25h0m0s old, 24h0m0s at most", "pass secret orders-db"}},
		{"an old log beside a new one", "", func(s *Seen) {
			s.Logs = append(s.Logs, File{Name: "old.json", Spans: map[string]Span{"gcp": {Entries: 1, First: at.Add(-99 * time.Hour), Last: at.Add(-99 * time.Hour)}}})
		}, []string{"pass was read to its end", "pass was read to its end", "pass secret orders-db"}},
		{"an old log beside a new one of another provider", "", func(s *Seen) {
			s.Logs = append(s.Logs, File{Name: "old.json", Spans: map[string]Span{"aws": {Entries: 1, First: at.Add(-99 * time.Hour), Last: at.Add(-99 * time.Hour)}}})
		}, []string{"pass was read to its end", "not-checked the newest entry of aws is 99h0m0s old", "pass secret orders-db"}},
		{"a log of the future", "", func(s *Seen) { s.At = at.Add(-2 * time.Hour) }, []string{"error later than the time of reading", "pass secret orders-db"}},
		{"a release without secrets", "---\n# Source: a.yaml:1\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n", func(*Seen) {}, []string{"pass was read to its end", "not-applicable the release names no secret"}},
		{"an unreadable document", "---\n# Source: a.yaml:1\nkind: [\n", func(*Seen) {}, []string{"pass was read to its end", "not-checked a rendered document is no Kubernetes object"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := good()
			tt.edit(s)
			if tt.manifests == "" {
				tt.manifests = manifests
			}
			var got []string
			for i, f := range derive(t, tt.manifests, s) {
				line := string(f.Outcome) + " " + f.Message
				if i < len(tt.want) {
					outcome, part, _ := strings.Cut(tt.want[i], " ")
					if outcome == string(f.Outcome) && strings.Contains(f.Message, part) {
						line = tt.want[i]
					}
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func slicesOf(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		``: "parse access.json", `{"logs":`: "parse access.json", `{}`: "it does not say when",
		`{"at":"2026-11-01T12:00:00Z","maxAge":"1h","logs":[]}`:                        "it does not say when",
		`{"at":"2026-11-01T12:00:00Z","maxAge":"1h","logs":[{}],"readers":["*"]}`:      "allows nearly everybody",
		`{"at":"2026-11-01T12:00:00Z","maxAge":"0s","logs":[{"name":"a"}],"reads":[]}`: "it does not say when",
	} {
		c, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if found, err := collectors.Findings(seal(t, manifests, []byte(raw)), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d findings, %v; want %q", raw, len(found), err, want)
		}
	}
}

// TestNames: which reads are of the secret that an ExternalSecret names.
func TestNames(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
	for _, tt := range []struct {
		read Read
		key  string
		want bool
	}{
		{Read{Provider: "gcp", Secret: "projects/1/secrets/a"}, "a", true},
		{Read{Provider: "gcp", Secret: "projects/1/locations/x/secrets/a"}, "a", true},
		{Read{Provider: "gcp", Secret: "projects/1/secrets/a"}, "projects/shop/secrets/a/versions/3", true},
		{Read{Provider: "gcp", Secret: "projects/1/secrets/ab"}, "a", false},
		{Read{Provider: "gcp", Secret: "projects/a/secrets/b"}, "a", false},
		{Read{Provider: "aws", Secret: "orders/db"}, "orders/db", true},
		{Read{Provider: "aws", Secret: arn + "orders/db-AbC123"}, "orders/db", true},
		{Read{Provider: "aws", Secret: arn + "orders/db"}, "orders/db", true},
		{Read{Provider: "aws", Secret: "orders/db"}, arn + "orders/db-AbC123", true},
		{Read{Provider: "aws", Secret: arn + "orders/db-AbC123"}, arn + "orders/db-AbC123", true},
		{Read{Provider: "aws", Secret: "db"}, "orders/db", false},
		{Read{Provider: "aws", Secret: arn + "orders/db-AbC1234"}, "orders/db", false},
		{Read{Provider: "vault", Secret: "apps/data/orders/db", Mount: "apps"}, "orders/db", true},
		{Read{Provider: "vault", Secret: "apps/data/orders/db", Mount: "apps"}, "apps/data/orders/db", true},
		{Read{Provider: "vault", Secret: "apps/data/orders/db", Mount: "apps"}, "apps/orders/db", true},
		{Read{Provider: "vault", Secret: "apps/orders/db", Mount: "apps"}, "/orders/db", true},
		{Read{Provider: "vault", Secret: "apps/data/other/orders/db", Mount: "apps"}, "orders/db", false},
		{Read{Provider: "vault", Secret: "apps/data/orders/db"}, "orders/db", true},
		{Read{Provider: "vault", Secret: "apps/data/orders/db"}, "apps/orders/db", true},
		{Read{Provider: "vault", Secret: "apps/data/orders/db"}, "b", false},
		{Read{Provider: "vault", Secret: "apps/data/x"}, everySecret, true},
	} {
		if got := tt.read.of(tt.key); got != tt.want {
			t.Errorf("a read of %s is one of %s: %t", tt.read.Secret, tt.key, got)
		}
	}
}

func TestParseReader(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"": "want 1 to 256", strings.Repeat("x", 257): "want 1 to 256", "*": "nearly everybody", "arn*": "nearly everybody", "*@*": "nearly everybody",
		"ab**cd": "none beside another", "a*b*c*d*e*f": "at most 4", "abcd\n": "control characters",
		"eve": "", "*@shop.iam.gserviceaccount.com": "", "arn:aws:sts::1:assumed-role/operator/*": "",
	} {
		if _, err := ParseReader(pattern); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
	p, err := parseReaders([]string{"arn:aws:sts::1:assumed-role/operator/*", "a.b.c.d*"})
	if err != nil {
		t.Fatal(err)
	}
	for principal, want := range map[string]bool{
		"arn:aws:sts::1:assumed-role/operator/pod-1": true, "arn:aws:sts::1:assumed-role/operator/pod/1": false, "arn:aws:sts::1:assumed-role/operators": false,
		"a.b.c.d": true, "a.b.c.d-e": true, "aXbXcXd": false, "a.b.c.d\n@x": false, "x a.b.c.d": false, "": false,
	} {
		if got := allowed(p, principal); got != want {
			t.Errorf("%q: %t", principal, got)
		}
	}
	if _, err := New(Options{Readers: make([]string, maxReaders+1)}); err == nil || !strings.Contains(err.Error(), "at most 1000") {
		t.Errorf("too many: %v", err)
	}
}

type written map[string][]byte

func (w written) Write(name string, content []byte) error { w[name] = content; return nil }

// TestCollect: what the release does not name is not sealed.
func TestCollect(t *testing.T) {
	t.Parallel()
	logs := openLogs(t, oneLine(gcpEntry)+"\n"+strings.Replace(oneLine(gcpEntry), "orders-db", "of-others", 1))
	c, err := New(Options{Logs: logs, MaxAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	const kinds = "---\n# Source: b.yaml:1\napiVersion: external-secrets.io/v1\nkind: ClusterExternalSecret\nmetadata: {name: c}\nspec: {externalSecretSpec: {dataFrom: [{extract: {key: orders-db}}, {sourceRef: {generatorRef: {kind: Password, name: p}}}]}}\n"
	for text, want := range map[string]int{
		manifests: 1, kinds: 1, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n": 0,
		"---\napiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\nmetadata: {name: c}\nspec: {provider: vault}\n": 2,
	} {
		rel, err := chart.LoadManifests(t.Context(), "-", chart.LoadOptions{Namespace: "shop", Stdin: strings.NewReader(text)})
		if err != nil {
			t.Fatal(err)
		}
		out := written{}
		if err := c.Collect(t.Context(), collectors.Input{Release: rel, Now: func() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }}, out); err != nil {
			t.Fatal(err)
		}
		var s Seen
		if err := json.Unmarshal(out[file], &s); err != nil || len(s.Reads) != want || len(s.Logs) != 1 {
			t.Errorf("%v, %d reads of\n%s", err, len(s.Reads), text)
		}
		if strings.Contains(string(out[file]), "192.0.2.1") || strings.Contains(string(out[file]), "hmac") {
			t.Errorf("sealed more than is asked for: %s", out[file])
		}
	}
	none, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := none.Collect(t.Context(), collectors.Input{}, written{}); err == nil || !strings.Contains(err.Error(), "--access-log") {
		t.Errorf("without logs: %v", err)
	}
}
