package drillrun

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/internal/cluster"
)

// clockSkew is how far the API server's clock is ahead of ours, to within bound: an
// answer's Date has whole seconds, and was written some time between request and answer.
func clockSkew(ctx context.Context, c *cluster.Cluster, now func() time.Time) (skew, bound time.Duration, err error) {
	client, err := rest.HTTPClientFor(c.Config)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Kube.CoreV1().RESTClient().Get().AbsPath("/version").URL().String(), nil)
	if err != nil {
		return 0, 0, err
	}
	var began time.Time
	for range 2 { // the first may have to connect
		began = now()
		res, e := client.Do(req)
		if e != nil {
			return 0, 0, e
		}
		trip := now().Sub(began)
		_, e = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
		if e2 := res.Body.Close(); e == nil {
			e = e2
		}
		if e != nil {
			return 0, 0, e
		}
		date, e := http.ParseTime(res.Header.Get("Date"))
		if e != nil {
			return 0, 0, fmt.Errorf("the answer's Date: %w", e)
		}
		skew, bound = date.Add(time.Second/2).Sub(began.Add(trip/2).Round(0)), trip/2+time.Second
	}
	return skew, bound, nil
}
