package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/companyos/helmproof/internal/nearest"
)

// commandGroups are the commands as help lists them.
var commandGroups = []struct {
	id, title string
	names     []string
}{
	{"judge", "Judge:", []string{"check", "collect", "gate", "harden", "readiness"}},
	{"live", "A live release:", []string{"drill", "forecast", "watch"}},
	{"evidence", "Evidence:", []string{"list", "show", "verify", "report", "diff", "attest", "attach"}},
	{"setup", "Set up:", []string{"config", "controls", "keygen", "db"}},
}

// commonFlags are those that come first in a command's help, the ten first of them that
// it has, in this order.
var commonFlags = []string{
	"values", "set", "namespace", "manifests", "profile", "fail-on", "baseline", "waivers", "format", "output", "repo", "release", "chart", "key", "trust", "context", "max-age", "at", "seal",
}

const maxCommonFlags = 10

// flagGroups are the other flags of commands that have many.
var flagGroups = []struct {
	title string
	names []string
}{
	{"Rendering", strings.Fields("values set set-string set-file set-json chart-repo version plain-http release-name namespace kube-version api-versions schemas manifests image-field follow-symlinks")},
	{"Judging", strings.Fields("profile policies waivers only skip fail-on baseline access-log evidence-lists max-age at image manifests-digest any-repository control timeout workers")},
	{"Cluster", strings.Fields("context kubeconfig release all-releases cluster benchmark kube-bench-image kube-bench-parallel unsigned-image unsigned-namespace")},
	{"Images and scans", strings.Fields("resolve platform registry-allow signature-policy trusted-root scan scan-report scan-cache scan-timeout scanner-version trivy trivy-image db kev epss epss-above vex fixable-only grace max-scan-age max-database-age")},
	{"Evidence", strings.Fields("repo repository-id key tsa trust formats seal format output path-prefix signature")},
}

// manyFlags is the number of flags from which on help groups them.
const manyFlags = 15

// groupHelp gives each command its group, and all of them help in groups.
func groupHelp(root *cobra.Command) {
	for _, g := range commandGroups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range root.Commands() {
			if slices.Contains(g.names, cmd.Name()) {
				cmd.GroupID = g.id
			}
		}
	}
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		var b strings.Builder
		writeUsage(&b, cmd, usageWidth(cmd.OutOrStdout()))
		_, err := io.WriteString(cmd.OutOrStderr(), b.String())
		return err
	})
}

// usageWidth is how wide help may be: that of the terminal, or of none that is narrow.
func usageWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		return newTerminal(f, "never").width
	}
	return 100
}

// writeUsage writes what cobra does, with commands and flags in groups.
func writeUsage(b *strings.Builder, cmd *cobra.Command, width int) {
	b.WriteString("Usage:\n")
	if cmd.Runnable() {
		fmt.Fprintf(b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(b, "  %s [command]\n", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(b, "\nExamples:\n%s\n", cmd.Example)
	}
	list := func(title string, of func(*cobra.Command) bool) {
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && of(sub) {
				if title != "" {
					fmt.Fprintf(b, "\n%s\n", title)
					title = ""
				}
				fmt.Fprintf(b, "  %-*s %s\n", cmd.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	for _, g := range cmd.Groups() {
		list(g.Title, func(sub *cobra.Command) bool { return sub.GroupID == g.ID })
	}
	rest := "Commands:"
	if len(cmd.Groups()) > 0 {
		rest = "Other commands:"
	}
	list(rest, func(sub *cobra.Command) bool { return sub.GroupID == "" })
	for _, g := range groupFlags(cmd.LocalNonPersistentFlags()) {
		fmt.Fprintf(b, "\n%s:\n%s", g.title, g.flags.FlagUsagesWrapped(width))
	}
	global := pflag.NewFlagSet("", pflag.ContinueOnError)
	global.AddFlagSet(cmd.InheritedFlags())
	global.AddFlagSet(cmd.PersistentFlags())
	if global.HasAvailableFlags() {
		fmt.Fprintf(b, "\nGlobal flags:\n%s", global.FlagUsagesWrapped(width))
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(b, "\nUse \"%s [command] --help\" for more information about a command.\n", cmd.CommandPath())
	}
}

// flagGroup is some flags under one title.
type flagGroup struct {
	title string
	flags *pflag.FlagSet
}

// groupFlags puts a command's own flags into groups, each flag in one of them. Few flags
// are one group.
func groupFlags(all *pflag.FlagSet) []flagGroup {
	left := map[string]*pflag.Flag{}
	all.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			left[f.Name] = f
		}
	})
	var out []flagGroup
	take := func(title string, names []string, most int) {
		g := flagGroup{title, pflag.NewFlagSet("", pflag.ContinueOnError)}
		g.flags.SortFlags = false
		for _, name := range names {
			if f := left[name]; f != nil && most > 0 {
				g.flags.AddFlag(f)
				delete(left, name)
				most--
			}
		}
		if g.flags.HasFlags() {
			out = append(out, g)
		}
	}
	var names []string
	all.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if len(left) < manyFlags {
		take("Flags", names, len(names))
		return out
	}
	take("Common flags", commonFlags, maxCommonFlags)
	for _, g := range flagGroups {
		take(g.title, g.names, len(g.names))
	}
	take("Other flags", names, len(names))
	return out
}

// unknownCommand says that a command has no such subcommand, and which may have been meant.
func unknownCommand(cmd *cobra.Command, name string) error {
	var known []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			known = append(known, sub.Name())
		}
	}
	meant := ""
	if like := nearest.Of(name, known); like != "" {
		meant = fmt.Sprintf(" (did you mean %s %s?)", cmd.CommandPath(), like)
	} else if _, err := os.Stat(name); err == nil && !cmd.HasParent() {
		meant = fmt.Sprintf(" (to judge what is there: %s check %s)", cmd.CommandPath(), name)
	}
	return usageErr("unknown command %q%s; see %s --help", name, meant, cmd.CommandPath())
}

// misspelled refuses a first argument that is no command, before its flags are taken for
// helmproof's own.
func misspelled(root *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "" || strings.HasPrefix(args[0], "-") || strings.HasPrefix(args[0], "__") {
		return nil
	}
	if cmd, _, err := root.Find(args[:1]); err != nil || cmd != root {
		return nil //nolint:nilerr // executing it says so
	}
	return unknownCommand(root, args[0])
}

// asksForJSON reports whether the command line asks for JSON, as far as that shows
// without parsing it.
func asksForJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			return i+1 < len(args) && args[i+1] == "json"
		case "--":
			return false
		}
	}
	return false
}

// unknownFlag adds to an error of a command's flags which one may have been meant, or
// which other commands have it.
func unknownFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return usageErr("%w; see %s --help", err, cmd.CommandPath())
	}
	name := unknown.GetSpecifiedName()
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if like := nearest.Of(name, known); like != "" {
		return usageErr("%w (did you mean --%s?); see %s --help", err, like, cmd.CommandPath())
	}
	var have []string
	for _, other := range cmd.Root().Commands() {
		if other.Flags().Lookup(name) != nil {
			have = append(have, other.Name())
		}
	}
	if len(have) > 0 {
		return usageErr("%w (it is one of helmproof %s); see %s --help", err, strings.Join(have, ", "), cmd.CommandPath())
	}
	return usageErr("%w; see %s --help", err, cmd.CommandPath())
}

// refuseUnknown has commands that only hold others refuse what is none of them; cobra
// would print help and exit with 0.
func refuseUnknown(root *cobra.Command) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.HasParent() && cmd.HasSubCommands() && !cmd.Runnable() {
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return unknownCommand(cmd, args[0])
				}
				return cmd.Help()
			}
		}
	}
	walk(root)
	help, _, err := root.Find([]string{"help"})
	if err != nil || help == root {
		return
	}
	help.Run = nil
	help.RunE = func(_ *cobra.Command, args []string) error {
		cmd, rest, err := root.Find(args)
		if err != nil || cmd == root && len(args) > 0 || cmd.HasSubCommands() && len(rest) > 0 {
			at := root
			if cmd != nil {
				at = cmd
			}
			return unknownCommand(at, args[len(args)-max(1, len(rest))])
		}
		cmd.InitDefaultHelpFlag()
		return cmd.Help()
	}
}
