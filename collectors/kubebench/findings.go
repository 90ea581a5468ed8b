package kubebench

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/evidence"
)

const (
	rulePrefix    = "kubebench/"
	ruleCovered   = "kubebench/node-covered"
	ruleAgree     = "kubebench/nodes-agree"
	ruleResult    = "kubebench/result"        // a node's result as a whole
	ruleOfPlane   = "kubebench/control-plane" // the control plane's checks as a whole
	ruleOfCluster = "kubebench/policies"      // the checks of the cluster as a whole
	coverRemedy   = "Let the benchmark's Job run on the node (readiness, image, free resources, admission of privileged pods), and collect again."
)

// rules holds each rule of the collector's own, and that of the benchmark's checks.
var rules = collectors.Rules{
	ruleCovered: evidence.SeverityHigh, ruleAgree: evidence.SeverityMedium,
	ruleResult: evidence.SeverityHigh, ruleOfPlane: evidence.SeverityHigh, ruleOfCluster: evidence.SeverityMedium,
	rulePrefix + "*": evidence.SeverityHigh, // medium where the benchmark does not score the check
}

// Findings derives the findings from the sealed overview and the nodes' files.
func (c *collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	d := &derivation{Derivation: collectors.NewDerivation(in, Name, rules), redacted: map[string]bool{}, statuses: map[string]map[string]map[string][]string{}, roles: map[string]*role{}}
	if err := d.load(); err != nil {
		return nil, err
	}
	for i := range d.overview.Nodes {
		d.node(i)
	}
	d.known()
	d.plane()
	d.agree()
	return d.Out, nil
}

// role is the nodes of one role that are in the cluster.
type role struct{ nodes, results int }

type derivation struct {
	*collectors.Derivation
	overview Overview
	redacted map[string]bool // files

	roles    map[string]*role
	statuses map[string]map[string]map[string][]string // role → check → status → nodes
}

func (d *derivation) load() error {
	var red Redactions
	if err := errors.Join(d.Parse(overviewFile, &d.overview), d.Parse(redactionsFile, &red)); err != nil {
		return err
	}
	for _, c := range red.Checks {
		d.redacted[c.File] = true
	}
	if len(d.overview.Nodes) == 0 {
		return errors.New("no node was looked at")
	}
	return nil
}

// add appends a finding that was put together elsewhere.
func (d *derivation) add(f evidence.Finding) { d.Out = append(d.Out, f) }

func nodeTarget(name string) evidence.Target {
	return evidence.Target{APIVersion: "v1", Kind: "Node", Name: name}
}

func (d *derivation) ofNode(i int) evidence.Pointer {
	return d.Own(overviewFile, fmt.Sprintf("/nodes/%d", i))
}

// node derives the findings about one node.
func (d *derivation) node(i int) {
	n := d.overview.Nodes[i]
	r := d.roles[n.Role]
	if r == nil {
		r = &role{}
		d.roles[n.Role] = r
	}
	if !n.Removed {
		r.nodes++
	}
	cover := evidence.Finding{
		Rule: ruleCovered, Target: nodeTarget(n.Node), Severity: rules[ruleCovered],
		Evidence: []evidence.Pointer{d.ofNode(i)},
	}
	res, faults, err := d.result(n)
	whole := err == nil && len(faults) == 0
	switch {
	case n.Removed:
		cover.Outcome, cover.Message = evidence.OutcomeNotApplicable, "left the cluster during the run"
	case whole:
		cover.Outcome, cover.Message = evidence.OutcomePass, fmt.Sprintf("%s node: %s, targets %s", n.Role, n.Benchmark, strings.Join(n.Targets, ", "))
		if n.Added {
			cover.Message += "; came during the run"
		}
	case n.Outcome == OutcomeUnsupported || n.Outcome == OutcomeNotReached:
		cover.Outcome, cover.Message = evidence.OutcomeNotChecked, jobrun.Join("no result: "+n.Outcome, n.Reason)
	case n.Outcome != OutcomeResult:
		cover.Outcome, cover.Message = evidence.OutcomeFail, jobrun.Join("no result: "+n.Outcome, n.Reason)
	case err != nil:
		cover.Outcome, cover.Message = evidence.OutcomeError, "the result cannot be relied on: "+jobrun.OneLine(err.Error(), 300)
	default:
		cover.Outcome, cover.Message = evidence.OutcomeError, "the result cannot be relied on: "+faults[0]
	}
	if cover.Outcome != evidence.OutcomePass && cover.Outcome != evidence.OutcomeNotApplicable {
		cover.Remediation = coverRemedy
		if !n.Ready {
			cover.Message += "; the node was not ready"
		}
	}
	d.add(cover)
	if !whole {
		if !n.Removed {
			d.unreliable(n, i, err, faults)
		}
		return
	}
	if !n.Removed {
		r.results++
	}
	d.checks(n, res)
}

// unreliable says for CIS-1 that a node's checks were not made, or cannot count.
func (d *derivation) unreliable(n NodeRun, i int, err error, faults []string) {
	f := evidence.Finding{
		Rule: ruleResult, Target: nodeTarget(n.Node), Severity: rules[ruleResult],
		Outcome: evidence.OutcomeNotChecked, Message: "no check of the benchmark could be made: " + jobrun.Join(n.Outcome, n.Reason),
		Remediation: coverRemedy, Evidence: []evidence.Pointer{d.ofNode(i)},
	}
	if n.Outcome != OutcomeResult {
		d.add(f)
		return
	}
	f.Outcome = evidence.OutcomeError
	f.Remediation = "See that the image is kube-bench's own and that the node is sound, and collect again."
	if _, err := d.Read(collectors.Artifact(Name, n.File)); err == nil {
		f.Evidence = append(f.Evidence, d.Own(n.File, ""))
	}
	if err != nil {
		faults = []string{jobrun.OneLine(err.Error(), 300)}
	}
	for _, text := range faults {
		f.Message = "the result cannot be relied on: " + text
		d.add(f)
	}
}

// result reads a node's file and what is wrong with it.
func (d *derivation) result(n NodeRun) (*result, []string, error) {
	if n.Outcome != OutcomeResult {
		return nil, nil, errors.New(jobrun.Join(n.Outcome, n.Reason))
	}
	raw, err := d.Read(collectors.Artifact(Name, n.File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("its file %q is not there", n.File)
	} else if err != nil {
		return nil, nil, err
	}
	if !d.redacted[n.File] && evidence.DigestOf(raw) != n.SHA256 {
		return nil, nil, fmt.Errorf("%s has digest %s, the node printed %s, and no redaction is declared", n.File, evidence.DigestOf(raw), n.SHA256)
	}
	res, err := parse(raw)
	if err != nil {
		return nil, nil, err
	}
	faults := res.faults(n.Benchmark)
	for _, t := range []string{"master", "node"} { // the parts that have checks in every benchmark
		if slices.Contains(n.Targets, t) && !res.has(t) {
			faults = append(faults, fmt.Sprintf("target %s was asked for, and no check of it is there", t))
		}
	}
	return res, faults, nil
}

func (r *result) has(nodeType string) bool {
	for _, c := range r.controls {
		if c.NodeType == nodeType && slices.ContainsFunc(c.Tests, func(g group) bool { return len(g.Results) > 0 }) {
			return true
		}
	}
	return false
}

// checks turns each check of a whole result into a finding.
func (d *derivation) checks(n NodeRun, res *result) {
	for ci, c := range res.controls {
		asked := slices.Contains(n.Targets, c.NodeType)
		for gi, g := range c.Tests {
			for ki, k := range g.Results {
				f := checkFinding(k)
				f.Target = nodeTarget(n.Node)
				if !asked {
					f.Outcome = evidence.OutcomeNotChecked
					f.Message = fmt.Sprintf("section %s was not asked for on a %s node, which cannot decide it: %s", jobrun.OneLine(c.NodeType, 40), n.Role, f.Message)
				}
				f.Evidence = []evidence.Pointer{d.Own(n.File, fmt.Sprintf("%s/%d/tests/%d/results/%d", res.prefix, ci, gi, ki))}
				d.add(f)
				if asked && !n.Removed {
					d.count(n, c.NodeType, k)
				}
			}
		}
	}
}

// count counts a check's status for its role. Old benchmarks number the checks
// of each target anew, so that the target belongs to a check's name.
func (d *derivation) count(n NodeRun, target string, k check) {
	id := k.ID + " " + target
	byCheck := d.statuses[n.Role]
	if byCheck == nil {
		byCheck = map[string]map[string][]string{}
		d.statuses[n.Role] = byCheck
	}
	if byCheck[id] == nil {
		byCheck[id] = map[string][]string{}
	}
	byCheck[id][k.Status] = append(byCheck[id][k.Status], n.Node)
}

// checkFinding judges one check. kube-bench says WARN of what must be judged by
// hand, and of what it could not decide: neither is a pass.
func checkFinding(k check) evidence.Finding {
	f := evidence.Finding{
		Rule: rulePrefix + k.ID, Severity: rules[rulePrefix+"*"],
		Message: jobrun.OneLine(k.Desc, 300), Remediation: jobrun.OneLine(k.Remediation, 1200),
	}
	if !k.Scored {
		f.Severity = evidence.SeverityMedium
	}
	detail := ""
	if k.Reason != "" {
		detail = "; " + jobrun.OneLine(k.Reason, 200)
	} else if k.Expected != "" {
		detail = "; expected: " + jobrun.OneLine(k.Expected, 200)
	}
	switch k.Status {
	case "PASS":
		f.Outcome, f.Remediation = evidence.OutcomePass, ""
	case "FAIL":
		f.Outcome = evidence.OutcomeFail
		f.Message += detail
	case "WARN":
		f.Outcome = evidence.OutcomeNotChecked
		f.Message = "to be judged by hand: " + f.Message + detail
	case "INFO":
		f.Outcome, f.Remediation = evidence.OutcomeNotApplicable, ""
		f.Message = "skipped by the benchmark: " + f.Message
	default: // faults names it; such a result is never whole
		f.Outcome = evidence.OutcomeError
		f.Message = fmt.Sprintf("status %q is none of kube-bench's: %s", jobrun.OneLine(k.Status, 40), f.Message)
	}
	return f
}

// known holds the run to the list of nodes that was sealed when the cluster was
// identified, and to the one at the run's end.
func (d *derivation) known() {
	if d.overview.NodesError != "" {
		d.Add(ruleCovered, evidence.Target{Kind: "Cluster"}, evidence.OutcomeNotChecked,
			"whether nodes came during the run is not known: "+d.overview.NodesError, "Collect again.", d.Own(overviewFile, "/nodesError"))
	}
	info, err := d.Cluster()
	if err != nil {
		return // sealed by who looked at the cluster; without it there is nothing to compare with
	}
	seen := map[string]bool{}
	for _, n := range d.overview.Nodes {
		seen[n.Node] = true
	}
	for i, n := range info.Nodes {
		if seen[n.Name] {
			continue
		}
		d.Add(ruleCovered, nodeTarget(n.Name), evidence.OutcomeNotChecked, "was in the cluster before the run, and was not looked at", "Collect again.",
			d.Pointer(collectors.ClusterFile, fmt.Sprintf("/nodes/%d", i), ""))
	}
}

// plane says what became of the parts of the benchmark that no node decided.
func (d *derivation) plane() {
	f := evidence.Finding{
		Rule: ruleOfPlane, Severity: rules[ruleOfPlane],
		Target:   evidence.Target{Kind: "Cluster"},
		Evidence: []evidence.Pointer{d.Own(overviewFile, "/benchmark")},
	}
	platform, benchmark := d.overview.Platform, d.overview.Benchmark
	ofPlane := slices.ContainsFunc(d.overview.Nodes, func(n NodeRun) bool { return slices.Contains(n.Targets, "master") })
	switch {
	case managed(platform) && strings.HasPrefix(benchmark, platform+"-"):
		f.Outcome = evidence.OutcomeNotApplicable
		f.Message = fmt.Sprintf("the control plane is run by the provider (%s): %s has no check of it that could be made here", platform, benchmark)
		d.add(f)
	case managed(platform):
		f.Outcome = evidence.OutcomeNotChecked
		f.Message = fmt.Sprintf("the control plane is run by the provider (%s): its checks in %s cannot be made", platform, benchmark)
		f.Remediation = "Choose the provider's own benchmark, or waive this with the provider's report on its control plane."
		d.add(f)
	case !ofPlane:
		f.Outcome = evidence.OutcomeNotChecked
		f.Message = "no node has the role control-plane: the checks of the control plane were not made"
		f.Remediation = "Label the control plane's nodes node-role.kubernetes.io/control-plane, or waive this with a report on the control plane."
		d.add(f)
	}
	f.Rule, f.Outcome, f.Severity = ruleOfCluster, evidence.OutcomeNotChecked, rules[ruleOfCluster]
	f.Message = "the benchmark's parts about the cluster as a whole (policies, managed services) are judged by hand: they were not run"
	f.Remediation = "Judge them by hand and waive this; groups ADM and SEC check most of what the policies ask for."
	d.add(f)
}

// agree compares the nodes of each role, check by check.
func (d *derivation) agree() {
	for _, name := range slices.Sorted(maps.Keys(d.roles)) {
		r := d.roles[name]
		f := evidence.Finding{
			Rule: ruleAgree, Severity: rules[ruleAgree],
			Target:   evidence.Target{Kind: "NodeRole", Name: name},
			Evidence: []evidence.Pointer{d.Own(overviewFile, "/nodes")},
		}
		checks := d.statuses[name]
		differ := 0
		for _, id := range slices.Sorted(maps.Keys(checks)) {
			n := 0
			var parts []string
			for _, status := range slices.Sorted(maps.Keys(checks[id])) {
				nodes := checks[id][status]
				n += len(nodes)
				parts = append(parts, status+" on "+names(nodes))
			}
			if n < r.results {
				parts = append(parts, fmt.Sprintf("missing on %d", r.results-n))
			}
			if len(parts) < 2 {
				continue
			}
			differ++
			f.Outcome, f.Message = evidence.OutcomeFail, fmt.Sprintf("check %s: %s", strings.Fields(id)[0], strings.Join(parts, ", "))
			f.Remediation = "Bring the nodes that differ to the configuration of the others."
			d.add(f)
		}
		f.Remediation = ""
		switch {
		case r.nodes == 0:
			f.Outcome, f.Message = evidence.OutcomeNotApplicable, "all nodes of this role left during the run"
		case r.results < r.nodes:
			f.Outcome, f.Message, f.Remediation = evidence.OutcomeNotChecked, fmt.Sprintf("%d of %d nodes gave no result to compare", r.nodes-r.results, r.nodes), coverRemedy
		case differ > 0:
			continue
		case r.nodes == 1:
			f.Outcome, f.Message = evidence.OutcomeNotApplicable, "one node of this role: nothing to compare it with"
		default:
			f.Outcome, f.Message = evidence.OutcomePass, fmt.Sprintf("%d nodes agree on %d checks", r.nodes, len(checks))
		}
		d.add(f)
	}
}

// names lists the first nodes and counts the rest.
func names(nodes []string) string {
	nodes = slices.Sorted(slices.Values(nodes))
	const shown = 3
	text := strings.Join(nodes[:min(shown, len(nodes))], ", ")
	if more := len(nodes) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%d (%s)", len(nodes), text)
}
