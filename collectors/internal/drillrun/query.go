package drillrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/companyos/helmproof/internal/drill"
)

// maxAnswer bounds what is read of an answer of Prometheus, in bytes.
const maxAnswer = 64 << 10

// sample asks the plan's query once a second and records the answers, until ctx ends.
func sample(ctx context.Context, p *drill.Prometheus, rec *recorder) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		q := drill.Sampled{}
		v, err := query(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if q.Value = v; err != nil {
			q = drill.Sampled{Error: oneLine(err.Error())}
		}
		rec.query(q)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// query asks Prometheus once for one number.
func query(ctx context.Context, p *drill.Prometheus) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(p.URL, "/")+"/api/v1/query?query="+url.QueryEscape(p.Query), nil)
	if err != nil {
		return 0, errors.New("ask Prometheus: its URL is not one")
	}
	res, err := http.DefaultClient.Do(req)
	if e := new(url.Error); errors.As(err, &e) {
		err = e.Err // without the URL, which may have a password
	}
	if err != nil {
		return 0, fmt.Errorf("ask Prometheus: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if e := res.Body.Close(); err == nil {
		err = e
	}
	if err != nil {
		return 0, fmt.Errorf("ask Prometheus: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask Prometheus: %s", res.Status)
	}
	return parseAnswer(body)
}

// parseAnswer takes the one number out of an instant query's answer.
func parseAnswer(body []byte) (float64, error) {
	if len(body) > maxAnswer {
		return 0, fmt.Errorf("Prometheus's answer has more than %d bytes", maxAnswer) //nolint:staticcheck // a name
	}
	var a struct {
		Status string
		Data   struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return 0, fmt.Errorf("read Prometheus's answer: %w", err)
	}
	if a.Status != "success" {
		return 0, fmt.Errorf("Prometheus's answer has the status %q", a.Status) //nolint:staticcheck // a name
	}
	var value [2]any
	switch a.Data.ResultType {
	case "scalar":
		if err := json.Unmarshal(a.Data.Result, &value); err != nil {
			return 0, fmt.Errorf("read Prometheus's answer: %w", err)
		}
	case "vector":
		var v []struct{ Value [2]any }
		if err := json.Unmarshal(a.Data.Result, &v); err != nil {
			return 0, fmt.Errorf("read Prometheus's answer: %w", err)
		}
		if len(v) != 1 {
			return 0, fmt.Errorf("the query gives %d series, want one", len(v))
		}
		value = v[0].Value
	default:
		return 0, fmt.Errorf("the query gives a %q, want one number", a.Data.ResultType)
	}
	text, ok := value[1].(string)
	if !ok {
		return 0, errors.New("Prometheus's answer has no value") //nolint:staticcheck // a name
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("the query gives %q, want a number", text)
	}
	if math.IsNaN(v) || v < 0 || v > 1 {
		return 0, fmt.Errorf("the query gives %s, want a share from 0 to 1", text)
	}
	return v, nil
}
