package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/test/kube"
)

// evictAll evicts the chosen pods, one after the other, each as soon as the budget lets it.
func evictAll(ctx context.Context, l *drillrun.Live) error {
	for i := range l.World.Victims {
		for l.Evict(ctx, &l.World.Victims[i], nil) != nil {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	return nil
}

// TestDrill evicts two of three pods, and holds what was recorded to what happened.
func TestDrill(t *testing.T) {
	c, mine := release(t, "drill-plain")
	rights(t, c)
	budget := func(least string) {
		if _, err := c.TryKubectl(t.Context(), "", "patch", "pdb", "web", "-n", "drill-plain", "-p", `{"spec":{"minAvailable":`+least+`}}`); err != nil {
			t.Error(err)
		}
	}
	s := session(mine, "drill-plain", drill.Eviction, func(ctx context.Context, l *drillrun.Live) error {
		budget("3") // simulated pods are back so soon that the second eviction may well meet no refusal
		if err := l.Evict(ctx, &l.World.Victims[0], nil); err == nil {
			t.Error("evicted although the budget wants all pods")
		}
		budget("2")
		return evictAll(ctx, l)
	})
	s.Plan.Target.Count = 2
	f := run(t, s)
	end := f.end(t)
	if end.Aborted != "" || len(end.Lost) > 0 || len(end.NotRestored) > 0 || end.Length < 5*time.Second || end.SkewError <= 0 || end.SkewStart.Abs() > 2*time.Second {
		t.Fatalf("%+v\n%s", end, f.files[drill.PreflightFile])
	}
	var marks []string
	evicted, refused, gone, made, lowest := 0, 0, map[string]bool{}, map[string]bool{}, 3
	for _, e := range f.events(t) {
		switch {
		case e.Mark != "":
			marks = append(marks, e.Mark)
		case e.Action != nil && e.Action.Code == 201:
			evicted++
		case e.Action != nil && e.Action.Code == 429:
			refused++
			if e.Action.Budget != "drill-plain/web" {
				t.Errorf("a refusal names the budget %q: %+v", e.Action.Budget, e.Action)
			}
		case e.Pod != nil && e.Pod.Gone:
			gone[e.Pod.UID] = true
		case e.Pod != nil && e.Pod.Ready && slices.Contains(marks, "fault"):
			if e.Pod.Owner != "Deployment/web" {
				t.Errorf("owner %q", e.Pod.Owner)
			}
			made[e.Pod.UID] = true
		case e.Endpoints != nil:
			lowest = min(lowest, e.Endpoints.Ready)
		}
	}
	if want := []string{"before", "fault", "recover", "after", "end"}; !slices.Equal(marks, want) {
		t.Errorf("marks %v, want %v", marks, want)
	}
	// The Service may hear of the new pod after the budget did.
	if evicted != 2 || len(gone) != 2 || len(made) < 2 || refused == 0 || lowest < 1 || lowest > 2 {
		t.Errorf("%d evicted, %d refused, %d gone, %d made, at least %d endpoints ready\n%s", evicted, refused, len(gone), len(made), lowest, f.files[drill.TimelineFile])
	}
	if n := len(f.files[drill.TimelineFile]); n > 20<<10 {
		t.Errorf("the timeline of a small drill has %d bytes", n)
	}
	released(t, mine)
}

// TestRefused: each reason not to begin is found, and nothing is touched.
func TestRefused(t *testing.T) {
	c, mine := release(t, "drill-refused")
	rights(t, c)
	ns := "drill-refused"
	tests := []struct {
		name, check, want string
		spoil             func(*drillrun.Session)
		before, after     []string // kubectl
	}{
		{name: "namespace", check: "namespaces", want: "allow it with --allow-namespace " + ns, spoil: func(s *drillrun.Session) { s.Plan.AllowNamespaces = []string{"other"} }},
		{name: "budget spent", check: "error-budget", want: "leaves no error budget", spoil: func(s *drillrun.Session) { s.Plan.SLO.Objective = 1 }},
		{name: "too many pods", check: "limits", want: "3 pods would be hit, at most 2 may be (--max-pods)", spoil: func(s *drillrun.Session) { s.Plan.Target.Count = 3 }},
		{name: "too much of one", check: "limits", want: "2 of 3 pods of Deployment/web would be hit, at most 50 % may be (--max-percent)", spoil: func(s *drillrun.Session) { s.Plan.Target.Count, s.Plan.Limits.Percent = 2, 50 }},
		{name: "no such workload", check: "steady", want: "the release has no Deployment/api", spoil: func(s *drillrun.Session) { s.Plan.Target.Workload = "Deployment/api" }},
		{name: "no such node", check: "nodes", want: "there is no node nowhere", spoil: func(s *drillrun.Session) {
			s.Plan.Experiment, s.Plan.Target.Node = drill.NodeDrain, "nowhere"
		}},
		{name: "no answer", check: "answers", want: "has no good answer: refused", spoil: func(s *drillrun.Session) {
			s.Plan.Probes = []drill.Probe{{Name: "web", Kind: "http", Address: "http://web", Rate: 10}}
			s.Ask = func(context.Context, drill.Probe) error { return errors.New("refused") }
		}},
		{name: "own check", check: "forecast", want: "could not be answered: no idea", spoil: func(s *drillrun.Session) {
			s.Checks = []drillrun.Question{{Name: "forecast", Ask: func(context.Context, *drillrun.World) (bool, string, error) { return true, "", errors.New("no idea") }}}
		}},
		{
			name: "budget blocks", check: "budget", want: "budget drill-refused/web of Pod drill-refused/web-",
			before: []string{"patch", "pdb", "web", "-n", ns, "-p", `{"spec":{"minAvailable":3}}`}, after: []string{"patch", "pdb", "web", "-n", ns, "-p", `{"spec":{"minAvailable":2}}`},
		},
		{
			name: "rollout", check: "steady", want: "Deployment/web is not rolled out",
			before: []string{"patch", "deployment", "web", "-n", ns, "-p", `{"spec":{"template":{"spec":{"nodeSelector":{"type":"none"}}}}}`},
			after:  []string{"rollout", "undo", "deployment/web", "-n", ns},
		},
		{name: "cordoned", check: "alone", want: "node kwok-1 is cordoned: somebody else drains it", before: []string{"cordon", "kwok-1"}, after: []string{"uncordon", "kwok-1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := session(mine, ns, drill.Eviction, func(context.Context, *drillrun.Live) error {
				t.Error("the fault was begun")
				return nil
			})
			s.Plan.Phases.Recover = evidence.Duration(time.Second) // what does not pass by itself is not waited for
			if tt.spoil != nil {
				tt.spoil(&s)
			}
			if tt.before != nil {
				c.Kubectl(t, tt.before...)
				defer c.Kubectl(t, tt.after...)
			}
			kube.Eventually(t, 20*time.Second, "a refusal", func() bool { // a status follows what was patched
				checks, err := drillrun.Preflight(t.Context(), s)
				return err == nil && strings.Contains(reasonOf(checks, tt.check), tt.want) || t.Context().Err() != nil
			})
			f := run(t, s)
			if got := reasonOf(f.checks(t), tt.check); !strings.Contains(got, tt.want) || !strings.HasPrefix(f.end(t).Aborted, "refused: ") {
				t.Errorf("%s: %q, want %q; %+v", tt.check, got, tt.want, f.end(t))
			}
			if f.files[drill.TimelineFile] != nil {
				t.Error("there is a timeline")
			}
		})
	}
	released(t, mine)
}

// sent is a prober of which the test says what came of its requests.
type sent struct {
	counts func() drillrun.Count
	lost   func() error
}

func (s *sent) Live() []drillrun.Count { return []drillrun.Count{s.counts()} }
func (s *sent) Err() error             { return s.lost() }
func (s *sent) Stop(context.Context) (map[string][]byte, error) {
	return map[string][]byte{"web": []byte("end,0\n")}, nil
}

// TestAborted: each reason to abort ends the fault, restores and is said.
func TestAborted(t *testing.T) {
	c, mine := release(t, "drill-aborted")
	rights(t, c)
	interrupted := errors.New("interrupted")
	cordon := func(ctx context.Context, l *drillrun.Live) error {
		if err := l.Cordon(ctx, l.World.Drain[0]); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	tests := []struct {
		name, want string
		interrupt  bool
		spoil      func(s *drillrun.Session, cordoned <-chan struct{})
		fault      func(context.Context, *drillrun.Live) error
	}{
		{name: "deadline", want: "not done within its deadline of 4s", spoil: func(s *drillrun.Session, _ <-chan struct{}) {
			s.Plan.Phases.Deadline = evidence.Duration(4 * time.Second)
		}},
		{name: "fault", want: "the experiment failed: no hands", fault: func(ctx context.Context, l *drillrun.Live) error {
			return errors.Join(l.Cordon(ctx, l.World.Drain[0]), errors.New("no hands"))
		}},
		{name: "budget", want: "error budget exhausted: probe web has spent 40.00 of 36.00 s", spoil: func(s *drillrun.Session, cordoned <-chan struct{}) {
			probes(s, cordoned, 400, nil)
		}},
		{name: "prober", want: "the prober was lost: its pod was deleted", spoil: func(s *drillrun.Session, cordoned <-chan struct{}) {
			probes(s, cordoned, 0, errors.New("its pod was deleted"))
		}},
		{name: "SIGINT", want: "interrupted", interrupt: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cordoned := make(chan struct{})
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			fault := tt.fault
			if fault == nil {
				fault = cordon
			}
			s := session(mine, "drill-aborted", drill.NodeDrain, func(ctx context.Context, l *drillrun.Live) error {
				go func() {
					for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
						n, err := mine.Kube.CoreV1().Nodes().Get(context.WithoutCancel(ctx), l.World.Drain[0], metav1.GetOptions{})
						if err == nil && n.Spec.Unschedulable {
							close(cordoned)
							if tt.interrupt {
								cancel(interrupted)
							}
							return
						}
					}
				}()
				return fault(ctx, l)
			})
			s.Plan.AllowNamespaces = append(s.Plan.AllowNamespaces, allNamespaces(t, mine.Kube.CoreV1().Namespaces().List)...)
			s.Plan.Limits = drill.Limits{Pods: 100, Percent: 100, Nodes: 1}
			if tt.spoil != nil {
				tt.spoil(&s, cordoned)
			}
			f := &folder{}
			var said []string
			s.Progress = func(what string) { said = append(said, what) }
			err := drillrun.Run(ctx, s, f)
			if tt.interrupt {
				if !errors.Is(err, interrupted) || len(f.files) > 0 || !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "uncordoned ") }) {
					t.Errorf("%v, sealed %d files, said %q", err, len(f.files), said)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				end := f.end(t)
				if end.Aborted != tt.want || len(end.Restored) != 1 || !strings.HasPrefix(end.Restored[0], "uncordoned ") || len(end.NotRestored) > 0 {
					t.Errorf("%+v, want %q\n%s", end, tt.want, f.files[drill.PreflightFile])
				}
			}
			if out := c.Kubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); out != "" {
				t.Errorf("a node is still cordoned: %s", out)
			}
			released(t, mine)
		})
	}
}

// probes makes probes that answer until the node is cordoned.
func probes(s *drillrun.Session, cordoned <-chan struct{}, failed int, lost error) {
	s.Plan.Probes = []drill.Probe{{Name: "web", Kind: "http", Address: "http://web", Rate: 10}}
	s.Ask = func(context.Context, drill.Probe) error { return nil }
	is := func() bool {
		select {
		case <-cordoned:
			return true
		default:
			return false
		}
	}
	s.Probe = func(context.Context, *drillrun.Live) (drillrun.Prober, error) {
		return &sent{
			counts: func() drillrun.Count {
				if is() {
					return drillrun.Count{Probe: "web", Due: 1000, Failed: failed}
				}
				return drillrun.Count{Probe: "web", Due: 10}
			},
			lost: func() error {
				if is() {
					return lost
				}
				return nil
			},
		}, nil
	}
}

func allNamespaces(t *testing.T, list func(context.Context, metav1.ListOptions) (*corev1.NamespaceList, error)) []string {
	t.Helper()
	all, err := list(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i := range all.Items {
		out = append(out, all.Items[i].Name)
	}
	return out
}

// TestOverlap: a second drill is refused while the first is at work, and runs after it.
func TestOverlap(t *testing.T) {
	c, mine := release(t, "drill-overlap")
	rights(t, c)
	begun, finish, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	first := session(mine, "drill-overlap", drill.PodKill, func(ctx context.Context, _ *drillrun.Live) error {
		close(begun)
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return nil
	})
	f := &folder{}
	go func() { done <- drillrun.Run(t.Context(), first, f) }()
	select {
	case <-begun:
	case err := <-done:
		t.Fatalf("%v: %s", err, f.files[drill.PreflightFile])
	}
	second := session(mine, "drill-overlap", drill.PodKill, func(context.Context, *drillrun.Live) error { return nil })
	if got := reasonOf(run(t, second).checks(t), "alone"); !strings.Contains(got, "another drill runs on this cluster: "+hostname(t)) {
		t.Errorf("the second drill: %q", got)
	}
	if _, err := drillrun.Clean(t.Context(), mine, time.Now, nil, false); !errors.As(err, new(*drillrun.HeldError)) {
		t.Errorf("restoring while a drill is alive: %v", err)
	}
	close(finish)
	if err := <-done; err != nil || f.end(t).Aborted != "" {
		t.Fatalf("the first drill: %v, %+v", err, f.end(t))
	}
	if end := run(t, second).end(t); end.Aborted != "" {
		t.Errorf("after the first: %+v", end)
	}
	// Who is forced takes it from a drill that is alive, which is aborted by that.
	begun, done, f = make(chan struct{}), make(chan error, 1), &folder{}
	finish = make(chan struct{})
	go func() { done <- drillrun.Run(t.Context(), first, f) }()
	<-begun
	if _, err := drillrun.Clean(t.Context(), mine, time.Now, nil, true); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil || !strings.HasPrefix(f.end(t).Aborted, "the Lease was lost") {
		t.Errorf("the drill that lost its Lease: %v, %+v", err, f.end(t))
	}
	released(t, mine)
}

func hostname(t *testing.T) string {
	t.Helper()
	h, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestKilled: a drill that was killed in the middle leaves a cordoned node, and the next
// one uncordons it before it begins. What somebody else cordoned stays so.
func TestKilled(t *testing.T) {
	c, mine := release(t, "drill-killed")
	rights(t, c)
	kwokNode(t, c, mine, "drilled")
	other := startDriller(t, c.Kubeconfig, "drill-killed", "drilled")
	if !node(t, mine, "drilled").Spec.Unschedulable {
		t.Fatal("the node is not cordoned")
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	begun := time.Now()
	next := session(mine, "drill-killed", drill.PodKill, func(context.Context, *drillrun.Live) error {
		if node(t, mine, "drilled").Spec.Unschedulable {
			t.Error("the fault began while the node was cordoned")
		}
		return nil
	})
	if end := run(t, next).end(t); end.Aborted != "" || len(end.Restored) != 1 || end.Restored[0] != "uncordoned drilled, which an earlier drill had left behind" {
		t.Errorf("%+v", end)
	}
	t.Logf("taken over and drilled anew in %s", time.Since(begun).Round(time.Second))
	released(t, mine)

	// Uncordoned by hand, then cordoned by somebody else: not ours any more.
	other = startDriller(t, c.Kubeconfig, "drill-killed", "drilled")
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	c.Kubectl(t, "annotate", "node", "drilled", "helmproof.dev/cordoned-by-")
	done, err := drillrun.Clean(t.Context(), mine, time.Now, nil, true)
	if err != nil || len(done) > 0 || !node(t, mine, "drilled").Spec.Unschedulable {
		t.Errorf("restored %q, %v", done, err)
	}
	c.Kubectl(t, "uncordon", "drilled")
	released(t, mine)
}

// TestAPIServerRestarts: a drill goes on over a short absence of the API server, and
// says what it did not see.
func TestAPIServerRestarts(t *testing.T) {
	c, mine := release(t, "drill-restart")
	rights(t, c)
	s := session(mine, "drill-restart", drill.PodKill, func(ctx context.Context, l *drillrun.Live) error {
		if err := errors.Join(c.Kill("kube-apiserver"), c.Restart("kube-apiserver"), c.Ready(ctx)); err != nil {
			return err
		}
		for l.Delete(ctx, &l.World.Victims[0], nil) != nil {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(200 * time.Millisecond):
			}
		}
		return nil
	})
	f := run(t, s)
	end := f.end(t)
	if end.Aborted != "" { // an interruption of a moment is no gap: the watches go on from where they were
		t.Fatalf("%+v\n%s", end, f.files[drill.PreflightFile])
	}
	for _, g := range end.Lost {
		if g.To < g.From || g.To > end.Length || !strings.Contains(g.What, "drill-restart") && !strings.HasPrefix(g.What, "nodes") {
			t.Errorf("gap %+v in a drill of %s", g, end.Length)
		}
	}
	t.Logf("gaps: %+v", end.Lost)
	deleted, gone, made := false, false, false
	for _, e := range f.events(t) {
		deleted = deleted || e.Action != nil && e.Action.Code == 200
		gone = gone || deleted && e.Pod != nil && e.Pod.Gone
		made = made || gone && e.Pod != nil && e.Pod.Ready
	}
	if !deleted || !gone || !made {
		t.Errorf("after the restart: deleted %v, gone %v, made anew %v\n%s", deleted, gone, made, f.files[drill.TimelineFile])
	}
	released(t, mine)
}

// TestRights runs a drill as the ServiceAccount of templates/rbac, and asks what is
// said where one of its rights is missing.
func TestRights(t *testing.T) {
	c, mine := release(t, "drill-rights")
	rights(t, c)
	ns := "drill-rights"
	account := as(t, mine, "helmproof-drill")
	s := session(account, ns, drill.Eviction, evictAll)
	if got := reasonOf(run(t, s).checks(t), "rights"); got != "rights are missing, which templates/rbac/drill.yaml has: create pods/eviction in namespace "+ns {
		t.Errorf("in a namespace that was not bound: %q", got)
	}
	c.Kubectl(t, "create", "rolebinding", "helmproof-drill", "-n", ns, "--clusterrole=helmproof-drill-pods", "--serviceaccount=helmproof:helmproof-drill")
	allowed(t, s)
	if end := run(t, s).end(t); end.Aborted != "" || len(end.Lost) > 0 {
		t.Errorf("%+v", end)
	}
	s = session(account, ns, drill.PodKill, func(ctx context.Context, l *drillrun.Live) error {
		return l.Delete(ctx, &l.World.Victims[0], nil)
	})
	if end := run(t, s).end(t); end.Aborted != "" {
		t.Errorf("%+v", end)
	}
	// Nodes are for who drains them.
	kwokNode(t, c, mine, "rights")
	s = session(account, ns, drill.NodeDrain, func(ctx context.Context, l *drillrun.Live) error { return l.Cordon(ctx, "rights") })
	s.Plan.Target.Node = "rights"
	if got := reasonOf(run(t, s).checks(t), "rights"); !strings.HasSuffix(got, ": patch nodes") {
		t.Errorf("without helmproof-drill-nodes: %q", got)
	}
	c.Kubectl(t, "create", "clusterrolebinding", "helmproof-drill-nodes", "--clusterrole=helmproof-drill-nodes", "--serviceaccount=helmproof:helmproof-drill")
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "clusterrolebinding", "helmproof-drill-nodes"); err != nil {
			t.Error(err)
		}
	})
	allowed(t, s)
	if end := run(t, s).end(t); end.Aborted != "" || !slices.Equal(end.Restored, []string{"uncordoned rights"}) {
		t.Errorf("%+v", end)
	}
	// So are restarts, probers and what runs in containers.
	for _, tt := range []struct {
		role string
		plan func(*drill.Plan)
	}{
		{"helmproof-drill-restart", func(p *drill.Plan) { p.Experiment = drill.RollingRestart }},
		{"helmproof-drill-exec", func(p *drill.Plan) { p.Experiment = drill.ContainerKill }},
		{"helmproof-drill-prober", func(p *drill.Plan) { p.Prober.Image = "cluster.test/prober:1" }},
	} {
		s := session(account, ns, drill.PodKill, nil)
		tt.plan(&s.Plan)
		checks, err := drillrun.Preflight(t.Context(), s)
		if err != nil || !strings.HasPrefix(reasonOf(checks, "rights"), "rights are missing") {
			t.Errorf("without %s: %v, %v", tt.role, checks, err)
		}
		c.Kubectl(t, "create", "rolebinding", tt.role, "-n", ns, "--clusterrole="+tt.role, "--serviceaccount=helmproof:helmproof-drill")
		allowed(t, s)
	}
	// Each right that an eviction needs is asked for.
	for _, lost := range []string{
		"list nodes", "watch nodes", "get pods", "list pods", "watch pods", "list poddisruptionbudgets", "watch poddisruptionbudgets", "list endpointslices", "watch endpointslices",
		"get deployments", "watch deployments", "get statefulsets", "list statefulsets", "create leases", "get leases", "update leases", "create pods/eviction",
	} {
		verb, resource, _ := strings.Cut(lost, " ")
		p := connectAs(t, mine, func(r *rest.Config) {
			r.Wrap(func(next http.RoundTripper) http.RoundTripper { return denying{next, verb, resource} })
		})
		checks, err := drillrun.Preflight(t.Context(), session(p, ns, drill.Eviction, nil))
		if got := reasonOf(checks, "rights"); err != nil || !strings.Contains(got, lost) {
			t.Errorf("without %s: %q, %v", lost, got, err)
		}
	}
}

// allowed waits until the API server knows of a right that was given.
func allowed(t *testing.T, s drillrun.Session) {
	t.Helper()
	kube.Eventually(t, 20*time.Second, "the rights", func() bool {
		checks, err := drillrun.Preflight(t.Context(), s)
		return err == nil && reasonOf(checks, "rights") == "" && reasonOf(checks, "steady") == "" && reasonOf(checks, "alone") == "" && reasonOf(checks, "budget") == ""
	})
}

// denying answers questions for one right by no.
type denying struct {
	next           http.RoundTripper
	verb, resource string
}

func (d denying) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") {
		return d.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var review authorizationv1.SelfSubjectAccessReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, err
	}
	a := review.Spec.ResourceAttributes
	name := a.Resource
	if a.Subresource != "" {
		name += "/" + a.Subresource
	}
	if a.Verb != d.verb || name != d.resource {
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		return d.next.RoundTrip(r)
	}
	review.Status.Allowed = false
	body, err = json.Marshal(review)
	return &http.Response{StatusCode: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, err
}

// as connects as a ServiceAccount of the namespace helmproof.
func as(t *testing.T, mine *cluster.Cluster, account string) *cluster.Cluster {
	t.Helper()
	r, err := mine.Kube.CoreV1().ServiceAccounts("helmproof").CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out *cluster.Cluster
	kube.Eventually(t, 20*time.Second, "the account's rights", func() bool {
		cfg := rest.AnonymousClientConfig(mine.Config)
		cfg.BearerToken, cfg.QPS, cfg.Burst = r.Status.Token, 200, 400
		out, err = cluster.ConnectConfig(t.Context(), cfg)
		return err == nil && out.Info.NodesError == ""
	})
	return out
}

func connectAs(t *testing.T, mine *cluster.Cluster, change func(*rest.Config)) *cluster.Cluster {
	t.Helper()
	cfg := rest.CopyConfig(mine.Config)
	cfg.ContentType, cfg.AcceptContentTypes = "application/json", "application/json"
	change(cfg)
	c, err := cluster.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
