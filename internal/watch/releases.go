package watch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/pipeline"
)

// helmOwned selects Helm's storage.
const helmOwned = "owner=helm"

// Loader loads what the gate compares of a live release. A *chart.LoadError says that
// Helm's record cannot be read, whoever asks.
type Loader func(context.Context, chart.StoredRelease) (evidence.Release, error)

// keepRevision keeps what Helm's labels say of a revision.
func keepRevision(storage string, m *metav1.PartialObjectMetadata) any {
	if r, ok := chart.RevisionOf(storage, m); ok {
		return r
	}
	return nil
}

// live is what is known of a release of the cluster.
type live struct {
	chart.StoredRelease
	uid string
	is  evidence.Release // names alone where the content cannot be had
	bad bool             // nothing can be evidence of it: nobody can read it
	// byName says that its content may not be read; due is when that is asked again.
	byName bool
	due    time.Time
}

// askAgain is how long after a release could not be read for want of rights it is tried
// again. Of a namespace the first that is refused speaks for the others.
const askAgain = time.Minute

// releases are those of Helm's storage, uninstalled ones left out; false before that
// was read.
func (a *api) releases() (list []chart.StoredRelease, uids map[string]string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []chart.StoredRelease
	uids = map[string]string{}
	for _, name := range []string{helmSecrets, helmConfigMaps} {
		if k := a.kinds[name]; k == nil || !k.synced() {
			return nil, nil, false
		}
		a.items(name, func(i *item) {
			if r, ok := i.what.(chart.StoredRelease); ok {
				all = append(all, r)
				uids[r.Storage+"/"+r.Namespace+"/"+r.Object] = string(i.UID) + "/" + i.ResourceVersion
			}
		})
	}
	list = chart.Choose(all)
	return slices.DeleteFunc(list, chart.StoredRelease.Uninstalled), uids, true
}

// ReadReleases loads the revisions of releases that are new, each once.
func (w *Watch) ReadReleases(ctx context.Context) error {
	err := w.readReleases(ctx)
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	w.api.unloaded = err
	return err
}

func (w *Watch) readReleases(ctx context.Context) error {
	list, uids, ok := w.api.releases()
	if !ok {
		return nil
	}
	w.api.mu.Lock()
	c := w.api.clients
	w.api.mu.Unlock()
	w.mu.Lock()
	known := w.releases
	w.mu.Unlock()
	next := make(map[string]*live, len(list))
	var failed []error
	refusing := map[string]bool{} // namespaces
	now := w.Now()
	for _, r := range list {
		key, uid := r.Namespace+"/"+r.Name+"/"+r.Storage, uids[r.Storage+"/"+r.Namespace+"/"+r.Object]
		was := known[key]
		same := was != nil && was.uid == uid && was.Revision == r.Revision
		if same && (!was.byName || now.Before(was.due) || refusing[r.Namespace]) {
			if refusing[r.Namespace] {
				was.due = now.Add(askAgain)
			}
			next[key] = was
			continue
		}
		x := &live{StoredRelease: r, uid: uid, is: evidence.Release{ReleaseName: r.Name, Namespace: r.Namespace, Cluster: c.Fingerprint}}
		if c.Release != nil {
			is, err := c.Release(ctx, r)
			var unreadable *chart.LoadError
			switch {
			case context.Cause(ctx) != nil:
				return context.Cause(ctx)
			case err == nil:
				is.Cluster = c.Fingerprint
				x.is = is
			case apierrors.IsForbidden(err):
				x.byName, x.due = true, now.Add(askAgain)
				refusing[r.Namespace] = true
				if !same {
					w.Log.Warn(fmt.Sprintf("release %s is compared with its evidence by its names alone: revision %d cannot be read: %v", r.Ref(), r.Revision, err))
				}
			case apierrors.IsNotFound(err):
				continue // it is gone meanwhile
			case errors.As(err, &unreadable) && isRecord(err):
				x.bad = true
				w.Log.Warn(fmt.Sprintf("release %s cannot be compared with its evidence: %v", r.Ref(), err))
			default:
				failed = append(failed, fmt.Errorf("load release %s: %w", r.Ref(), err))
				if was != nil {
					next[key] = was
				}
				continue
			}
		}
		next[key] = x
	}
	w.mu.Lock()
	w.releases = next
	w.mu.Unlock()
	return errors.Join(failed...)
}

// isRecord reports whether an error is about what Helm stored, and not about reaching it.
func isRecord(err error) bool {
	var status apierrors.APIStatus
	var network net.Error
	return !errors.As(err, &status) && !errors.As(err, &network)
}

// addReleases says which releases have no evidence, and of which that is not known better
// than by their names.
func (s *samples) addReleases(list map[string]*live, c *Census) {
	of := map[[2]string][]*Evidence{}
	for _, e := range c.All {
		key := [2]string{e.Release.Namespace, e.Release.ReleaseName}
		of[key] = append(of[key], e)
	}
	for _, x := range list {
		found := !x.bad && slices.ContainsFunc(of[[2]string{x.Namespace, x.Name}], func(e *Evidence) bool { return pipeline.IsOf(x.is, e.Release) })
		s.most(missing, number(!found), x.Name, x.Namespace) // in two storages, one of which has none
		s.most(byName, number(x.byName), x.Name, x.Namespace)
	}
}
