package dir_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
)

// What tells the test's own program to store bundles: where, from which on, and at
// which sync it is killed (0: never).
const (
	childRoot  = "HELMPROOF_TEST_CHILD_ROOT"
	childFirst = "HELMPROOF_TEST_CHILD_FIRST"
	childSync  = "HELMPROOF_TEST_CHILD_SYNC"
	// killsVariable is how often TestKilled kills.
	killsVariable = "HELMPROOF_KILLS"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		fmt.Fprintln(os.Stderr, storeForEver(root))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// storeForEver stores one bundle after the other and says the number of each that
// is stored.
func storeForEver(root string) error {
	first, err1 := strconv.Atoi(os.Getenv(childFirst))
	last, err2 := strconv.Atoi(os.Getenv(childSync))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	syncs := make(chan int, 1)
	syncs <- 0
	s := dir.OpenSyncing(root, func(f *os.File) error {
		n := <-syncs + 1
		defer func() { syncs <- n }()
		if n == last {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return f.Sync()
	})
	for n := first; ; n++ {
		p, files := bundleOf(n)
		if err := repository.New(s).Put(context.Background(), p, files); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// killed runs the child and kills it where wait returns, or lets it kill itself. It
// returns the first number that was not said to be stored.
func killed(t *testing.T, root string, first, sync int, wait func(out *bufio.Reader)) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childRoot+"="+root, childFirst+"="+strconv.Itoa(first), childSync+"="+strconv.Itoa(sync))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var said strings.Builder
	out := bufio.NewReader(io.TeeReader(pipe, &said))
	if wait != nil {
		wait(out)
		must(t, cmd.Process.Kill())
	}
	_, err = io.Copy(io.Discard, out)
	must(t, err)
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%v, want it killed: %s", err, stderr.String())
	}
	return first + strings.Count(said.String(), "\n")
}

// wantWhole holds that each bundle below n is stored and listed, and that those from
// n on are whole where they are seen. It returns how many are.
func wantWhole(t *testing.T, root string, n int) int {
	t.Helper()
	r := repository.New(dir.Open(root))
	list, err := r.List(t.Context(), repository.Filter{})
	must(t, err)
	ids, err := r.Bundles(t.Context())
	must(t, err)
	for i := range max(n, len(ids)) {
		p, files := bundleOf(i)
		if listed := slices.Contains(list, p); i < n && !listed || listed && !slices.Contains(ids, p.Bundle) {
			t.Fatalf("bundle %d of %d that were stored is listed: %v", i, n, listed)
		}
		if !slices.Contains(ids, p.Bundle) {
			t.Fatalf("bundle %d of %d is missing", i, n)
		}
		got, err := r.Get(t.Context(), p.Bundle)
		must(t, err)
		if !maps.EqualFunc(got, files, slices.Equal) {
			t.Fatalf("bundle %d is not whole: %d of %d files", i, len(got), len(files))
		}
	}
	return len(ids)
}

// A process that is killed at any sync leaves nothing but whole bundles, and the
// next one goes on.
func TestKilledAtEverySync(t *testing.T) {
	t.Parallel()
	for sync := 1; sync <= 30; sync++ { // of the first bundle, which makes the directories, and of others
		root := filepath.Join(t.TempDir(), "repo")
		n := killed(t, root, 0, sync, nil)
		there := wantWhole(t, root, n)
		if there < n || there > n+1 {
			t.Fatalf("killed at sync %d: %d bundles, %d were stored", sync, there, n)
		}
		p, files := bundleOf(n)
		must(t, repository.New(dir.Open(root)).Put(t.Context(), p, files))
		wantWhole(t, root, n+1)
	}
}

// The same for moments that nobody chose: HELMPROOF_KILLS=1000 for many of them.
func TestKilled(t *testing.T) {
	t.Parallel()
	kills := 50
	if v := os.Getenv(killsVariable); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatalf("%s: %v", killsVariable, err)
		}
	}
	const each = 25 // kills of one repository
	stored := 0
	for done := 0; done < kills; done += each {
		root := filepath.Join(t.TempDir(), "repo")
		n := 0
		for range min(each, kills-done) {
			n = killed(t, root, n, 0, func(out *bufio.Reader) {
				for range rand.IntN(3) {
					if _, err := out.ReadString('\n'); err != nil {
						t.Error(err)
					}
				}
				<-time.After(time.Duration(rand.Int64N(int64(20 * time.Millisecond)))) // anywhere in a write
			})
			wantWhole(t, root, n)
		}
		p, files := bundleOf(n)
		must(t, repository.New(dir.Open(root)).Put(t.Context(), p, files))
		wantWhole(t, root, n+1)
		stored += n
	}
	t.Logf("%d kills, %d bundles, all of them whole", kills, stored)
}
