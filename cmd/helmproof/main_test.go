package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/companyos/helmproof/internal/helmlog"
)

var update = flag.Bool("update", false, "write generated docs instead of comparing them")

func TestMain(m *testing.M) {
	helmlog.Route() // also for tests that run commands in this process
	testscript.Main(apart{m}, map[string]func(){"helmproof": main, "helmproof-measured": measured})
}

// apart runs the tests with a configuration folder that is nobody's.
type apart struct{ *testing.M }

func (a apart) Run() int {
	dir, err := os.MkdirTemp("", "helmproof-config-")
	if err == nil {
		err = os.Setenv("XDG_CONFIG_HOME", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	return a.M.Run()
}

// TestScripts runs testdata/script/*.txtar, each in a directory and with a
// configuration folder of its own. $CHARTS holds charts/, $TESTCHARTS test/charts/.
func TestScripts(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("CHARTS", filepath.Join(root, "charts"))
			e.Setenv("GOLDEN", filepath.Join(root, "internal", "pipeline", "testdata", "golden"))
			e.Setenv("TESTCHARTS", filepath.Join(root, "test", "charts"))
			e.Setenv("COSIGN_PASSWORD", "")
			return nil
		},
		Condition: func(c string) (bool, error) {
			if c != "cloud" {
				return false, fmt.Errorf("unknown condition %q", c)
			}
			return hasCloud, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": cmdExitCode,
			"json":     cmdJSON,
			"flip":     cmdFlip,
			"http":     cmdHTTP,
			"gcs":      cmdGCS,
			"registry": cmdRegistry,
			"unzip":    cmdUnzip,
		},
		RequireExplicitExec: true,
	})
}
