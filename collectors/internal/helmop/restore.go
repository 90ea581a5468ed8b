package helmop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"helm.sh/helm/v4/pkg/release/common"
	"helm.sh/helm/v4/pkg/storage/driver"

	"github.com/companyos/helmproof/internal/cluster"
)

// Back is what the record of a drill holds of a release: where it was.
type Back struct {
	Ref
	Revision int `json:"revision"`
}

// Restore takes a release back to the revision that it had before a drill,
// without hooks and without waiting, if what is newest in its history is the
// drill's. It says what was done; "" stands for nothing. Others' operations are
// left alone. A process that was killed in the middle of one leaves a revision
// that Helm takes for an operation in progress, and refuses every other: those
// of the drill become failed ones.
func Restore(ctx context.Context, c *cluster.Cluster, b Back) (done string, err error) {
	client, err := New(ctx, c, b.Ref)
	if err != nil {
		return "", err
	}
	history, err := client.History()
	if errors.Is(err, driver.ErrReleaseNotFound) || errors.Is(err, ErrGone) {
		return "", nil // uninstalled since
	}
	if err != nil {
		return "", err
	}
	if newest := history[len(history)-1]; ours(newest, b.Revision) {
		if err := client.Rollback(RollbackOptions{Revision: b.Revision, Timeout: 30 * time.Second, Quick: true}); err != nil {
			return "", fmt.Errorf("roll %s back to revision %d: %w; do it by hand: helm rollback -n %s %s %d", b.Ref, b.Revision, err, b.Namespace, b.Name, b.Revision)
		}
		done = fmt.Sprintf("rolled %s back to revision %d, without hooks", b.Ref, b.Revision)
	}
	return done, client.settle(b.Revision)
}

// ours tells whether a drill that started from the revision made this one, and
// left it unfinished.
func ours(r Revision, from int) bool {
	return r.Revision > from && (r.Drill || r.RollbackTo == from && r.Status != string(common.StatusDeployed))
}

// settle writes down that the drill's operations, where they were cut off, failed.
func (c *Client) settle(from int) error {
	list, err := c.stored()
	if err != nil {
		return err
	}
	for _, r := range list {
		if !r.Info.Status.IsPending() || !ours(describe(r), from) {
			continue
		}
		r.SetStatus(common.StatusFailed, fmt.Sprintf("A drill of helmproof ended in the middle of this %s", r.Info.Status))
		if err := c.cfg.Releases.Update(r); err != nil {
			return fmt.Errorf("revision %d of %s stays pending: %w", r.Version, c.ref, err)
		}
	}
	return nil
}
