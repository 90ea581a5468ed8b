package e2e

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chaos"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
	"github.com/companyos/helmproof/internal/pipeline"
)

// recorded is a collector of drills that has done its drill already.
type recorded struct {
	collectors.Lasting
	files drilltest.Files
}

func (r recorded) Collect(_ context.Context, _ collectors.Input, out evidence.ArtifactWriter) error {
	for _, name := range r.files.Names() {
		raw, err := r.files.Read(name)
		if err == nil {
			err = out.Write(strings.TrimPrefix(name, "artifacts/"+r.Name()+"/"), raw)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drillClock is held while a record of a drill is made: all have one beginning.
var drillClock sync.Mutex

// drill seals a drill of Deployment web in namespace shop of the cluster, of which the
// record is made up, and which went well or badly.
func (e *evidenceOf) drill(experiment drill.Experiment, badly bool, began time.Time) {
	e.t.Helper()
	drillClock.Lock()
	defer drillClock.Unlock()
	drilltest.Began = began.UTC().Truncate(time.Second)
	d := drilltest.New(experiment)
	if badly {
		d.Fail(10, 16, "refused")
	}
	fatal := func(err error) {
		e.t.Helper()
		if err != nil {
			e.t.Fatal(err)
		}
	}
	rules, err := pipeline.LoadRules(pipeline.RulesOptions{Profile: "drill"})
	fatal(err)
	rules, err = rules.ForDrill(experiment)
	fatal(err)
	rel, err := chart.Load(e.t.Context(), "../../charts/service", chart.LoadOptions{ReleaseName: "web", Namespace: "shop", Set: []string{"fullnameOverride=web"}})
	fatal(err)
	defer func() { fatal(rel.Close()) }()
	asked := 0
	p := e.pipeline()
	p.Rules, p.Formats = rules, []string{"md"}
	p.Now = func() time.Time { // it runs while the drill was made
		asked++
		return drilltest.Began.Add(time.Duration(asked-1) * time.Minute)
	}
	p.Cluster = &cluster.Cluster{Info: cluster.Info{Fingerprint: e.c.Kubectl(e.t, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"), Version: "v1.37.2", Platform: "kubernetes", Nodes: []cluster.Node{}}}
	j, err := p.DrillBy(e.t.Context(), rel, recorded{chaos.New(chaos.Options{}), d.Files(chaos.Name)})
	fatal(err)
	if passed := j.Verdict.Outcome == evidence.VerdictPass; passed == badly {
		e.t.Fatalf("the drill is %s", j.Verdict.Outcome)
	}
}

// pipeline seals in the repository, by the key of who collects.
func (e *evidenceOf) pipeline() *pipeline.Pipeline {
	e.t.Helper()
	p := &pipeline.Pipeline{Tool: "helmproof test", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Repository: e.id()}
	var err, err2 error
	p.Repo, err = pipeline.OpenRepository(e.t.Context(), e.repo)
	p.Signer, err2 = pipeline.OpenSigner(e.t.Context(), filepath.Join(e.home, "helmproof", "signing.key"), "", func() ([]byte, error) { return nil, nil })
	if err = errors.Join(err, err2); err != nil {
		e.t.Fatal(err)
	}
	return p
}
