package externalsecrets

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

const manifests = "---\n# Source: templates/es.yaml:1\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db}\nspec: {}\n"

func seal(tb testing.TB, manifests string, artifact []byte) *collectors.Sealed {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	files := map[string][]byte{collectors.ManifestsFile: []byte(manifests), collectors.ReleaseFile: []byte(`{"chart":"test","namespace":"shop"}`)}
	if artifact != nil {
		files["artifacts/externalsecrets/external-secrets.json"] = artifact
	}
	for name, b := range files {
		if _, err := art.Put(name, b); err != nil {
			tb.Fatal(err)
		}
	}
	return collectors.NewSealed(art, config.RuleControls())
}

func TestFindings(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	good := func() Secret {
		return Secret{
			Name: "db", Namespace: "shop", Found: true, Interval: "1h", RefreshTime: at.Add(-30 * time.Minute).Format(time.RFC3339),
			Conditions: []Condition{{"Ready", "True", "SecretSynced", "synced"}},
			Stores:     []Store{{Kind: "SecretStore", Name: "vault", Found: true, Conditions: []Condition{{"Ready", "True", "Valid", ""}}}},
			Target: &Target{
				Name: "db", Found: true, Owned: true, Created: at.Add(-1000 * time.Hour),
				Changes: []Change{
					{Manager: "kubectl-annotate", Operation: "Update", At: at.Add(-time.Minute)},
					{Manager: "externalsecrets.external-secrets.io/db", Operation: "Update", At: at.Add(-100 * time.Hour), Data: true},
				},
			},
		}
	}
	const rotation = 720 * time.Hour
	for _, tt := range []struct {
		name string
		edit func(*Secret)
		want []string // outcome and part of the message of each finding that does not pass
	}{
		{"all well", func(*Secret) {}, nil},
		{"not in the cluster", func(s *Secret) { *s = Secret{Name: "db"} }, []string{"fail is not in the cluster"}},
		{"not allowed", func(s *Secret) { *s = Secret{Name: "db", Error: "forbidden"} }, []string{"not-checked could not be looked at: forbidden"}},
		{"not ready", func(s *Secret) { s.Conditions[0] = Condition{"Ready", "False", "SecretSyncedError", "no such key"} }, []string{"fail is not ready: SecretSyncedError: no such key"}},
		{"no condition", func(s *Secret) { s.Conditions = nil }, []string{"not-checked no operator has looked at it"}},
		{"a condition that stuck", func(s *Secret) { s.RefreshTime = at.Add(-66 * time.Minute).Format(time.RFC3339) }, []string{"fail was last refreshed 1h6m0s before it was looked at; its interval is 1h0m0s"}},
		{"a little late", func(s *Secret) { s.RefreshTime = at.Add(-64 * time.Minute).Format(time.RFC3339) }, nil},
		{"interval of the operator", func(s *Secret) { s.Interval, s.RefreshTime = "", at.Add(-2*time.Hour).Format(time.RFC3339) }, []string{"fail its interval is 1h0m0s"}},
		{"never refreshed", func(s *Secret) { s.Interval = "0" }, []string{"fail is never refreshed: refreshInterval 0"}},
		{"created once", func(s *Secret) { s.Policy = "CreatedOnce" }, []string{"fail is never refreshed: refreshPolicy CreatedOnce"}},
		{"no interval at all", func(s *Secret) { s.Interval = "soon" }, []string{`error refreshInterval "soon" is no duration`}},
		{"no refresh time", func(s *Secret) { s.RefreshTime = "" }, []string{"not-checked says ready, but not when"}},
		{"no time", func(s *Secret) { s.RefreshTime = "yesterday" }, []string{`error refreshTime "yesterday" is no time`}},
		{"store missing", func(s *Secret) { s.Stores[0].Found = false }, []string{"fail SecretStore vault is not in the cluster"}},
		{"store not ready", func(s *Secret) { s.Stores[0].Conditions[0].Status = "False" }, []string{"fail SecretStore vault is not ready"}},
		{"store without condition", func(s *Secret) { s.Stores[0].Conditions = nil }, []string{"not-checked SecretStore vault has no condition"}},
		{"store not allowed", func(s *Secret) {
			s.Stores = append(s.Stores, Store{Kind: "ClusterSecretStore", Name: "v", Error: "forbidden"})
		}, []string{"not-checked ClusterSecretStore v could not be looked at: forbidden"}},
		{"no store", func(s *Secret) { s.Stores = nil }, []string{"not-applicable names no store"}},
		{"status of an earlier generation", func(s *Secret) { s.Outdated = true }, []string{"not-checked its status is of an earlier generation"}},
		{"refreshed in the future", func(s *Secret) { s.RefreshTime = at.Add(time.Hour).Format(time.RFC3339) }, []string{"error is later than the time of looking"}},
		{"makes none", func(s *Secret) { *s.Target = Target{Name: "db", Policy: "None"} }, []string{"not-applicable makes no Secret", "not-applicable makes no Secret"}},
		{"secret missing", func(s *Secret) { s.Target.Found = false }, []string{"fail Secret db is not there", "not-checked it could not be looked at"}},
		{"secret of somebody else", func(s *Secret) { s.Target.Owned = false }, []string{"fail somebody else made it"}},
		{"merged", func(s *Secret) { s.Target.Owned, s.Target.Policy = false, "Merge" }, []string{"warn creationPolicy Merge"}},
		{"secret not allowed", func(s *Secret) { s.Target.Error = "forbidden" }, []string{"not-checked Secret db could not be looked at", "not-checked nobody knows when Secret db last changed"}},
		{"not rotated", func(s *Secret) { s.Target.Changes[1].At = at.Add(-721 * time.Hour) }, []string{"fail Secret db has not changed since 2026-10-02T11:00:00Z, for 30 days; the rotation interval is 30 days"}},
		{"rotated just in time", func(s *Secret) { s.Target.Changes[1].At = at.Add(-rotation) }, nil},
		{"not changed since it was made", func(s *Secret) { s.Target.Created = s.Target.Changes[1].At }, nil},
		{"no history", func(s *Secret) { s.Target.Changes = nil }, []string{"not-checked no writer of its entries is on record"}},
		{"no writer of its entries", func(s *Secret) { s.Target.Changes[1].Data = false }, []string{"not-checked no writer of its entries is on record"}},
		{"a writer without time", func(s *Secret) { s.Target.Changes[1].At = time.Time{} }, []string{"not-checked writer externalsecrets.external-secrets.io/db has no time"}},
		{"a writer that cannot be read", func(s *Secret) { s.Target.Changes[0].Error = "its fields are not told" }, []string{"not-checked of writer kubectl-annotate its fields are not told"}},
		{"changed in the future", func(s *Secret) { s.Target.Changes[1].At = at.Add(time.Hour) }, []string{"error which is later than the time of looking"}},
		{"written by hand since", func(s *Secret) { s.Target.Changes[0].Data = true }, []string{"warn by kubectl-annotate, which is not External Secrets"}},
		{"by the operator's program", func(s *Secret) { s.Target.Changes[1].Manager = "external-secrets" }, nil},
		{"refreshed too rarely as it runs", func(s *Secret) { s.Interval = "48h" }, []string{"fail is refreshed every 48h0m0s in the cluster"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := good()
			tt.edit(&s)
			raw, err := json.Marshal(Seen{At: at, Rotation: evidence.Duration(rotation), Secrets: []Secret{s}})
			if err != nil {
				t.Fatal(err)
			}
			found, err := collectors.Findings(seal(t, manifests, raw), New(Options{}))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				if f.Target.Name != "db" || f.Target.File != "templates/es.yaml" {
					t.Errorf("target %+v", f.Target)
				}
				if f.Outcome == evidence.OutcomePass {
					continue
				}
				line := fmt.Sprintf("%s %s", f.Outcome, f.Message)
				for _, w := range tt.want {
					outcome, part, _ := strings.Cut(w, " ")
					if string(f.Outcome) == outcome && strings.Contains(f.Message, part) {
						line = w
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

func TestFindingsEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		manifests, artifact, want string // want: of the error, or the outcome and message of the only finding
	}{
		"no ExternalSecret":       {"---\n# Source: a.yaml:1\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n", `{"secrets":[]}`, "not-applicable the release has no ExternalSecret"},
		"not asked about":         {manifests, `{"secrets":[]}`, "not-checked the cluster was not asked about it"},
		"truncated":               {manifests, `{"secrets":[`, "error parse external-secrets.json"},
		"missing":                 {manifests, "", "error artifact"},
		"about something else":    {manifests, `{"secrets":[{"index":3,"name":"db"}]}`, "error parse external-secrets.json: entry 0 is not about an ExternalSecret"},
		"an unreadable document":  {"---\n# Source: a.yaml:1\nkind: [\n", `{"secrets":[]}`, "not-checked a rendered document is no Kubernetes object: see CHT-3"},
		"of another of that name": {manifests, `{"secrets":[{"index":0,"name":"other","found":true}]}`, "error parse external-secrets.json: entry 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var artifact []byte
			if tt.artifact != "" {
				artifact = []byte(tt.artifact)
			}
			found, err := collectors.Findings(seal(t, tt.manifests, artifact), New(Options{}))
			got := fmt.Sprint("error ", err)
			if err == nil && len(found) == 1 {
				got = string(found[0].Outcome) + " " + found[0].Message
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("%s (%d findings), want %s", got, len(found), tt.want)
			}
		})
	}
}
