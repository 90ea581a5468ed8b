package secrets_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/secrets"
)

// TestCleanError holds that the text of an error shows no secret, however short, and
// stays of use.
func TestCleanError(t *testing.T) {
	t.Parallel()
	values := map[string]any{"db": map[string]any{"password": "pq7"}, "admin": map[string]any{"password": "postgres"}, "web": map[string]any{"password": "api"}}
	for name, tt := range map[string]struct {
		stage, err string
		given      []string
		want       string
	}{
		"short":            {chart.StageRender, "it is pq7, not pq70", nil, "it is REDACTED, not pq70"},
		"short, upper":     {chart.StageRender, "it is 'PQ7'", nil, "it is 'REDACTED'"},
		"short, encoded":   {chart.StageRender, "it is " + base64.StdEncoding.EncodeToString([]byte("pq7")) + ".", nil, "it is REDACTED."},
		"a word":           {chart.StageRender, "no postgres-db", nil, "no REDACTED-db"},
		"the chart's name": {chart.StageRender, "templates/api.yaml:3: no", nil, "templates/api.yaml:3: no"},
		"YAML":             {chart.StageValues, "line 1: cannot unmarshal !!str `hunter2...` into map", nil, "line 1: cannot unmarshal !!str REDACTED into map"},
		"an alias":         {chart.StageLoad, "unknown anchor 'hunter2' referenced", nil, "unknown anchor REDACTED referenced"},
		"a number":         {chart.StageRender, `strconv.ParseInt: parsing "a\"b": invalid syntax`, nil, "strconv.ParseInt: parsing REDACTED: invalid syntax"},
		"a cast":           {chart.StageRender, `unable to cast "x y" of type string`, nil, "unable to cast REDACTED of type string"},
		"an argument":      {chart.StageValues, `failed parsing --set-json data x={"a": "motto", "n": 12345: unexpected end`, []string{`x={"a": "motto", "n": 12345`}, "failed parsing --set-json data x=REDACTED: unexpected end"},
		"of an argument":   {chart.StageValues, "no motto here", []string{"a=1,b=motto"}, "no REDACTED here"},
		"a plain value":    {chart.StageRender, "env motto is unknown", []string{"env=motto"}, "env motto is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := &chart.Release{Values: values}
			rel.Info.Chart = "api"
			err := secrets.CleanError(t.Context(), &chart.LoadError{Ref: "x", Stage: tt.stage, Err: errors.New(tt.err), Loaded: rel}, tt.given)
			if want := tt.stage + " x: " + tt.want; err.Error() != want {
				t.Errorf("%q, want %q", err, want)
			}
		})
	}
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"missing charts":     {&chart.MissingError{Names: []string{"postgres", "common"}}, "in Chart.yaml but not in charts/: postgres, common"},
		"a token is missing": {&chart.MissingError{Names: []string{"common", "Zq8_postgres+pq7"}}, "in Chart.yaml but not in charts/: common, Zq8_REDACTED+REDACTED"},
		"a library":          {chart.ErrLibrary, chart.ErrLibrary.Error()},
	} {
		rel := &chart.Release{Values: values}
		err := secrets.CleanError(t.Context(), &chart.LoadError{Ref: "x", Stage: chart.StageDependencies, Err: tt.err, Loaded: rel}, nil)
		if want := chart.StageDependencies + " x: " + tt.want; err.Error() != want {
			t.Errorf("%s: %q, want %q", name, err, want)
		}
	}
	if err := secrets.CleanError(t.Context(), errors.New("pq7"), nil); !strings.Contains(err.Error(), "pq7") {
		t.Errorf("%v: an error of something else was changed", err)
	}
}
