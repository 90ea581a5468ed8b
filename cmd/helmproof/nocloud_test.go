//go:build !cloud

package main

import "github.com/rogpeppe/go-internal/testscript"

// hasCloud is the condition [cloud] of scripts: cloud services are in this build.
const hasCloud = false

func cmdGCS(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("gcs needs the build tag cloud")
}
