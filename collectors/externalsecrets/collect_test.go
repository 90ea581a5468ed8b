package externalsecrets

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

type written map[string][]byte

func (w written) Write(name string, content []byte) error { w[name] = content; return nil }

// TestCollect asks an API server that would give the Secret's content to who asks for it.
func TestCollect(t *testing.T) {
	t.Parallel()
	const value = "bm90LWZvci15b3U="
	objects := map[string]string{
		"/version":                       `{"gitVersion":"v1.37.0"}`,
		"/api/v1/namespaces/kube-system": `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"c"}}`,
		"/api/v1/nodes":                  `{"kind":"NodeList","apiVersion":"v1","items":[]}`,
		"/apis/external-secrets.io/v1/namespaces/shop/externalsecrets/db": `{"kind":"ExternalSecret","apiVersion":"external-secrets.io/v1",
			"metadata":{"name":"db","namespace":"shop","uid":"u","generation":3},"spec":{"refreshInterval":"1h","secretStoreRef":{"name":"vault"}},
			"status":{"refreshTime":"2026-11-01T11:30:00Z","syncedResourceVersion":"3-abc","conditions":[{"type":"Ready","status":"True"}]}}`,
		"/apis/external-secrets.io/v1/namespaces/shop/secretstores/vault": `{"kind":"SecretStore","apiVersion":"external-secrets.io/v1",
			"metadata":{"name":"vault"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`,
		"/api/v1/namespaces/shop/secrets/db": `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","data":{"password":"` + value + `"},"metadata":{"name":"db","namespace":"shop",
			"resourceVersion":"77","creationTimestamp":"2026-01-01T00:00:00Z","ownerReferences":[{"kind":"ExternalSecret","name":"db","uid":"u","apiVersion":"external-secrets.io/v1"}],
			"annotations":{"reconcile.external-secrets.io/data-hash":"d1","kubectl.kubernetes.io/last-applied-configuration":"{data: ` + value + `}"},
			"managedFields":[
				{"manager":"external-secrets","operation":"Update","time":"2026-10-30T12:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:password":{}},"f:type":{}}},
				{"manager":"kubectl","operation":"Apply","time":"2026-10-31T12:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{}}},
				{"manager":"strange","operation":"Update","fieldsType":"FieldsV1","fieldsV1":["?"]},
				{"manager":"silent","operation":"Update"}]}}`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/secrets/") && !strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
			t.Errorf("asked for a Secret's content: %s, Accept %q", r.URL.Path, r.Header.Get("Accept"))
		}
		w.Header().Set("Content-Type", "application/json")
		body, ok := objects[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"not found"}`
		}
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	c, err := cluster.ConnectConfig(t.Context(), &rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	rel, err := chart.LoadManifests(t.Context(), "-", chart.LoadOptions{Namespace: "shop", Stdin: strings.NewReader(manifests)})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	out := written{}
	if err := New(Options{}).Collect(t.Context(), collectors.Input{Release: rel, Cluster: c, Now: func() time.Time { return at }}, out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out[file]), value) || strings.Contains(string(out[file]), "password") {
		t.Errorf("content of the Secret was sealed: %s", out[file])
	}
	var got Seen
	if err := json.Unmarshal(out[file], &got); err != nil {
		t.Fatal(err)
	}
	day := func(d int) time.Time { return time.Date(2026, 10, d, 12, 0, 0, 0, time.UTC) }
	ready := []Condition{{Type: "Ready", Status: "True"}}
	want := Seen{At: at, Rotation: evidence.Duration(DefaultRotation), Secrets: []Secret{{
		Namespace: "shop", Name: "db", Found: true, Conditions: ready, RefreshTime: "2026-11-01T11:30:00Z", Interval: "1h", Synced: "3-abc",
		Stores: []Store{{Kind: "SecretStore", Name: "vault", Found: true, Conditions: ready}},
		Target: &Target{
			Name: "db", Found: true, Owned: true, Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), ResourceVersion: "77",
			Annotations: []string{"kubectl.kubernetes.io/last-applied-configuration", "reconcile.external-secrets.io/data-hash"},
			Changes: []Change{
				{Manager: "external-secrets", Operation: "Update", At: day(30), Data: true}, {Manager: "kubectl", Operation: "Apply", At: day(31)},
				{Manager: "strange", Operation: "Update", Error: "its fields cannot be read"}, {Manager: "silent", Operation: "Update", Error: "its fields are not told"},
			},
		},
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}
