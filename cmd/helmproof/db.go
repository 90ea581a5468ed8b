package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/images/osv"
)

func newDB(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "db",
		Short: "The vulnerability database of the embedded scanner",
		Long: `Db keeps the database that collect --scan osv works with: the published
records of https://osv.dev, an archive for each ecosystem, in a folder. Scanning
needs no network but to the registries, so the folder can be carried to where
there is none.`,
	}
	cmd.AddCommand(newDBUpdate(a), newDBStatus(a))
	return cmd
}

func dbFlag(cmd *cobra.Command) {
	cmd.Flags().String("db", "", "`DIR` of the database")
	_ = cmd.MarkFlagDirname("db")
	cmd.Flags().StringP("output", "o", "", "output: text or json")
}

func newDBUpdate(a *app) *cobra.Command {
	var ecosystems []string
	var source string
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Fetch what is new in the vulnerability database",
		Long: `Update fetches the archives that changed, and checks them. An archive that
cannot be fetched or read leaves the old one as it is. Without --ecosystem those
are updated that are there, at first the common ones of images.`,
		Example: `  helmproof db update
  helmproof db update --ecosystem Debian --ecosystem Go
  helmproof db update --source https://mirror.example.com/osv
  helmproof db update --source file:///media/osv --db /var/lib/helmproof/osv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.databaseDir()
			if err != nil {
				return err
			}
			prog := a.progress(-1)
			done, err := osv.Update(cmd.Context(), osv.UpdateOptions{Dir: dir, Ecosystems: ecosystems, Source: source, Now: time.Now, Progress: prog.download})
			prog.done()
			if errors.Is(err, osv.ErrOption) {
				return usageErr("%w", err)
			}
			if err != nil && len(done) == 0 {
				return err
			}
			out := dbJSON{Folder: dir, Ecosystems: []dbEcosystem{}}
			for _, u := range done {
				out.Ecosystems = append(out.Ecosystems, dbEcosystem{Ecosystem: u.Ecosystem, Changed: &u.Changed})
			}
			return errors.Join(a.printDB(out), err)
		},
	}
	cmd.Flags().StringArrayVar(&ecosystems, "ecosystem", nil, "`NAME` of an ecosystem as https://osv.dev has it, such as Debian or npm; may be given several times")
	cmd.Flags().StringVar(&source, "source", osv.DefaultSource, "`URL` of the published archives or of a mirror: https, http or file")
	_ = cmd.RegisterFlagCompletionFunc("ecosystem", cobra.FixedCompletions(osv.DefaultEcosystems(), cobra.ShellCompDirectiveNoFileComp))
	dbFlag(cmd)
	return cmd
}

func newDBStatus(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how old the vulnerability database is",
		Long:  "Status lists the ecosystems of the database with their age. Exit code 1 says that there is none.",
		Example: `  helmproof db status
  helmproof db status --db /var/lib/helmproof/osv -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.databaseDir()
			if err != nil {
				return err
			}
			db, err := osv.Open(dir)
			if err != nil {
				return err
			}
			out := dbJSON{Folder: dir, Ecosystems: []dbEcosystem{}}
			for _, e := range db.Ecosystems {
				out.Ecosystems = append(out.Ecosystems, dbEcosystem{Ecosystem: e})
			}
			return a.printDB(out)
		},
	}
	dbFlag(cmd)
	return cmd
}

// databaseDir is the folder of the embedded scanner's database.
func (a *app) databaseDir() (string, error) {
	if a.cfg.DB != "" {
		return a.cfg.DB, nil
	}
	return userCache("osv")
}

// dbJSON is what db prints as JSON.
type dbJSON struct {
	Folder     string        `json:"folder"`
	Ecosystems []dbEcosystem `json:"ecosystems"`
}

type dbEcosystem struct {
	osv.Ecosystem
	Changed *bool `json:"changed,omitempty"` // update: whether a newer archive was fetched
}

func (a *app) printDB(out dbJSON) error {
	if a.cfg.Output == "json" {
		return writeJSON(a.io.out, out)
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	for _, e := range out.Ecosystems {
		line := fmt.Sprintf("%-12s %8d records  of %s (%s ago)  %s", printable(e.Name), e.Records, e.BuiltAt.UTC().Format("2006-01-02 15:04"), age(time.Since(e.BuiltAt)), e.Digest.Short())
		if e.Changed != nil && !*e.Changed {
			line += "  unchanged"
		}
		t.line(line)
		if e.Unreadable > 0 {
			t.para("    ", "    ", fmt.Sprintf("%d records cannot be read by this version of helmproof: scans with them are not complete", e.Unreadable))
		}
	}
	t.line(t.faint("in " + printable(out.Folder)))
	return nil
}

// age is a duration for people.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "a moment"
	case d < 2*time.Hour:
		return plural(int(d.Minutes()), "minute")
	case d < 48*time.Hour:
		return plural(int(d.Hours()), "hour")
	}
	return plural(int(d.Hours()/24), "day")
}
