package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// commit is that of the source, set by a release.
var commit string

// versions is what a program is of, as version -o json prints it.
type versions struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the source had changes that no commit has
	// Kubernetes is the version that charts are rendered for unless another is asked for.
	Kubernetes string   `json:"kubernetes"`
	Rules      int      `json:"rules"`
	Reports    int      `json:"reports"`
	Catalog    catalogs `json:"catalog"`
	// Modules are the versions of the libraries that decide what is found.
	Modules map[string]string `json:"modules"`
}

// catalogs says which controls are built in.
type catalogs struct {
	Version  string          `json:"version"`
	Digest   evidence.Digest `json:"digest"`
	Controls int             `json:"controls"`
	Profiles []string        `json:"profiles"`
}

// deciding are the modules of versions, by the name that people know them by.
var deciding = map[string]string{
	"helm": "helm.sh/helm/v4", "kubernetes": "k8s.io/api", "cel": "github.com/google/cel-go", "pod-security-admission": "k8s.io/pod-security-admission",
	"gitleaks": "github.com/zricethezav/gitleaks/v8", "osv-scalibr": "github.com/google/osv-scalibr", "sigstore": "github.com/sigstore/sigstore-go",
}

func versionsOf(info *debug.BuildInfo) versions {
	raw, catalog := config.Catalog()
	v := versions{
		Version: toolVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Commit: commit,
		Kubernetes: chart.DefaultKubeVersion, Rules: evidence.RulesVersion, Reports: evidence.ReportsVersion,
		Catalog: catalogs{catalog.Version, evidence.DigestOf(raw), len(catalog.Controls), config.Profiles()}, Modules: map[string]string{},
	}
	if info == nil {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = cmp.Or(v.Commit, s.Value)
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	for name, path := range deciding {
		if i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == path }); i >= 0 {
			m := info.Deps[i]
			if m.Replace != nil {
				m = m.Replace
			}
			v.Modules[name] = m.Version
		}
	}
	return v
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what is in it",
		Long: `Version prints which helmproof this is, and the versions of what decides what it
finds: Kubernetes, Helm, rules, the catalog of controls, scanners.`,
		Args: exact(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			v := versionsOf(info)
			if a.cfg.Output == "json" {
				return writeJSON(a.io.out, v)
			}
			fmt.Fprintf(a.io.out, "helmproof %s %s %s\n", v.Version, v.Go, v.Platform)
			if a.quiet {
				return nil
			}
			line := func(name, format string, args ...any) {
				fmt.Fprintf(a.io.out, "%-12s %s\n", name, fmt.Sprintf(format, args...))
			}
			if v.Commit != "" {
				changed := ""
				if v.Modified {
					changed = ", with changes"
				}
				line("commit", "%s%s", v.Commit, changed)
			}
			line("kubernetes", "%s unless another is asked for", v.Kubernetes)
			line("rules", "%d, reports %d", v.Rules, v.Reports)
			line("catalog", "%s, %d controls, %s", v.Catalog.Version, v.Catalog.Controls, v.Catalog.Digest)
			line("profiles", "%s", strings.Join(v.Catalog.Profiles, ", "))
			var list []string
			for name, version := range v.Modules {
				list = append(list, name+" "+version)
			}
			slices.Sort(list)
			line("modules", "%s", strings.Join(list, ", "))
			return nil
		},
	}
}

// newMan is for packages: nobody looks for it.
func newMan(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:               "man DIR",
		Short:             "Write the manual pages to DIR",
		Long:              "Man writes a manual page of section 1 for every command to DIR. Their date is that\nof SOURCE_DATE_EPOCH, seconds since 1970, where it is set.",
		Example:           "  helmproof man ~/.local/share/man/man1",
		Hidden:            true,
		Args:              exact(1, "DIR"),
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil }, // it needs no configuration
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root.DisableAutoGenTag = true // it has the day on which the page was made
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "helmproof " + toolVersion(), Manual: "helmproof"}, args[0])
		},
	}
}
