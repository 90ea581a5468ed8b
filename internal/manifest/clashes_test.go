package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/internal/manifest"
)

// TestClashes: what Helm makes and deletes at its events is no duplicate, and what
// keeps it from making another object is.
func TestClashes(t *testing.T) {
	t.Parallel()
	const own = "release"
	for name, tt := range map[string]struct {
		kind    string   // ConfigMap, unless it says another
		objects []string // own, or EVENTS;WEIGHT;DELETE-POLICIES ("-": no such annotation)
		want    []string // parts of what is said, one for each clash
	}{
		"one object":                               {objects: []string{own}},
		"two of the release":                       {objects: []string{own, own}, want: []string{""}},
		"three of the release":                     {objects: []string{own, own, own}, want: []string{"", ""}},
		"hook that is gone before the release":     {objects: []string{"pre-install,pre-upgrade;0;before-hook-creation,hook-succeeded", own}},
		"the same, written the other way round":    {objects: []string{own, "Pre-Install, pre-upgrade;0;Hook-Succeeded , before-hook-creation"}},
		"hook that is gone, and never replaces":    {objects: []string{"pre-install;0;hook-succeeded", own}},
		"hook that stays":                          {objects: []string{"pre-install;0;-", own}, want: []string{"still there when the release is installed"}},
		"hook that goes only when it fails":        {objects: []string{"pre-install;0;hook-failed", own}, want: []string{"still there when the release is installed"}},
		"hook that goes, a definition":             {kind: "CustomResourceDefinition", objects: []string{"pre-install;0;before-hook-creation,hook-succeeded", own}, want: []string{"still there when the release is installed"}},
		"hook that replaces the release's":         {objects: []string{own, "post-install;0;-"}, want: []string{"which Helm deletes to make the hook of post-install"}},
		"hook beside the release's":                {objects: []string{own, "post-install;0;hook-succeeded"}, want: []string{"still there when Helm makes the hook of post-install"}},
		"hook after an upgrade":                    {objects: []string{own, "post-upgrade;0;-"}, want: []string{"which Helm deletes to make the hook of post-upgrade"}},
		"hook before an upgrade":                   {objects: []string{own, "pre-upgrade;0;before-hook-creation,hook-succeeded"}},
		"hook before an upgrade, beside it":        {objects: []string{own, "pre-upgrade;0;hook-succeeded"}, want: []string{"still there when Helm makes the hook of pre-upgrade"}},
		"test":                                     {objects: []string{own, "test;0;-"}, want: []string{"which Helm deletes to make the hook of test"}},
		"hook before the release is deleted":       {objects: []string{own, "pre-delete;0;-"}},
		"hook after the release is deleted":        {objects: []string{own, "post-delete;0;hook-succeeded"}},
		"hook of an event that Helm does not know": {objects: []string{own, "pre-instal;0;-"}, want: []string{""}},
		"two hooks of two events":                  {objects: []string{"pre-install;0;-", "post-install;0;-"}},
		"two hooks of one event":                   {objects: []string{"pre-install;0;-", "pre-install;1;-"}},
		"hook that is made where another is":       {objects: []string{"pre-install;0;-", "post-install;0;hook-succeeded"}, want: []string{"still there when Helm makes the hook of post-install"}},
		"hook that is made where another was":      {objects: []string{"pre-install;0;hook-succeeded", "post-install;0;hook-succeeded"}},
		"hooks of one event that go too late":      {objects: []string{"pre-install;0;hook-succeeded", "pre-install;1;hook-succeeded"}, want: []string{"still there when Helm makes the hook of pre-install"}},
		"the heavier one replaces":                 {objects: []string{"pre-install;5;before-hook-creation", "pre-install;1;hook-failed"}},
		"the lighter one replaces":                 {objects: []string{"pre-install;1;before-hook-creation", "pre-install;5;hook-failed"}, want: []string{"still there when Helm makes the hook of pre-install"}},
		"an empty policy replaces nothing":         {objects: []string{"pre-install;0;-", "post-install;0;"}, want: []string{"still there when Helm makes the hook of post-install"}},
		"hooks of installation and upgrade":        {objects: []string{"pre-install;0;-", "pre-upgrade;0;-"}},
		"an upgrade's hook where the other is":     {objects: []string{"pre-install;0;-", "pre-upgrade;0;hook-succeeded"}, want: []string{"still there when Helm makes the hook of pre-upgrade"}},
		"definitions that stay":                    {kind: "CustomResourceDefinition", objects: []string{"pre-install;0;-", "post-install;0;-"}, want: []string{"still there when Helm makes the hook of post-install"}},
		"two of the release and a hook that goes":  {objects: []string{own, "pre-install;0;hook-succeeded", own}, want: []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := tt.kind
			if kind == "" {
				kind = "ConfigMap"
			}
			var text string
			for _, o := range tt.objects {
				annotations := ""
				if o != own {
					parts := strings.SplitN(o, ";", 3)
					annotations = fmt.Sprintf(`, annotations: {helm.sh/hook: %q, helm.sh/hook-weight: %q`, parts[0], parts[1])
					if parts[2] != "-" {
						annotations += fmt.Sprintf(`, helm.sh/hook-delete-policy: %q`, parts[2])
					}
					annotations += "}"
				}
				text += "---\napiVersion: v1\nkind: " + kind + "\nmetadata: {name: a" + annotations + "}\n"
			}
			set, err := manifest.Parse([]byte(text))
			if err != nil || len(set.Broken) > 0 {
				t.Fatal(err, set.Broken)
			}
			var same []*manifest.Object
			for i := range set.Objects {
				same = append(same, &set.Objects[i])
			}
			got := manifest.Clashes(same)
			if len(got) != len(tt.want) {
				t.Fatalf("%d clashes, want %q: %+v", len(got), tt.want, got)
			}
			for i, c := range got {
				if !strings.Contains(c.Why, tt.want[i]) || tt.want[i] == "" && c.Why != "" {
					t.Errorf("says %q, want %q", c.Why, tt.want[i])
				}
			}
		})
	}
}
