package main

import (
	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/evidence"
)

// imageFlags are the flags by which images are judged.
type imageFlags struct{ registries []string }

func (f *imageFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.registries, "registry-allow", nil, "allow images of the registry or repository `PATTERN` only, such as *.example.com or ghcr.io/team; may be given several times")
}

// load refuses patterns that cannot match before anything is collected.
func (f *imageFlags) load() (images.Options, error) {
	o := images.Options{Registries: f.registries}
	if _, err := images.New(o); err != nil {
		return o, usageErr("--registry-allow: %w", err)
	}
	return o, nil
}

// imageScopes are those of the images collector: it runs where an allow-list was
// given, and is known to replay always.
func imageScopes(o images.Options) []evidence.Scope {
	if len(o.Registries) == 0 {
		return nil
	}
	return ofRelease
}
