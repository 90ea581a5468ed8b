// Command shell runs a shell, or the command given as its arguments, beside a
// cluster for tests, with KUBECONFIG set and kubectl in PATH. The cluster ends
// with it.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/companyos/helmproof/test/kube"
)

func main() {
	os.Exit(kube.Run(kube.TierC, func(c *kube.Cluster) int {
		if c.Tier() == kube.TierNone {
			return 1
		}
		args := os.Args[1:]
		if len(args) == 0 {
			shell := os.Getenv("SHELL")
			if shell == "" {
				shell = "/bin/sh"
			}
			args = []string{shell}
		}
		os.Setenv("PATH", c.Dir+"/bin:"+os.Getenv("PATH"))
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		var exit *exec.ExitError
		if err := cmd.Run(); errors.As(err, &exit) {
			return max(exit.ExitCode(), 1)
		} else if err != nil {
			fmt.Fprintln(os.Stderr, "shell:", err)
			return 1
		}
		return 0
	}))
}
