package controllers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

const (
	// Usage that is older than this is of no use to an autoscaler: metrics-server
	// measures four times a minute unless it is told otherwise.
	freshMetrics = 5 * time.Minute
	// The recommender writes checkpoints every minute, the oldest first.
	freshCheckpoint = 10 * time.Minute
	// An ExternalSecret may be refreshed this much after its interval: the operator
	// works through a queue.
	freshRefresh = 5 * time.Minute
	// Times of the cluster may be this much after the API server's: clocks differ.
	skew = time.Minute
)

// relies says which controls are worth nothing without what a rule is about.
var relies = map[string]string{ //nolint:gosec // names
	RuleExternalSecrets: "SCR-2 to SCR-4 rely on it",
	RuleMetrics:         "ASC-1, ASC-5 and RSL-4 rely on it",
	RuleCustomMetrics:   "ASC-1 and ASC-5 rely on it",
	RuleExternalMetrics: "ASC-1 and ASC-5 rely on it",
	RuleVPA:             "ASC-3 and ASC-6 rely on it",
	RuleSignatures:      "ADM-5 and IMG-4 rely on it",
	RuleNetwork:         "SEC-7 relies on it",
}

const (
	readAgain   = "Let helmproof's account read what the message names (templates/rbac), and collect again."
	collectLate = "Collect again."
)

type derivation struct {
	*collectors.Derivation
	seen     *Seen
	nodes    []string // that are Ready
	cluster  evidence.Target
	backends map[string]*Backend
	indexOf  map[string]int
}

// Findings derives the findings from what the cluster said.
func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	info, err := in.Cluster()
	if err != nil {
		return nil, err
	}
	d := derivation{
		Derivation: collectors.NewDerivation(in, Name, rules), seen: new(Seen), cluster: evidence.Target{Kind: "Cluster", Name: info.Fingerprint},
		backends: map[string]*Backend{}, indexOf: map[string]int{},
	}
	if err := d.Parse(file, d.seen); err != nil {
		return nil, err
	}
	if d.seen.At.IsZero() {
		return nil, fmt.Errorf("parse %s: it does not say when the cluster was asked", file)
	}
	for _, n := range info.Nodes {
		if n.Ready {
			d.nodes = append(d.nodes, n.Name)
		}
	}
	for i := range d.seen.Backends {
		b := &d.seen.Backends[i]
		d.backends[b.Service], d.indexOf[b.Service] = b, i
	}
	d.externalSecrets()
	d.metrics(info.NodesError)
	d.metricsAPI(RuleCustomMetrics, groupCustom, "pod or object", d.seen.Uses.Custom)
	d.metricsAPI(RuleExternalMetrics, groupExternal, "external", d.seen.Uses.External)
	d.vpa()
	d.signatures()
	d.network()
	d.apiServices()
	d.webhooks()
	return d.Out, nil
}

func (d derivation) add(rule string, t evidence.Target, outcome evidence.Outcome, message, fix, pointer string) {
	d.Add(rule, t, outcome, message, fix, d.Own(file, pointer))
}

// problem is something that is wrong with a controller, or that was not seen.
type problem struct {
	outcome          evidence.Outcome
	message, fix, at string
}

// controller is one that is judged: what is there of it, what needs it, what is wrong.
type controller struct {
	rule, name string
	install    string // what to do where it is absent
	present    bool   // something of it is there
	need       string // what needs it: "3 ExternalSecrets"; empty: nothing
	nothing    string // that nothing does: "the cluster has no ExternalSecret"
	unread     string // why it is not known what needs it
	needAt     string
	well       []string // what was seen of it
	wrong      []problem
}

func (c *controller) fail(message, fix, at string) {
	c.wrong = append(c.wrong, problem{evidence.OutcomeFail, message, fix, at})
}

func (c *controller) warn(message, fix, at string) {
	c.wrong = append(c.wrong, problem{evidence.OutcomeWarn, message, fix, at})
}

func (c *controller) unknown(message, fix, at string) {
	c.wrong = append(c.wrong, problem{evidence.OutcomeNotChecked, message, fix, at})
}

func (c *controller) failed() bool {
	return slices.ContainsFunc(c.wrong, func(p problem) bool { return p.outcome == evidence.OutcomeFail })
}

func (c *controller) needs(n int, what string, l Listing, at string) {
	c.needAt = at
	if n > 0 {
		c.need = plural(n, what)
	}
	if l.Error != "" {
		c.unread = l.Error
	}
}

// judge turns what is known of a controller into findings. What is wrong with a
// controller that nothing needs is said, and fails nothing.
func (d derivation) judge(c *controller) {
	t := evidence.Target{Kind: "Controller", Name: c.name}
	unseen := slices.ContainsFunc(c.wrong, func(p problem) bool { return p.outcome == evidence.OutcomeNotChecked })
	if d.seen.GroupsError != "" && c.rule != RuleNetwork {
		c.unread = cmp.Or(c.unread, d.seen.GroupsError)
	}
	switch {
	case c.need == "" && c.unread != "":
		d.add(c.rule, t, evidence.OutcomeNotChecked, "what needs it could not be read: "+c.unread, readAgain, c.needAt)
		return
	case c.need == "" && !c.present:
		d.add(c.rule, t, evidence.OutcomeNotApplicable, c.nothing, "", c.needAt)
		return
	case c.need == "" && len(c.wrong) > 0:
		d.add(c.rule, t, evidence.OutcomeNotApplicable, c.nothing+"; of the controller is said: "+c.wrong[0].message, "", c.needAt)
		return
	case !c.present && !unseen:
		d.add(c.rule, t, evidence.OutcomeFail, fmt.Sprintf("is not in the cluster, and %s it; %s", needing(c.need), relies[c.rule]), c.install, c.needAt)
		return
	}
	for _, p := range c.wrong {
		d.add(c.rule, t, p.outcome, p.message+"; "+relies[c.rule], p.fix, p.at)
	}
	if len(c.wrong) == 0 {
		d.add(c.rule, t, evidence.OutcomePass, strings.Join(c.well, "; "), "", "")
	}
}

func needing(what string) string {
	if strings.HasPrefix(what, "1 ") {
		return what + " needs"
	}
	return what + " need"
}

// definition holds a custom resource's definition to being established.
func (d derivation) definition(c *controller, name string) {
	i := slices.IndexFunc(d.seen.Definitions, func(x Definition) bool { return x.Name == name })
	if i < 0 {
		c.unknown("the definition "+name+" was not asked about", collectLate, "/definitions")
		return
	}
	at := fmt.Sprintf("/definitions/%d", i)
	switch x := &d.seen.Definitions[i]; {
	case x.Error != "":
		c.unknown("the definition "+name+" could not be read: "+x.Error, readAgain, at)
	case !x.Found:
		c.fail("the definition "+name+" is not there", c.install, at)
	case !x.Established:
		c.fail("the definition "+name+" is not established: the API server does not serve it", "Read the definition's conditions, and correct what they name.", at)
	default:
		c.well = append(c.well, name+" is served")
	}
}

func (d derivation) group(c *controller, group string) bool {
	_, ok := d.seen.Groups[group]
	if d.seen.GroupsError != "" {
		c.unknown("which APIs are served could not be read: "+d.seen.GroupsError, readAgain, "/groupsError")
	}
	return ok
}

// workload holds the workload of a component to running. found is false where there
// is none, which is for the caller to judge.
func (d derivation) workload(c *controller, name string) (found []*Workload) {
	if d.seen.WorkloadsError != "" {
		c.unknown("workloads could not be read: "+d.seen.WorkloadsError, readAgain, "/workloadsError")
		return nil
	}
	for i := range d.seen.Workloads {
		w := &d.seen.Workloads[i]
		if w.Component != name {
			continue
		}
		found = append(found, w)
		said := fmt.Sprintf("%s %s/%s has %d of %d pods Ready", w.Kind, w.Namespace, w.Name, w.Ready, w.Desired)
		at := fmt.Sprintf("/workloads/%d", i)
		switch {
		case w.Ready <= 0:
			c.fail(said+": nobody does its work", "Scale it up, or find out why its pods are not Ready.", at)
		case w.Ready < w.Desired:
			c.warn(said, "Find out why its pods are not Ready.", at)
		default:
			c.well = append(c.well, said)
		}
	}
	return found
}

// age is how long before the API server's time something was.
func (d derivation) age(c *controller, at time.Time) (time.Duration, bool) {
	if d.seen.ServerTime.IsZero() {
		c.unknown("the API server's time is not known, so that nothing can be said to be fresh: "+d.seen.ServerTimeError, collectLate, "/serverTime")
		return 0, false
	}
	return d.seen.ServerTime.Sub(at).Round(time.Second), true
}

func (d derivation) externalSecrets() {
	s := d.seen
	c := &controller{rule: RuleExternalSecrets, name: "external-secrets", nothing: "the cluster has no ExternalSecret", install: "Install the External Secrets operator."}
	c.needs(s.ExternalSecrets.Count, "ExternalSecret", s.ExternalSecrets, "/externalSecrets")
	c.present = d.group(c, groupSecrets)
	for _, kind := range []string{"externalsecrets.", "secretstores."} {
		d.definition(c, kind+groupSecrets)
	}
	if d.workload(c, operator) == nil && s.WorkloadsError == "" {
		c.fail("its definitions are there and it is not: no Deployment has the label app.kubernetes.io/name=external-secrets, or an image of that name", c.install, "/workloads")
	}
	switch {
	case s.Stores.Error != "":
		c.unknown("its stores could not be read: "+s.Stores.Error, readAgain, "/stores")
	case s.Stores.Count > 0 && s.StoresReady == 0:
		c.fail("none of "+plural(s.Stores.Count, "store")+" is Ready: nothing can be synced", "Read the stores' conditions; mend their provider's address, credentials or role.", "/storesReady")
	case s.StoresReady < s.Stores.Count:
		c.warn(fmt.Sprintf("%d of %s are Ready", s.StoresReady, plural(s.Stores.Count, "store")), "Read the stores' conditions; mend their provider's address, credentials or role.", "/storesReady")
	case s.Stores.Count > 0:
		c.well = append(c.well, fmt.Sprintf("%d of %s are Ready", s.StoresReady, plural(s.Stores.Count, "store")))
	}
	d.refreshes(c)
	d.judge(c)
}

// refreshes asks that one ExternalSecret at least was refreshed when it should have
// been: conditions stay as they are when the operator has stopped.
func (d derivation) refreshes(c *controller) {
	periodic, fresh := 0, 0
	for i, r := range d.seen.Refreshes {
		at := fmt.Sprintf("/refreshes/%d", i)
		interval := time.Hour // the operator's default
		if r.Interval != "" {
			var err error
			if interval, err = time.ParseDuration(r.Interval); err != nil {
				c.wrong = append(c.wrong, problem{evidence.OutcomeError, fmt.Sprintf("refreshInterval %q is no duration", r.Interval), collectLate, at})
				continue
			}
		}
		if interval <= 0 || r.Policy == "CreatedOnce" || r.Policy == "OnChange" {
			continue
		}
		periodic++
		if r.At == "" {
			continue
		}
		refreshed, err := time.Parse(time.RFC3339, r.At)
		if err != nil {
			c.wrong = append(c.wrong, problem{evidence.OutcomeError, fmt.Sprintf("refreshTime %q is no time", r.At), collectLate, at})
			continue
		}
		age, ok := d.age(c, refreshed)
		if !ok {
			return
		}
		if age >= -skew && age <= interval+freshRefresh {
			fresh++
		}
	}
	switch {
	case periodic == 0:
	case fresh == 0:
		c.fail("no ExternalSecret of "+fmt.Sprint(periodic)+" was refreshed within its interval: the operator does not work", "Read the operator's log and the ExternalSecrets' conditions.", "/refreshes")
	default:
		c.well = append(c.well, fmt.Sprintf("%d of %d ExternalSecrets were refreshed within their interval", fresh, periodic))
	}
}

// served holds an aggregated API to being served: its APIService is there, which
// discovery says with a delay, and Available. A service without endpoints is a
// finding of the APIService's own.
func (d derivation) served(c *controller, group string) {
	if d.seen.APIServicesError != "" {
		c.unknown("APIServices could not be read: "+d.seen.APIServicesError, readAgain, "/apiServicesError")
		return
	}
	c.present = false
	for i := range d.seen.APIServices {
		a := &d.seen.APIServices[i]
		if a.Group != group {
			continue
		}
		c.present = true
		if a.Available != "True" {
			c.fail(fmt.Sprintf("APIService %s is not Available: %s", a.Name, a.said()), "Mend the workload behind Service "+a.Service+".", fmt.Sprintf("/apiServices/%d", i))
			continue
		}
		c.well = append(c.well, "APIService "+a.Name+" is Available, by Service "+a.Service)
	}
}

func (a *APIService) said() string {
	if a.Available == "" {
		return "it has no condition Available yet"
	}
	return a.Reason + ": " + a.Message
}

func (d derivation) metricsAPI(rule, group, what string, uses int) {
	s := d.seen
	c := &controller{
		rule: rule, name: group, nothing: "no HorizontalPodAutoscaler goes by " + what + " metrics",
		install: "Install an adapter that serves " + group + " (prometheus-adapter, KEDA, your cloud's), or take the metric out of the autoscaler.",
	}
	c.needs(uses, "HorizontalPodAutoscaler", s.HPAs, "/uses")
	c.present = d.group(c, group)
	d.served(c, group)
	d.judge(c)
}

func (d derivation) metrics(nodesError string) {
	s := d.seen
	c := &controller{rule: RuleMetrics, name: groupMetrics, nothing: "no HorizontalPodAutoscaler goes by cpu or memory", install: "Install metrics-server."}
	c.needs(s.Uses.Resource, "HorizontalPodAutoscaler", s.HPAs, "/uses")
	c.present = d.group(c, groupMetrics)
	d.served(c, groupMetrics)
	switch {
	case !c.present || c.failed():
	case s.NodeMetrics.Error != "":
		c.unknown("it was asked for the usage of nodes, without an answer: "+s.NodeMetrics.Error, readAgain, "/nodeMetrics")
	case !s.NodeMetrics.Served:
		c.fail("it does not know the usage of nodes: the API server has no such kind", "Read metrics-server's log.", "/nodeMetrics")
	case len(s.Metrics) == 0:
		c.fail("it knows the usage of no node", "Read metrics-server's log: it cannot read the kubelets.", "/metrics")
	default:
		d.usage(c, nodesError)
	}
	d.judge(c)
}

// usage holds what is known of nodes to being fresh, and every node to being known.
func (d derivation) usage(c *controller, nodesError string) {
	fresh := map[string]bool{}
	var stale []string
	for _, m := range d.seen.Metrics {
		age, ok := d.age(c, m.At)
		if !ok {
			return
		}
		if fresh[m.Node] = age >= -skew && age <= freshMetrics; !fresh[m.Node] {
			stale = append(stale, m.Node)
		}
	}
	if len(stale) == len(d.seen.Metrics) {
		c.fail(fmt.Sprintf("what it knows of %s is older than %s", plural(len(stale), "node"), freshMetrics), "Read metrics-server's log: it cannot read the kubelets.", "/metrics")
		return
	}
	if nodesError != "" {
		c.unknown("the nodes could not be listed, so that it is not known which have no usage: "+nodesError, readAgain, "/metrics")
		return
	}
	missing := stale
	for _, n := range d.nodes {
		if _, ok := fresh[n]; !ok {
			missing = append(missing, n)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		c.warn(fmt.Sprintf("it has no fresh usage of %s: %s", plural(len(missing), "node"), some(missing)), "Let metrics-server read the kubelets of these nodes.", "/metrics")
		return
	}
	c.well = append(c.well, fmt.Sprintf("it has fresh usage of %s", plural(len(fresh), "node")))
}

func (d derivation) vpa() {
	s := d.seen
	c := &controller{rule: RuleVPA, name: "vertical-pod-autoscaler", nothing: "the cluster has no VerticalPodAutoscaler", install: "Install the recommender of the VerticalPodAutoscaler."}
	c.needs(s.VPAs.Count, "VerticalPodAutoscaler", s.VPAs, "/vpas")
	c.present = d.group(c, groupVPA)
	d.definition(c, "verticalpodautoscalers."+groupVPA)
	running := d.workload(c, recommender)
	recommends, old := 0, 0
	for _, v := range s.Recommended {
		if v.Recommends {
			recommends++
		}
		if age, ok := d.age(c, v.Created); !ok {
			d.judge(c)
			return
		} else if age > freshCheckpoint {
			old++
		}
	}
	var newest time.Time
	for _, at := range s.Written {
		if at.After(newest) {
			newest = at
		}
	}
	const readLog = "Read the recommender's log: it writes checkpoints every minute."
	switch age, ok := d.age(c, newest); {
	case !ok:
	case s.Checkpoints.Error != "":
		c.unknown("checkpoints could not be read: "+s.Checkpoints.Error, readAgain, "/checkpoints")
	case len(s.Written) > 0 && age >= -skew && age <= freshCheckpoint:
		c.well = append(c.well, fmt.Sprintf("the newest checkpoint is %s old", age))
	case len(s.Written) > 0:
		c.fail(fmt.Sprintf("the newest checkpoint of its recommender is of %s, %s before the API server's time", newest.Format(time.RFC3339), age), readLog, "/written")
	case s.WorkloadsError == "" && running == nil:
		// A provider may run it where it is not seen: then its checkpoints speak for it.
		c.fail("its recommender is nowhere to be seen: no Deployment has the label app=vpa-recommender or an image of that name, and there is no checkpoint", c.install, "/workloads")
	}
	switch {
	case recommends == 0 && old > 0:
		c.fail("none of "+plural(s.VPAs.Count, "VerticalPodAutoscaler")+" has a recommendation", "Read the recommender's log, and see that the metrics API answers.", "/recommended")
	case recommends == 0 && s.VPAs.Count > 0:
		c.warn("no VerticalPodAutoscaler has a recommendation yet; all are younger than "+freshCheckpoint.String(), "Collect again in some minutes.", "/recommended")
	case s.VPAs.Count > 0:
		c.well = append(c.well, fmt.Sprintf("%d of %s have a recommendation", recommends, plural(s.VPAs.Count, "VerticalPodAutoscaler")))
	}
	d.judge(c)
}

func (d derivation) signatures() {
	for _, x := range []struct {
		component, group, definition, what, install, at string
		policies                                        Listing
	}{
		{sigstore, groupSigstore, "clusterimagepolicies." + groupSigstore, "ClusterImagePolicy", "Install sigstore's policy-controller.", "/sigstorePolicies", d.seen.SigstorePolicies},
		{kyverno, groupKyverno, "clusterpolicies." + groupKyverno, "image-verifying Kyverno policy", "Install Kyverno.", "/kyvernoPolicies", d.seen.KyvernoPolicies},
	} {
		c := &controller{rule: RuleSignatures, name: x.component, nothing: "the cluster has no " + x.what, install: x.install}
		c.needs(x.policies.Count, x.what, x.policies, x.at)
		c.present = d.group(c, x.group)
		d.definition(c, x.definition)
		running := d.workload(c, x.component)
		switch {
		case d.seen.WorkloadsError != "":
		case running == nil:
			c.fail("its definitions are there and it is not: no Deployment of "+x.component+" is known by its labels or image", c.install, "/workloads")
		default:
			d.judges(c, running)
		}
		d.judge(c)
	}
}

// judges asks that a webhook which is answered by one of the workloads sees new
// pods. Whether its service has endpoints is a finding of the webhook's own.
func (d derivation) judges(c *controller, by []*Workload) {
	if d.seen.WebhooksError != "" {
		c.unknown("webhooks could not be read: "+d.seen.WebhooksError, readAgain, "/webhooksError")
		return
	}
	asked, open, unread := "", "", ""
	for i := range d.seen.Webhooks {
		w := &d.seen.Webhooks[i]
		b := d.backends[w.Service]
		if !w.Pods || b == nil {
			continue
		}
		if b.Error != "" {
			unread = w.Service
			continue
		}
		if b.Ready == 0 || !slices.ContainsFunc(by, func(x *Workload) bool { return x.behind(b) }) {
			continue
		}
		if w.FailurePolicy == "Fail" {
			asked = w.Name
		} else {
			open = w.Name
		}
	}
	switch {
	case asked != "":
		c.well = append(c.well, "its webhook "+asked+" is asked about new pods, and lets none through unanswered")
	case unread != "":
		c.unknown("Service "+unread+" could not be read: "+d.backends[unread].Error, readAgain, d.backendAt(unread))
	case open != "":
		c.warn("its webhook "+open+" is asked about new pods, but where it does not answer they are let through (failurePolicy Ignore)", "Set the webhook's failurePolicy to Fail.", "/webhooks")
	default:
		c.fail("no webhook that it answers is asked about new pods: no signature is verified", "Let the controller register its webhooks; read its log.", "/webhooks")
	}
}

// behind says that the service's selector selects the workload's pods.
func (w *Workload) behind(b *Backend) bool {
	namespace, _ := split(b.Service)
	if namespace != w.Namespace || len(b.Selector) == 0 {
		return false
	}
	for k, v := range b.Selector {
		if have, ok := w.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// network says what is known of who enforces NetworkPolicies. Network plugins have
// no API that tells, so that an unknown one is neither good nor bad.
func (d derivation) network() {
	s := d.seen
	c := &controller{rule: RuleNetwork, name: "network-policy", nothing: "the cluster has no NetworkPolicy"}
	c.needs(s.NetworkPolicies.Count, "NetworkPolicy", s.NetworkPolicies, "/networkPolicies")
	known := false
	for _, name := range enforcers() {
		known = d.workload(c, name) != nil || known
		if s.WorkloadsError != "" {
			break
		}
	}
	c.present = known
	switch {
	case known || s.WorkloadsError != "" || c.need == "":
	case slices.ContainsFunc(s.Workloads, func(w Workload) bool { return w.Component == flannel }):
		c.present = true
		c.warn("the network plugin is flannel, which enforces no NetworkPolicy, and no other that does is known", "Run a network plugin that enforces NetworkPolicies.", "/workloads")
	default:
		d.add(RuleNetwork, evidence.Target{Kind: "Controller", Name: c.name}, evidence.OutcomeNotApplicable,
			"the network plugin is none that is known ("+strings.Join(enforcers(), ", ")+"): whether NetworkPolicies are enforced is not said", "", "/workloads")
		return
	}
	d.judge(c)
}

// apiServices: one that is not Available breaks discovery for everybody, and with
// it the deletion of namespaces.
func (d derivation) apiServices() {
	s := d.seen
	if s.APIServicesError != "" {
		d.add(RuleAPIService, d.cluster, evidence.OutcomeNotChecked, "APIServices could not be read: "+s.APIServicesError, readAgain, "/apiServicesError")
	} else if len(s.APIServices) == 0 {
		d.add(RuleAPIService, d.cluster, evidence.OutcomeNotApplicable, "no API is served by a Service of the cluster", "", "/apiServices")
	}
	for i := range s.APIServices {
		a := &s.APIServices[i]
		t := evidence.Target{APIVersion: "apiregistration.k8s.io/v1", Kind: "APIService", Name: a.Name}
		fix := "Mend the workload behind Service " + a.Service + ", or delete the APIService if nobody needs it."
		outcome, said := d.answered(a.Service)
		switch {
		case a.Available != "True":
			d.add(RuleAPIService, t, evidence.OutcomeFail, "is not Available: "+a.said()+" ("+said+")", fix, fmt.Sprintf("/apiServices/%d", i))
		case outcome != evidence.OutcomePass:
			d.add(RuleAPIService, t, outcome, "is said to be Available, but "+said, fix, d.backendAt(a.Service))
		default:
			d.add(RuleAPIService, t, evidence.OutcomePass, "is Available; "+said, "", fmt.Sprintf("/apiServices/%d", i))
		}
	}
}

func (d derivation) backendAt(service string) string {
	if i, ok := d.indexOf[service]; ok {
		return fmt.Sprintf("/backends/%d", i)
	}
	return "/backends"
}

// answered says whether a service has endpoints.
func (d derivation) answered(service string) (evidence.Outcome, string) {
	b := d.backends[service]
	switch {
	case b == nil:
		return evidence.OutcomeNotChecked, "Service " + service + " was not asked about"
	case b.Error != "":
		return evidence.OutcomeNotChecked, "Service " + service + " could not be read: " + b.Error
	case !b.Found:
		return evidence.OutcomeFail, "Service " + service + " is not in the cluster"
	case b.External != "":
		return evidence.OutcomeWarn, "Service " + service + " leads to " + b.External + ", outside of the cluster: who answers there is not seen"
	case b.Ready == 0:
		return evidence.OutcomeFail, fmt.Sprintf("Service %s has no ready endpoint (%d not ready)", service, b.NotReady)
	}
	return evidence.OutcomePass, "Service " + service + " has " + plural(b.Ready, "ready endpoint")
}

// webhooks holds every webhook to somebody answering it. Those of a configuration
// that ask the same are one finding.
func (d derivation) webhooks() {
	s := d.seen
	if s.WebhooksError != "" {
		d.add(RuleWebhook, d.cluster, evidence.OutcomeNotChecked, "webhooks could not be read: "+s.WebhooksError, readAgain, "/webhooksError")
	} else if len(s.Webhooks) == 0 {
		d.add(RuleWebhook, d.cluster, evidence.OutcomeNotApplicable, "the cluster has no admission webhook", "", "/webhooks")
	}
	type asked struct{ kind, configuration, service, host string }
	at, policies := map[asked]int{}, map[asked]map[string]int{}
	var order []asked
	for i := range s.Webhooks {
		w := &s.Webhooks[i]
		k := asked{w.Kind, w.Configuration, w.Service, w.Host}
		if policies[k] == nil {
			order, at[k], policies[k] = append(order, k), i, map[string]int{}
		}
		policies[k][w.FailurePolicy]++
	}
	for _, k := range order {
		t := evidence.Target{APIVersion: "admissionregistration.k8s.io/v1", Kind: k.kind, Name: k.configuration}
		pointer := fmt.Sprintf("/webhooks/%d", at[k])
		var said []string
		for _, p := range slices.Sorted(maps.Keys(policies[k])) {
			said = append(said, plural(policies[k][p], "webhook")+" with failurePolicy "+p)
		}
		about := strings.Join(said, ", ")
		if k.service == "" {
			d.add(RuleWebhook, t, evidence.OutcomeWarn, about+": asked at "+k.host+", outside of the cluster: who answers there is not seen", "See that it answers; prefer a Service of the cluster.", pointer)
			continue
		}
		outcome, answered := d.answered(k.service)
		if outcome == evidence.OutcomeFail {
			switch {
			case policies[k]["Fail"] == 0:
				answered += ": what they match is let through unjudged"
			case policies[k]["Ignore"] == 0:
				answered += ": what they match is refused, whatever it is"
			default:
				answered += ": what they match is refused, or let through unjudged"
			}
		}
		d.add(RuleWebhook, t, outcome, about+"; "+answered, "Mend the workload behind Service "+k.service+", or delete the configuration if nobody needs it.", pointer)
	}
}

// some names at most five.
func some(list []string) string {
	if n := len(list) - 5; n > 0 {
		return strings.Join(list[:5], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(list, ", ")
}

func plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(what, "y"))
	}
	return fmt.Sprintf("%d %ss", n, what)
}
