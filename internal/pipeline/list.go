package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/accesslog"
	"github.com/companyos/helmproof/collectors/admission"
	"github.com/companyos/helmproof/collectors/autoscaling"
	"github.com/companyos/helmproof/collectors/chaos"
	"github.com/companyos/helmproof/collectors/controllers"
	"github.com/companyos/helmproof/collectors/externalsecrets"
	"github.com/companyos/helmproof/collectors/forecast"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/collectors/live"
	"github.com/companyos/helmproof/collectors/load"
	"github.com/companyos/helmproof/collectors/podsecurity"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/collectors/rbac"
	"github.com/companyos/helmproof/collectors/rollback"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/collectors/signatures"
	"github.com/companyos/helmproof/collectors/spread"
	"github.com/companyos/helmproof/collectors/workload"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/worker"
)

// listed is a collector and when it runs. Replay knows every collector; a run
// takes those of its scope.
type listed struct {
	collectors.Collector
	scopes []evidence.Scope // of the bundles that it makes evidence for
	idle   bool             // nothing was given to judge by: it does not run
	live   bool             // looks at a cluster: it runs only where one was named
	stored bool             // compares with what Helm stored: it runs only for live releases
	asked  bool             // makes things in the cluster: it runs only where the profile asks for its controls
}

// collectorOptions is what collectors are made from. The zero value, with the
// policies that were sealed, is enough to derive findings again.
type collectorOptions struct {
	policies   []byte          // what is, or was, sealed as policies.yaml
	found      *secrets.Report // of the release's scan
	schemas    string
	workers    *worker.Pool // in which charts are rendered and linted; nil: in this process
	bench      kubebench.Options
	signatures signatures.Options
	unsigned   string
	unsignedIn string
	images     images.Options
	rotation   time.Duration // of secrets
	access     accesslog.Options
}

// collectorList is the one list of collectors.
func collectorList(o collectorOptions) ([]listed, error) {
	pol, err := policy.New(o.policies)
	if err != nil {
		return nil, &InputError{err}
	}
	sig, err := signatures.New(o.signatures)
	if err != nil {
		return nil, &InputError{err}
	}
	img, err := images.New(o.images)
	if err != nil {
		return nil, &InputError{err}
	}
	access, err := accesslog.New(o.access)
	if err != nil {
		return nil, &InputError{err}
	}
	release, cluster, drills := []evidence.Scope{evidence.ScopeRelease}, []evidence.Scope{evidence.ScopeCluster}, []evidence.Scope{evidence.ScopeDrill}
	return []listed{
		{Collector: helm.New(helm.Options{SchemasDir: o.schemas, Workers: o.workers}), scopes: release},
		{Collector: podsecurity.New(), scopes: release},
		{Collector: workload.New(), scopes: release},
		{Collector: rbac.New(), scopes: release},
		{Collector: pol, scopes: release},
		{Collector: secrets.New(o.found), scopes: release},
		{Collector: access, scopes: release, idle: o.access.Logs == nil},
		{Collector: img, scopes: release, idle: len(o.images.Policy.Controls) == 0},
		{Collector: sig, scopes: release, idle: len(o.signatures.Policies) == 0},
		{Collector: admission.New(admission.Options{Policies: o.policies, UnsignedImage: o.unsigned, ProbeNamespace: o.unsignedIn}), scopes: slices.Concat(release, cluster), live: true},
		{Collector: live.New(), scopes: release, live: true, stored: true},
		{Collector: externalsecrets.New(externalsecrets.Options{Rotation: o.rotation}), scopes: release, live: true, stored: true},
		{Collector: autoscaling.New(), scopes: release, live: true, stored: true},
		{Collector: spread.New(), scopes: release, live: true, stored: true},
		{Collector: forecast.New(), scopes: release, live: true, stored: true},
		{Collector: kubebench.New(o.bench), scopes: cluster, live: true, asked: true},
		{Collector: controllers.New(), scopes: cluster, live: true},
		// One of these, with its plan, is all that runs for a drill: Pipeline.Drill.
		{Collector: chaos.New(chaos.Options{}), scopes: drills, idle: true},
		{Collector: rollback.New(rollback.Options{}), scopes: drills, idle: true},
		{Collector: load.New(load.Options{}), scopes: drills, idle: true},
	}, nil
}

// pick returns the collectors of the list that run for a bundle of that scope.
func (p *Pipeline) pick(list []listed, scope evidence.Scope) []collectors.Collector {
	var out []collectors.Collector
	for _, l := range list {
		if slices.Contains(l.scopes, scope) && !l.idle && (p.Cluster != nil || !l.live) && (!l.stored || p.Stored) && (!l.asked || p.Rules.AsksFor(l.Name())) {
			out = append(out, l.Collector)
		}
	}
	return out
}

// Replay derives the findings of a bundle again, by this version's rules; verify
// compares them. Built-in policies are part of the rules: where the same version
// sealed the bundle they have to be this version's, to the last expression, and
// where another did this version's stand in for them. The user's own policies are
// always those that were sealed.
func Replay(in evidence.ArtifactReader, runs *evidence.Runs) ([]evidence.Finding, []evidence.CollectorRun, error) {
	policies, err := in.Read(collectors.PoliciesFile)
	if err != nil {
		return nil, nil, err
	}
	for _, run := range runs.Collectors {
		if err := drilledThen(in, run); err != nil {
			return nil, nil, err
		}
	}
	if runs.RulesVersion() != evidence.RulesVersion {
		return replayOther(in, policies, runs.Collectors)
	}
	changed, err := policy.Changed(policies)
	if err != nil {
		return nil, nil, err
	}
	if len(changed) > 0 {
		return nil, nil, fmt.Errorf("the sealed policies are not those of this version: %s", strings.Join(changed, ", "))
	}
	return derive(in, policies, runs.Collectors)
}

// drilledThen refuses the record of a drill from another time than its collector's run:
// how old evidence may be counts from when it was sealed.
func drilledThen(in evidence.ArtifactReader, run evidence.CollectorRun) error {
	raw, err := in.Read(collectors.Artifact(run.Collector, drill.EndFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var end drill.End
	if err != nil || json.Unmarshal(raw, &end) != nil || end.Began.IsZero() {
		return err // the collector says what is wrong with it
	}
	const apart = time.Minute
	if end.Began.Before(run.StartedAt.Add(-apart)) || end.Began.Add(end.Length).After(run.FinishedAt.Add(apart)) {
		return fmt.Errorf("the drill began at %s and took %s, and collector %s ran from %s to %s", end.Began.Format(time.RFC3339), end.Length, run.Collector, run.StartedAt.Format(time.RFC3339), run.FinishedAt.Format(time.RFC3339))
	}
	return nil
}

// replayOther derives what another version's rules sealed by this version's. Where
// the user's own policies cannot be read or compiled any more, what rests on
// policies could not be checked.
func replayOther(in evidence.ArtifactReader, sealed []byte, runs []evidence.CollectorRun) ([]evidence.Finding, []evidence.CollectorRun, error) {
	policies, err := policy.Renewed(sealed)
	if err != nil {
		return nil, nil, err
	}
	found, after, bad := derive(replacing{in, map[string][]byte{collectors.PoliciesFile: policies}}, policies, runs)
	if bad == nil {
		return found, after, nil
	}
	builtin, err := policy.Bundle("")
	if err != nil {
		return nil, nil, err
	}
	runs = slices.Clone(runs)
	for i, r := range runs {
		if r.Outcome == evidence.OutcomePass && (r.Collector == policy.Name || r.Collector == admission.Name) {
			runs[i].Outcome, runs[i].Error = evidence.OutcomeError, fmt.Sprintf("own policies that this version cannot judge by: %v", bad)
		}
	}
	return derive(replacing{in, map[string][]byte{collectors.PoliciesFile: builtin}}, builtin, runs)
}

func derive(in evidence.ArtifactReader, policies []byte, runs []evidence.CollectorRun) ([]evidence.Finding, []evidence.CollectorRun, error) {
	list, err := collectorList(collectorOptions{policies: policies})
	if err != nil {
		return nil, nil, err
	}
	sealed := collectors.NewSealed(in, config.RuleControls())
	rel, err := sealed.Release()
	if err != nil {
		return nil, nil, err
	}
	// A bundle decides what collectors of its scope look at, and nothing else.
	var all []collectors.Collector
	for _, l := range list {
		if slices.Contains(l.scopes, rel.Scope) {
			all = append(all, l.Collector)
		}
	}
	found, after := collectors.Derive(sealed, all, runs)
	return found, after, nil
}

// replacing is sealed artifacts, some of them replaced.
type replacing struct {
	evidence.ArtifactReader
	files map[string][]byte
}

func (r replacing) Read(name string) ([]byte, error) {
	if raw, ok := r.files[name]; ok {
		return raw, nil
	}
	return r.ArtifactReader.Read(name)
}
