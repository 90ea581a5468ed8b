package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chaos"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/load"
	"github.com/companyos/helmproof/collectors/rollback"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/probe"
)

// driller is a collector that runs drills, and the preflight that it asks first.
type driller struct {
	collectors.Lasting
	preflight func(context.Context, collectors.Input) ([]drill.Check, error)
}

// drillOf is the collector that runs the plan's experiment. progress may be nil.
func drillOf(plan drill.Plan, progress func(string)) driller {
	switch plan.Experiment {
	case drill.Rollback:
		o := rollback.Options{Plan: &plan, Progress: progress}
		return driller{rollback.New(o), func(ctx context.Context, in collectors.Input) ([]drill.Check, error) {
			return rollback.Preflight(ctx, o, in)
		}}
	case drill.Load:
		o := load.Options{Plan: &plan, Progress: progress}
		return driller{load.New(o), func(ctx context.Context, in collectors.Input) ([]drill.Check, error) {
			return load.Preflight(ctx, o, in)
		}}
	}
	o := chaos.Options{Plan: &plan, Progress: progress}
	return driller{chaos.New(o), func(ctx context.Context, in collectors.Input) ([]drill.Check, error) {
		return chaos.Preflight(ctx, o, in)
	}}
}

// drillProfile is the built-in profile of drills.
const drillProfile = "drill"

// ForDrill returns rules that ask for nothing but what an experiment shows. Their
// profile is named after both, so that the newest evidence of each experiment is
// found by name.
func (r Rules) ForDrill(e drill.Experiment) (Rules, error) {
	if r.Profile.Scope != evidence.ScopeDrill {
		return r, inputErr("profile %s is of scope %s: drills are judged by profiles of scope drill, such as %s", r.Profile.Name, r.Profile.Scope, drillProfile)
	}
	rule, whole := string(e)+"/", true // all rules of a collector that does this experiment alone
	if c := drillOf(drill.Plan{Experiment: e}, nil).Name(); c != string(e) {
		rule, whole = c+"/"+string(e), false
	}
	var shown []evidence.ControlID
	for _, c := range r.Catalog.Controls {
		if slices.ContainsFunc(c.Rules, func(x string) bool {
			prefix, open := strings.CutSuffix(x, "*")
			return x == rule || open && strings.HasPrefix(rule, prefix) || whole && strings.HasPrefix(x, rule)
		}) {
			shown = append(shown, c.ID)
		}
	}
	out, err := r.changed(func(p *evidence.Profile) {
		p.Name += "-" + string(e)
		p.Controls = slices.DeleteFunc(p.Controls, func(pc evidence.ProfileControl) bool { return !slices.Contains(shown, pc.ID) })
	})
	if err == nil && len(out.Profile.Controls) == 0 {
		return r, inputErr("profile %s asks for nothing that the experiment %s shows", r.Profile.Name, e)
	}
	return out, err
}

// Drill runs a drill on a live release, judges what it showed and, where the
// pipeline has a signer and a repository, seals and stores it. The rules have to
// be those of ForDrill.
func (p *Pipeline) Drill(ctx context.Context, rel *chart.Release, plan drill.Plan, progress func(string)) (*Judged, error) {
	return p.DrillBy(ctx, rel, drillOf(plan, progress).Lasting)
}

// DrillBy is Drill by a collector that the caller made.
func (p *Pipeline) DrillBy(ctx context.Context, rel *chart.Release, by collectors.Lasting) (*Judged, error) {
	found, redactor, err := scanSecrets(ctx, p.Timeout, rel)
	if err != nil {
		return nil, err
	}
	if err := p.Rules.free(redactor); err != nil {
		return nil, err
	}
	art := collectors.NewArtifacts(redactor)
	info := rel.Info
	info.Scope, info.Cluster = evidence.ScopeDrill, p.Cluster.Info.Fingerprint
	if err := p.sealRelease(rel, art, &info); err != nil {
		return nil, err
	}
	return p.judgeAndSeal(ctx, subject{info: info, release: rel, art: art, found: found, redactor: redactor, drill: by})
}

// drillFigures are those of a drill's record, or why there are none.
func drillFigures(rel *evidence.Release, in evidence.ArtifactReader, runs []evidence.CollectorRun) (*drill.Figures, string) {
	if rel.Scope != evidence.ScopeDrill {
		return nil, ""
	}
	if len(runs) == 0 {
		return nil, "no collector ran"
	}
	r, err := drill.ReadRecord(in, runs[0].Collector)
	if err != nil {
		return nil, fmt.Sprintf("the record of the drill cannot be read: %v", err)
	}
	f := r.Figures()
	return &f, ""
}

// Preflight asks whether a drill may be run, and touches nothing.
func (p *Pipeline) Preflight(ctx context.Context, rel *chart.Release, plan drill.Plan) ([]drill.Check, error) {
	return drillOf(plan, nil).preflight(ctx, collectors.Input{Release: rel, Cluster: p.Cluster, Now: p.Now})
}

// RestoreDrill puts back what a drill that was cut off had changed, and says what
// that was. While that drill lives it refuses, unless it is forced.
func RestoreDrill(ctx context.Context, c *cluster.Cluster, now func() time.Time, force bool) ([]string, error) {
	return chaos.Restore(ctx, c, now, force)
}

// CompletePlan fills in what a plan leaves out: its defaults, and a probe of each
// Service of the release where none is given.
func (p *Pipeline) CompletePlan(ctx context.Context, rel *chart.Release, plan drill.Plan, over func(*drill.Probe)) (drill.Plan, error) {
	if len(plan.Probes) == 0 {
		probes, err := p.serviceProbes(ctx, rel)
		if err != nil {
			return plan, err
		}
		plan.Probes = probes
	}
	for i := range plan.Probes {
		over(&plan.Probes[i])
	}
	plan.Complete()
	if err := plan.Validate(); err != nil {
		return plan, &InputError{err}
	}
	return plan, nil
}

// maxServiceProbes bounds the probes that are made from a release's Services.
const maxServiceProbes = 4

// serviceProbes makes a probe of each Service in front of the release's workloads:
// as its pods' readiness probe does, where that is of the Service's port and by HTTP (with its
// path) or gRPC (of its service); else by TCP. Services are probed at their cluster address, since
// names may not resolve where helmproof runs.
func (p *Pipeline) serviceProbes(ctx context.Context, rel *chart.Release) ([]drill.Probe, error) {
	set, err := rel.Objects()
	if err != nil {
		return nil, err
	}
	templates, err := podTemplates(set)
	if err != nil {
		return nil, err
	}
	var out []drill.Probe
	for i := range set.Objects {
		o := &set.Objects[i]
		if o.GetKind() != "Service" || o.GetAPIVersion() != "v1" {
			continue
		}
		namespace := cmp.Or(o.GetNamespace(), rel.Info.Namespace)
		svc, err := p.Cluster.Kube.CoreV1().Services(namespace).Get(ctx, o.GetName(), metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("look at Service %s/%s, which the release should have: %w", namespace, o.GetName(), err)
		}
		if svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone || len(svc.Spec.Selector) == 0 {
			continue
		}
		if b, ok := serviceProbe(svc, templates); ok {
			b.Name = drill.ProbeName(o.GetName(), out)
			out = append(out, b)
		}
	}
	switch {
	case len(out) == 0:
		return nil, &InputError{errors.New("the release has no Service with a cluster address and a TCP port in front of its pods: say what to probe with --probe http://host:port/path")}
	case len(out) > maxServiceProbes:
		return nil, inputErr("the release has %d Services: say which to probe with --probe", len(out))
	}
	return out, nil
}

// podTemplates are the pod templates of a release's Deployments and StatefulSets.
func podTemplates(set *manifest.ObjectSet) ([]*corev1.PodTemplateSpec, error) {
	var out []*corev1.PodTemplateSpec
	for i := range set.Objects {
		o := &set.Objects[i]
		if k := o.GetKind(); k != "Deployment" && k != "StatefulSet" {
			continue
		}
		t, ok, err := o.PodTemplate()
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, t)
		}
	}
	return out, nil
}

func serviceProbe(svc *corev1.Service, templates []*corev1.PodTemplateSpec) (drill.Probe, bool) {
	port := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Protocol == corev1.ProtocolTCP || p.Protocol == "" })
	if port < 0 {
		return drill.Probe{}, false
	}
	sp := svc.Spec.Ports[port]
	host := net.JoinHostPort(svc.Spec.ClusterIP, strconv.Itoa(int(sp.Port)))
	for _, t := range templates {
		if !labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(t.Labels)) {
			continue
		}
		for _, c := range t.Spec.Containers {
			if c.ReadinessProbe == nil {
				continue
			}
			to := portNumber(c, cmp.Or(sp.TargetPort, intstr.FromInt32(sp.Port)))
			if ask := c.ReadinessProbe.GRPC; ask != nil && ask.Port != 0 && ask.Port == to {
				u := url.URL{Scheme: "grpc", Host: host}
				if s := ask.Service; s != nil && *s != "" {
					u.Path = "/" + *s
				}
				return drill.Probe{Kind: probe.GRPC, Address: u.String()}, true
			}
			get := c.ReadinessProbe.HTTPGet
			if get != nil && portNumber(c, get.Port) != 0 && portNumber(c, get.Port) == to {
				scheme := "http"
				if get.Scheme == corev1.URISchemeHTTPS {
					scheme = "https"
				}
				path, query, _ := strings.Cut(get.Path, "?")
				return drill.Probe{Kind: probe.HTTP, Address: (&url.URL{Scheme: scheme, Host: host, Path: "/" + strings.TrimPrefix(path, "/"), RawQuery: query}).String()}, true
			}
		}
		return drill.Probe{Kind: probe.TCP, Address: "tcp://" + host}, true
	}
	return drill.Probe{}, false // in front of something else
}

// portNumber is the number of a container's port; 0 where it has none of that name.
func portNumber(c corev1.Container, port intstr.IntOrString) int32 {
	if port.Type == intstr.Int {
		return port.IntVal
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return p.ContainerPort
		}
	}
	return 0
}
