// Package helmop upgrades and rolls back live releases by Helm's own SDK, for
// drills. It is the one package that is built from Helm's actions.
package helmop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"helm.sh/helm/v4/pkg/action"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	helmkube "helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

// DrillLabel marks, in Helm's storage, the revisions that drills made.
const DrillLabel = "helmproof.dev/drill"

// maxDescription bounds what is told of a revision's description: Helm puts
// whole error messages there.
const maxDescription = 2000

// Ref says which release, and where Helm keeps it. It is part of the record of
// what must be restored.
type Ref struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Storage   string `json:"storage"` // chart.StorageSecrets or chart.StorageConfigMaps
	// Manager is the field manager that the release was applied by, where that is not
	// Helm's command. By another's name the API server would take what a drill applies
	// for somebody else's, and refuse it as a conflict.
	Manager string `json:"manager,omitempty"`
}

func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// Client does Helm's operations on one release. What waits ends with its
// context, and so does every request.
type Client struct {
	ctx context.Context //nolint:containedctx // Helm's rollback takes none
	cfg *action.Configuration
	ref Ref
}

// New returns a client whose operations end with ctx.
func New(ctx context.Context, c *cluster.Cluster, ref Ref) (*Client, error) {
	// Helm knows one manager for the whole process. Drills never overlap.
	helmkube.ManagedFieldsManager = cmp.Or(ref.Manager, "helm")
	cfg := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := cfg.Init(newGetter(ctx, c.Config, ref.Namespace), ref.Namespace, ref.Storage); err != nil {
		return nil, fmt.Errorf("Helm's client: %w", err) //nolint:staticcheck // a name
	}
	return &Client{ctx: ctx, cfg: cfg, ref: ref}, nil
}

// getter gives Helm the connection that everything else uses.
type getter struct {
	config    *rest.Config
	namespace string
	mapper    func() (*cached, error)
}

// cached is what discovery said, asked once.
type cached struct {
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.RESTMapper
}

func newGetter(ctx context.Context, c *rest.Config, namespace string) *getter {
	config := rest.CopyConfig(c)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return transport{ctx, next} })
	return &getter{config: config, namespace: namespace, mapper: sync.OnceValues(func() (*cached, error) {
		d, err := discovery.NewDiscoveryClientForConfig(config)
		if err != nil {
			return nil, err
		}
		m := memory.NewMemCacheClient(d)
		return &cached{m, restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(m), m, nil)}, nil
	})}
}

func (g *getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.config), nil }

func (g *getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	c, err := g.mapper()
	if err != nil {
		return nil, err
	}
	return c.discovery, nil
}

func (g *getter) ToRESTMapper() (meta.RESTMapper, error) {
	c, err := g.mapper()
	if err != nil {
		return nil, err
	}
	return c.mapper, nil
}

func (g *getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	o := &clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: g.namespace}}
	return clientcmd.NewDefaultClientConfig(*clientcmdapi.NewConfig(), o)
}

// transport refuses requests once ctx has ended: most of Helm's have no context.
type transport struct {
	ctx  context.Context //nolint:containedctx // see above
	next http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := context.Cause(t.ctx); err != nil {
		return nil, err
	}
	return t.next.RoundTrip(r)
}

// Revision is what Helm's storage says of one revision.
type Revision struct {
	Revision    int             `json:"revision"`
	Status      string          `json:"status"`
	Description string          `json:"description"`
	Deployed    time.Time       `json:"deployed"` // when Helm began with it, by its clock
	Digest      evidence.Digest `json:"digest"`   // of its manifest and hooks
	Drill       bool            `json:"drill,omitempty"`
	// RollbackTo is the revision that it is a rollback to; 0: it is none.
	RollbackTo int    `json:"rollbackTo,omitempty"`
	Hooks      []Hook `json:"hooks,omitempty"`
}

// Hook is one of a revision's hooks, with its last run in that revision.
type Hook struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind"`
	Events    []string   `json:"events"`
	Phase     string     `json:"phase,omitempty"` // empty: it did not run
	Started   *time.Time `json:"started,omitempty"`
	Completed *time.Time `json:"completed,omitempty"`
}

// On tells whether the hook is run at that event.
func (h Hook) On(event string) bool { return slices.Contains(h.Events, event) }

// Pending tells whether Helm is at work on the revision, or was when it died.
func (r Revision) Pending() bool { return common.Status(r.Status).IsPending() }

// ErrGone says that Helm's storage has no revision of the release.
var ErrGone = errors.New("Helm has no such release") //nolint:staticcheck // a name

// History returns the release's revisions, oldest first; at least one.
func (c *Client) History() ([]Revision, error) {
	stored, err := c.stored()
	if err != nil {
		return nil, err
	}
	out := make([]Revision, 0, len(stored))
	for _, r := range stored {
		out = append(out, describe(r))
	}
	return out, nil
}

func (c *Client) stored() ([]*releasev1.Release, error) {
	list, err := c.cfg.Releases.History(c.ref.Name)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", c.ref, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: %w", c.ref, ErrGone)
	}
	out := make([]*releasev1.Release, 0, len(list))
	for _, l := range list {
		r, err := parse(l)
		if err != nil {
			return nil, fmt.Errorf("history of %s: %w", c.ref, err)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *releasev1.Release) int { return cmp.Compare(a.Version, b.Version) })
	return out, nil
}

func parse(r release.Releaser) (*releasev1.Release, error) {
	v, ok := r.(*releasev1.Release)
	switch {
	case !ok || v == nil:
		return nil, fmt.Errorf("a record of another kind: %T", r)
	case v.Info == nil || v.Chart == nil || v.Chart.Metadata == nil:
		return nil, fmt.Errorf("the record of revision %d is not whole", v.Version)
	}
	return v, nil
}

func describe(r *releasev1.Release) Revision {
	out := Revision{Revision: r.Version, Status: string(r.Info.Status), Description: Clip(r.Info.Description), Deployed: r.Info.LastDeployed.UTC(),
		Digest: digest(r), RollbackTo: r.Info.RollbackRevision}
	_, out.Drill = r.Labels[DrillLabel]
	for _, h := range r.Hooks {
		if h == nil {
			continue
		}
		hook := Hook{Name: h.Name, Kind: h.Kind, Events: []string{}, Phase: string(h.LastRun.Phase), Started: moment(h.LastRun.StartedAt), Completed: moment(h.LastRun.CompletedAt)}
		for _, e := range h.Events {
			hook.Events = append(hook.Events, string(e))
		}
		out.Hooks = append(out.Hooks, hook)
	}
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Clip cuts a text that others wrote.
func Clip(s string) string {
	if len(s) > maxDescription {
		return strings.ToValidUTF8(s[:maxDescription], "") + "…"
	}
	return s
}

// digest is that of what the revision applies: its manifest and its hooks.
func digest(r *releasev1.Release) evidence.Digest {
	parts := []string{r.Manifest}
	for _, h := range r.Hooks {
		if h != nil {
			parts = append(parts, h.Manifest)
		}
	}
	slices.Sort(parts[1:])
	return evidence.DigestOf([]byte(strings.Join(parts, "\x00")))
}

// Content is what a revision applies.
type Content struct {
	Manifest string
	Hooks    []string // manifests
	Files    []string // names in the chart, templates aside
}

// Content returns what a revision applies.
func (c *Client) Content(revision int) (*Content, error) {
	r, err := c.get(revision)
	if err != nil {
		return nil, err
	}
	out := &Content{Manifest: r.Manifest}
	for _, h := range r.Hooks {
		if h != nil {
			out.Hooks = append(out.Hooks, h.Manifest)
		}
	}
	for _, f := range r.Chart.Files {
		if f != nil {
			out.Files = append(out.Files, f.Name)
		}
	}
	return out, nil
}

func (c *Client) get(revision int) (*releasev1.Release, error) {
	got, err := c.cfg.Releases.Get(c.ref.Name, revision)
	if err != nil {
		return nil, fmt.Errorf("revision %d of %s: %w", revision, c.ref, err)
	}
	return parse(got)
}

// Upgrade upgrades the release from a revision to these manifests, its own
// hooks among them, and waits until all of it is ready, for timeout at most.
// Nothing is undone when that fails. Charts are stored without their subcharts,
// and templates make other random values each time, so that the revision's chart
// is not rendered: it is stored again without its templates.
func (c *Client) Upgrade(from int, manifests []byte, timeout time.Duration) error {
	r, err := c.get(from)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout) // hooks and all: each of Helm's waits has timeout for itself
	defer cancel()
	up := action.NewUpgrade(c.cfg)
	up.Namespace, up.Timeout = c.ref.Namespace, timeout
	up.WaitStrategy, up.WaitOptions, up.WaitForJobs = helmkube.StatusWatcherStrategy, []helmkube.WaitOption{helmkube.WithWaitContext(ctx)}, true
	up.SkipSchemaValidation = true // the values are those that were deployed
	up.PostRenderer, up.Labels = rendered(manifests), map[string]string{DrillLabel: "rollback"}
	ch := &chartv2.Chart{Metadata: r.Chart.Metadata, Lock: r.Chart.Lock, Values: r.Chart.Values, Schema: r.Chart.Schema, Files: r.Chart.Files}
	// Ended early, Helm would return while the operation goes on: that one ends
	// by its waiting and its requests.
	_, err = up.RunWithContext(context.WithoutCancel(c.ctx), c.ref.Name, ch, r.Config)
	return err
}

// RollbackOptions say how to roll back.
type RollbackOptions struct {
	Revision int
	Timeout  time.Duration // of all the waiting, for hooks too
	// Quick leaves out hooks, and waits for nothing.
	Quick bool
}

// Rollback rolls the release back as helm rollback --wait does.
func (c *Client) Rollback(o RollbackOptions) error {
	ctx, cancel := context.WithTimeout(c.ctx, o.Timeout)
	defer cancel()
	back := action.NewRollback(c.cfg)
	back.Version, back.Timeout, back.DisableHooks = o.Revision, o.Timeout, o.Quick
	back.WaitStrategy, back.WaitForJobs = helmkube.StatusWatcherStrategy, true
	if o.Quick {
		back.WaitStrategy, back.WaitForJobs = helmkube.HookOnlyStrategy, false
	}
	back.WaitOptions = []helmkube.WaitOption{helmkube.WithWaitContext(ctx)}
	back.Description = fmt.Sprintf("Rollback to %d by a drill of helmproof", o.Revision)
	return back.Run(c.ref.Name)
}
