package drillrun

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/internal/drill"
)

var answers = []struct{ body, want string }{
	{`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"0.25"]}]}}`, ""},
	{`{"status":"success","data":{"resultType":"scalar","result":[1.5,"0.25"]}}`, ""},
	{`{"status":"success","data":{"resultType":"vector","result":[]}}`, "the query gives 0 series, want one"},
	{`{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"1"]},{"value":[1,"1"]}]}}`, "the query gives 2 series, want one"},
	{`{"status":"success","data":{"resultType":"vector","result":[{"value":[1.5,"NaN"]}]}}`, "the query gives NaN, want a share from 0 to 1"},
	{`{"status":"success","data":{"resultType":"vector","result":[{"value":[1.5,"+Inf"]}]}}`, "the query gives +Inf, want a share"},
	{`{"status":"success","data":{"resultType":"vector","result":[{"value":[1.5,"99.9"]}]}}`, "the query gives 99.9, want a share"},
	{`{"status":"success","data":{"resultType":"scalar","result":[1.5,"x"]}}`, `the query gives "x", want a number`},
	{`{"status":"success","data":{"resultType":"scalar","result":[1.5,1]}}`, "has no value"},
	{`{"status":"success","data":{"resultType":"matrix","result":[]}}`, `the query gives a "matrix"`},
	{`{"status":"error","error":"parse error"}`, `has the status "error"`},
	{`<html>`, "read Prometheus's answer"},
	{`"` + strings.Repeat("x", maxAnswer) + `"`, "more than 65536 bytes"},
}

func TestQuery(t *testing.T) {
	t.Parallel()
	for _, tt := range answers {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v1/query" || r.URL.Query().Get("query") != `sum(good) / sum(all{a="b"})` {
				t.Errorf("asked for %s", r.URL)
			}
			_, _ = w.Write([]byte(tt.body))
		}))
		v, err := query(t.Context(), &drill.Prometheus{URL: srv.URL + "/", Query: `sum(good) / sum(all{a="b"})`})
		srv.Close()
		if tt.want == "" && (err != nil || v != 0.25) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%.80s: %g, %v, want %q", tt.body, v, err, tt.want)
		}
	}
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	if _, err := query(t.Context(), &drill.Prometheus{URL: strings.Replace(srv.URL, "http://", "http://me:secret@", 1)}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody there: %v", err)
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, a := range answers[:len(answers)-1] {
		f.Add([]byte(a.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if v, err := parseAnswer(body); err == nil && !(v >= 0 && v <= 1) {
			t.Fatalf("%q gives %g", body, v)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(`{"holder":"a/b","nodes":["node-a"],"pods":["shop/helmproof-prober-x"],"notes":["helm rollback web 3"]}`)
	f.Add(`{`)
	f.Add(``)
	f.Fuzz(func(t *testing.T, text string) {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{restoreKey: text}}}
		r, err := recordOf(l)
		if err != nil {
			return
		}
		if err := r.write(l); err != nil {
			return // it is too long
		}
		again, err := recordOf(l)
		if err != nil || again.empty() != r.empty() || len(again.Nodes) != len(r.Nodes) {
			t.Fatalf("%+v written and read is %+v, %v", r, again, err)
		}
	})
}
