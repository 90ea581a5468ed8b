package config

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
)

//go:embed catalog.yaml
var catalogYAML []byte

//go:embed profiles/*.yaml
var profileFS embed.FS

var parsedCatalog = sync.OnceValue(func() *evidence.Catalog {
	c, err := gate.ParseCatalog(catalogYAML)
	if err != nil {
		panic("embedded catalog.yaml: " + err.Error()) // the package's tests parse it
	}
	return c
})

// Catalog returns the control catalog: the bytes that are sealed, and what they
// say. Callers must change neither.
func Catalog() (raw []byte, catalog *evidence.Catalog) {
	return catalogYAML, parsedCatalog()
}

var ruleControls = sync.OnceValue(func() *evidence.RuleControls { return evidence.NewRuleControls(parsedCatalog()) })

// RuleControls returns which controls a rule's findings count for, by the catalog.
func RuleControls() *evidence.RuleControls { return ruleControls() }

// Profiles returns the names of the built-in profiles, sorted.
func Profiles() []string {
	entries, err := profileFS.ReadDir("profiles")
	if err != nil {
		panic("embedded profiles: " + err.Error())
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// isProfileFile tells a file from a built-in profile's name.
func isProfileFile(s string) bool {
	return strings.ContainsAny(s, `/\`) || slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(s))
}

// Profile returns a built-in profile by name, or the user's own from a file (a
// name with a slash, or ending in .yaml, .yml or .json): the bytes that are
// sealed, and what they say. One that extends another is sealed as what comes of both. Every control that it names is in the catalog.
func Profile(nameOrFile string) (raw []byte, profile *evidence.Profile, err error) {
	own := false
	if isProfileFile(nameOrFile) {
		raw, err = readBounded(nameOrFile, gate.MaxPolicyBytes)
		if err != nil {
			return nil, nil, &Error{Problem: "read profile: " + err.Error()}
		}
		own = true
	} else {
		raw, err = profileFS.ReadFile(path.Join("profiles", nameOrFile+".yaml"))
		if err != nil {
			return nil, nil, &Error{Key: "profile", Value: nameOrFile, Allowed: wantProfile()}
		}
	}
	if own {
		raw, err = extended(raw, nameOrFile, nil)
	}
	if err == nil {
		profile, err = gate.ParseProfile(raw)
	}
	if err == nil && own && len(profile.Added()) > 0 {
		err = fmt.Errorf("controls: %s is marked as added: helmproof does that, where a flag asks for a control", profile.Added()[0])
	}
	if err == nil {
		err = gate.ValidateProfile(profile, parsedCatalog())
	}
	if err != nil {
		return nil, nil, inFile(nameOrFile, err)
	}
	return raw, profile, nil
}

func wantProfile() string {
	return strings.Join(Profiles(), ", ") + " or a file like ./profile.yaml"
}

// Waivers reads a waiver file: the bytes that are sealed, and what they say. No
// file name means no waivers. Every control that it names is in the catalog.
func Waivers(file string) (raw []byte, waivers []evidence.Waiver, err error) {
	if file == "" {
		return nil, nil, nil
	}
	raw, err = readBounded(file, gate.MaxPolicyBytes)
	if err != nil {
		return nil, nil, &Error{Problem: "read waivers: " + err.Error()}
	}
	waivers, err = gate.ParseWaivers(raw)
	if err != nil {
		return nil, nil, inFile(file, err)
	}
	for i, w := range waivers {
		if _, ok := parsedCatalog().Control(w.Control); !ok {
			return nil, nil, &Error{File: file, Key: fmt.Sprintf("waivers[%d].control", i), Value: string(w.Control),
				Allowed: "a control of the catalog: `helmproof controls` lists them"}
		}
		if w.Source != "" {
			return nil, nil, &Error{File: file, Key: fmt.Sprintf("waivers[%d].source", i), Value: string(w.Source),
				Problem: "leave it out: helmproof says where a waiver was found"}
		}
	}
	return raw, waivers, nil
}

// Baseline reads a baseline file.
func Baseline(file string) (*evidence.Baseline, error) {
	raw, err := readBounded(file, gate.MaxBaselineBytes)
	if err != nil {
		return nil, &Error{Problem: "read baseline: " + err.Error()}
	}
	b, err := gate.ParseBaseline(raw)
	if err != nil {
		return nil, inFile(file, err)
	}
	return b, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err // names the file
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, limit)
	}
	return b, nil
}
