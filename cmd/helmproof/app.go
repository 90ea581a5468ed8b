package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/internal/worker"
	"github.com/companyos/helmproof/report"

	"github.com/spf13/pflag"
)

// version is set by the build; without it the module's own version is used.
var version string

// tool is how runs.json names this program.
func tool() string { return "helmproof " + toolVersion() }

func toolVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}

// app is what the commands share: where they write and the configuration.
type app struct {
	io         stdio
	log        *slog.Logger // what people should know, on standard error
	cfg        *config.Config
	quiet      bool
	verbose    bool     // -v: every finding
	asked      bool     // somebody typed a password
	json       *written // standard output, where -o json asks for a document; else nil
	format     string   // --format of check
	pathPrefix string   // of files in SARIF
	summary    bool     // of a report in Markdown
}

func newRoot(io stdio) *cobra.Command { return newApp(io).root() }

func newApp(io stdio) *app { return &app{io: io, log: newUserLog(io.err)} }

// root is the command that has all others.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "helmproof",
		Short: "Prove that a Helm release is hardened",
		Long: `Helmproof collects evidence about a Helm chart, decides a verdict against a
control profile, and seals everything in a signed bundle that anyone can verify
again, offline.

Exit codes: 0 pass, 1 operational failure, 2 usage, configuration or input
error, 3 the verdict is FAIL or INCOMPLETE, 4 integrity or signature failure.`,
		Example: `  helmproof collect charts/service
  helmproof verify latest
  helmproof gate charts/service`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.configure(cmd) },
	}
	fl := root.PersistentFlags()
	fl.String("config", "", "configuration `FILE`; ./helmproof.yaml if it is there")
	fl.String("color", "", "colour: auto, always or never")
	fl.BoolVarP(&a.quiet, "quiet", "q", false, "print one line per result and no progress")
	fl.BoolVarP(&a.verbose, "verbose", "v", false, "print every finding with its fix")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(unknownFlag)
	root.AddCommand(
		newCollect(a), newCheck(a), newHarden(a), newVerify(a), newAttest(a), newAttach(a), newGate(a), newReadiness(a), newForecast(a), newList(a), newShow(a), newReport(a), newDiff(a),
		newDrill(a), newWatch(a), newDB(a), newControls(a), newConfig(a), newKeygen(a), newVersion(a),
	)
	for _, cmd := range root.Commands() {
		if cmd.Name() != "report" && cmd.Name() != "watch" { // metrics have a format of their own
			cmd.Flags().StringP("output", "o", "", "output: text or json")
			_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	root.AddCommand(newMan(root))
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	groupHelp(root)
	refuseUnknown(root)
	return root
}

// most is how many findings of each control are printed.
func (a *app) most() int {
	if a.verbose {
		return everyFinding
	}
	return shownFindings
}

// configure reads the configuration: flags over HELMPROOF_* over helmproof.yaml over defaults.
func (a *app) configure(cmd *cobra.Command) error {
	if cmd.Name() == "help" || cmd.Name() == cobra.ShellCompRequestCmd || cmd.Name() == cobra.ShellCompNoDescRequestCmd || cmd.HasParent() && cmd.Parent().Name() == "completion" {
		return nil
	}
	if err := refuseEmpty(cmd.Flags()); err != nil {
		return err
	}
	if a.quiet && a.verbose {
		return usageErr("-q prints one line and -v all that there is: give one of them")
	}
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return err
	}
	a.cfg, err = config.Load(config.Source{Flags: cmd.Flags(), File: file, Env: os.Environ()})
	if err == nil && a.cfg.Output == "json" {
		a.json = &written{w: a.io.out}
		a.io.out = a.json
	}
	return err
}

// written is standard output of which it is known whether anything was written to it.
type written struct {
	w   io.Writer
	any bool
}

func (w *written) Write(p []byte) (int, error) {
	w.any = true
	return w.w.Write(p)
}

// saying are the flags that ask for something by what they say. Given empty, as by
// a pipeline's variable that is not set, they would ask for nothing, without a word.
var saying = []string{
	"profile", "waivers", "policies", "registry-allow", "scan", "scan-report", "signature-policy", "trusted-root", "vex", "kev", "epss", "values", "manifests", "release", "chart", "image",
	"manifests-digest", "version", "trust", "key", "repo", "repository-id", "tsa", "signature", "context", "kubeconfig", "max-age", "at", "role", "reason", "expires", "completed", "identity", "role-key", "checklist", "documents", "listen", "fail-on", "only", "skip", "baseline", "write-baseline", "accept",
}

func refuseEmpty(fl *pflag.FlagSet) (err error) {
	fl.Visit(func(f *pflag.Flag) {
		list := []string{f.Value.String()}
		if v, ok := f.Value.(pflag.SliceValue); ok {
			list = v.GetSlice()
		}
		if slices.Contains(saying, f.Name) && (len(list) == 0 || slices.Contains(list, "")) {
			err = usageErr("--%s is empty: leave it out, or say what is meant", f.Name)
		}
	})
	return err
}

// renderers are child processes to load charts in; nil where the program cannot
// start itself. Whoever asks closes them.
func (a *app) renderers() *worker.Pool {
	if a.io.self == nil {
		return nil
	}
	return worker.NewPool(a.io.self)
}

// renderersOf are those for the jobs of a command. A single chart, of files that can be
// read again, is rendered in this process, under guard: it has nobody to protect from
// it, and a child would take as long to start as a chart takes.
func (a *app) renderersOf(jobs []pipeline.Job, o *chart.LoadOptions) *worker.Pool {
	if a.io.self == nil || a.io.again == nil || len(jobs) != 1 || !slices.ContainsFunc(jobs, plainFiles(o)) || slices.ContainsFunc(os.Args, isPipe) {
		return a.renderers()
	}
	return worker.Guarded(a.io.self, a.io.again)
}

// plainFiles reports of a job whether it and the user's values are files and folders.
func plainFiles(o *chart.LoadOptions) func(pipeline.Job) bool {
	return func(j pipeline.Job) bool {
		names := slices.Concat([]string{j.Ref}, o.ValueFiles)
		for _, s := range o.SetFile {
			_, name, _ := strings.Cut(s, "=")
			names = append(names, name)
		}
		return j.Stored == nil && !slices.ContainsFunc(names, func(name string) bool {
			return name == "-" || isPipe(name)
		})
	}
}

// isPipe reports whether an argument, or the value of one, is a file that can be read
// once only, such as /dev/fd/63.
func isPipe(arg string) bool {
	if _, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "--") {
		arg = value
	}
	info, err := os.Stat(arg)
	return err == nil && !info.IsDir() && !info.Mode().IsRegular()
}

func (a *app) repoFlags(cmd *cobra.Command) {
	cmd.Flags().String("repo", "", "evidence repository: a directory or gs://bucket/prefix")
}

// repositoryIDFlag is for commands that seal bundles for a repository, or decide by
// those that were sealed for it.
func (a *app) repositoryIDFlag(cmd *cobra.Command) {
	cmd.Flags().String("repository-id", "", "`ID` of the repository that bundles are sealed for; remembered on this machine since the first collect if empty")
}

func (a *app) trustFlags(cmd *cobra.Command) {
	cmd.Flags().StringSlice("trust", nil, "trusted public key: a `FILE`, a directory of *.pub, or a key in a KMS; your own keys if empty")
}

// openRepo opens the configured repository.
func (a *app) openRepo(ctx context.Context) (*repository.Repository, error) {
	return pipeline.OpenRepository(ctx, a.cfg.Repo)
}

// keyHome is the user's own folder for keys, outside every repository: who can
// write where the evidence is could otherwise swap the key.
func keyHome() (string, error) {
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find your configuration folder: %w; give --key and --trust", err)
	}
	return filepath.Join(base, "helmproof"), nil
}

// signer returns the configured signer. The first run makes a key in the
// user's own folder, trusts it there, and says what it is worth.
func (a *app) signer(ctx context.Context) (attest.Signer, error) {
	path := a.cfg.Key
	if path == "" {
		home, err := keyHome()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(home, "signing.key")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			if err := makeKey(path, filepath.Join(home, "trust"), []byte(os.Getenv(passwordVariable))); err != nil {
				return nil, err
			}
			fmt.Fprintf(a.io.err, "helmproof: made a signing key, %s, and trust it on this machine; its public half is in %s.\n"+
				"  It shows that a bundle was sealed by whoever holds that file. For a team, make a key\n"+
				"  with helmproof keygen, keep it where CI signs, and hand out its public half.\n", path, filepath.Join(home, "trust"))
		} else if err != nil {
			return nil, err
		}
	}
	return pipeline.OpenSigner(ctx, path, a.cfg.TSA, func() ([]byte, error) { return a.password(ctx, "password of "+path+": ") })
}

// makeKey writes a new key pair: the private half to path (never replacing a
// file), the public half beside it and, if trustDir is not empty, into it.
func makeKey(path, trustDir string, pass []byte) error {
	generate := func() ([]byte, []byte, error) { return attest.GenerateKeyPair(pass) }
	if trustDir != "" && len(pass) == 0 {
		// Encrypting with an empty password protects nothing, and costs at every start.
		generate = attest.GeneratePlainKeyPair
	}
	priv, pub, err := generate()
	if err != nil {
		return err
	}
	pubPath := strings.TrimSuffix(path, ".key") + ".pub"
	write := func(name string, data []byte, mode os.FileMode) error {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, os.ErrExist) {
			return usageErr("%s is there already: a key is never replaced; give another name", name)
		}
		if err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Sync(), f.Close())
	}
	// The public half first: a private key without it would not be trusted.
	if trustDir != "" {
		if err := write(filepath.Join(trustDir, "own-"+attest.KeyID(pub)[:12]+".pub"), pub, 0o644); err != nil {
			return err
		}
	} else if err := write(pubPath, pub, 0o644); err != nil {
		return err
	}
	return write(path, priv, 0o600)
}

// trust returns the keys that verification accepts: the configured ones, or
// else the user's own. None at all is refused by the verifier.
func (a *app) trust(ctx context.Context) (*attest.Trust, error) {
	keys := a.cfg.Trust
	if len(keys) == 0 {
		home, err := keyHome()
		if err != nil {
			return nil, err
		}
		own := filepath.Join(home, "trust")
		if _, err := os.Stat(own); errors.Is(err, os.ErrNotExist) {
			return nil, &exitError{code: exitIntegrity, err: attest.ErrNoTrust}
		}
		keys = []string{own}
	}
	return pipeline.OpenTrust(ctx, keys)
}

// writeJSON writes one object, indented, and nothing else; what a terminal would obey
// or could not show is escaped.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(report.EscapeJSON(w))
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func profileNames() []string { return config.Profiles() }
