package harden

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/companyos/helmproof/evidence"
)

// Options asks for what can stop a container, and says what is known of the
// images. The zero value adds only what stops none.
type Options struct {
	ReadOnlyRoot     bool                 // readOnlyRootFilesystem: true where unset
	RunAsNonRoot     bool                 // runAsNonRoot: true also where nobody says which user the image has
	DropCapabilities bool                 // drop ALL and forbid privilege escalation also for root and low ports
	Probes           string               // "" or ProbesTCP: missing probes, as TCP connections to the first port
	Controls         []evidence.ControlID // add what these ask for, where nothing in the manifests speaks against it
	Skip             []string             // kinds to leave alone
	Images           map[string]Image     // by what manifests call them; of others nothing is known
}

// Image is what was read of an image. What it shows to be harmful is not added on
// request either.
type Image struct {
	Users        []string // of its configurations: one for each platform
	Capabilities []string // files with capabilities of their own
	SetID        []string // set-user-id and set-group-id programs, but for those that ask a person
	Volumes      []string // directories that it declares as VOLUME
	Usual        []string // directories that it has and that programs usually write to
	Filled       []string // those of both that may hold files
	Unread       string   // why the rest is not known
}

// ImagesOf lists the images of the containers that Harden looks at, sorted. It
// fails as Harden does.
func ImagesOf(raw []byte) ([]string, error) {
	r, _, err := read(raw, Options{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, x := range r.objects {
		if x.pod == nil || r.leaves(x) != "" {
			continue
		}
		for _, c := range x.containers() {
			out = append(out, c.Image)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Aggressive asks for all that can be asked for.
func (o *Options) Aggressive() {
	o.ReadOnlyRoot, o.RunAsNonRoot, o.DropCapabilities, o.Probes = true, true, true, ProbesTCP
	o.Controls = []evidence.ControlID{"SEC-3", "SEC-6"}
}

// Check refuses values that ask for nothing.
func (o *Options) Check() error {
	if o.Probes != "" && o.Probes != ProbesTCP {
		return fmt.Errorf("--probes %q: want tcp", o.Probes)
	}
	known := Controls()
	for _, id := range o.Controls {
		if !slices.Contains(known, id) {
			return fmt.Errorf("--control %q: harden adds nothing for it; want one of %s", id, strings.Join(text(known), ", "))
		}
	}
	return nil
}

// Controls are those that harden adds something for, sorted.
func Controls() []evidence.ControlID {
	var out []evidence.ControlID
	for _, ids := range controls {
		out = append(out, ids...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func text(ids []evidence.ControlID) []string {
	var out []string
	for _, id := range ids {
		out = append(out, string(id))
	}
	return out
}

// asks reports whether one of the controls is asked for. SEC-1 asks for what the
// standard restricted does.
func (o *Options) asks(ids ...evidence.ControlID) bool {
	return slices.ContainsFunc(o.Controls, func(c evidence.ControlID) bool {
		return slices.Contains(ids, c) || c == "SEC-1" && slices.ContainsFunc(ids, func(id evidence.ControlID) bool { return id == "SEC-2" || id == "SEC-3" || id == "SEC-4" })
	})
}

func (o *Options) readOnly() bool { return o.ReadOnlyRoot || o.asks("SEC-5") }

func (o *Options) nonRoot() bool { return o.RunAsNonRoot || o.asks("SEC-2") }

func (o *Options) probes(ids ...evidence.ControlID) bool {
	return o.Probes == ProbesTCP || o.asks(ids...)
}

// user is who the container runs as.
type user int

const (
	userUnknown user = iota // the image decides, and was not read
	userRoot                // 0, or an explicit runAsNonRoot false
	userNamed               // a name in the image: only the image says whose
	userNonRoot             // a number other than 0, or runAsNonRoot
)

// user is what the manifest says, and after it the image. byImage reports that
// the image decided.
func (o *Options) user(c *container, pod *corev1.PodSecurityContext) (u user, byImage bool) {
	sc := c.security()
	uid, nonRoot := sc.RunAsUser, sc.RunAsNonRoot
	if pod != nil {
		if uid == nil {
			uid = pod.RunAsUser
		}
		if nonRoot == nil {
			nonRoot = pod.RunAsNonRoot
		}
	}
	switch {
	case uid != nil && *uid == 0:
		return userRoot, false
	case uid != nil || nonRoot != nil && *nonRoot:
		return userNonRoot, false
	case nonRoot != nil:
		return userRoot, false
	}
	u = o.Images[c.Image].user()
	return u, u != userUnknown
}

// user of an image is the weakest of its platforms.
func (i Image) user() user {
	if i.Unread != "" || len(i.Users) == 0 {
		return userUnknown
	}
	u := userNonRoot
	for _, s := range i.Users {
		name, _, _ := strings.Cut(s, ":")
		switch n, err := strconv.ParseUint(name, 10, 31); {
		case name == "" || name == "root" || err == nil && n == 0:
			u = min(u, userRoot)
		case err != nil:
			u = min(u, userNamed)
		}
	}
	return u
}

// gains says which program of the image gains rights that it is not started
// with, such as one with file capabilities; empty: none is known.
func (i Image) gains() string {
	switch {
	case len(i.Capabilities) > 0:
		return "file " + i.Capabilities[0] + " of its image has capabilities"
	case len(i.SetID) > 0:
		return "program " + i.SetID[0] + " of its image is set-user-id or set-group-id"
	}
	return ""
}

// bare reports that the image is known to hold no program that gains rights. A
// user other than root cannot make one either.
func (i Image) bare() bool { return i.user() != userUnknown && i.gains() == "" }

// unmounted are those of an image's directories at which, or above which, the container mounts nothing.
func unmounted(c *container, dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			at := path.Clean("/" + m.MountPath)
			return dir == at || strings.HasPrefix(dir, strings.TrimSuffix(at, "/")+"/")
		})
	})
}

// places says where the programs of the image may write, of the directories that no volume covers; empty: nothing is known.
func (i Image) places(c *container) string {
	volumes, usual := unmounted(c, i.Volumes), unmounted(c, i.Usual)
	var filled []string
	for _, dir := range slices.Concat(volumes, usual) {
		if slices.Contains(i.Filled, dir) {
			filled = append(filled, dir)
		}
	}
	var parts []string
	if len(volumes) > 0 {
		parts = append(parts, "VOLUME "+strings.Join(volumes, ", "))
	}
	if len(usual) > 0 {
		parts = append(parts, strings.Join(usual, ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	text := "its image has for that " + strings.Join(parts, " and ") + ": mount an emptyDir at each that it writes to"
	if len(filled) > 0 {
		text += ", with a copy of the files that it hides in " + strings.Join(filled, ", ")
	}
	return text
}

// settles is the collectors' rule that an addition may satisfy.
var settles = map[Rule]string{
	RuleEscalation: "policy/privilege-escalation", RuleCapabilities: "policy/privilege-escalation", RuleSeccomp: "policy/seccomp", RuleNonRoot: "policy/run-as-non-root",
	RuleReadOnly: "policy/read-only-root", RuleToken: "policy/service-account-token",
}

// Settles reports whether an addition by the rule is about what a finding of a
// collector's rule asks for. Those of a Pod Security Standard begin with the field.
func (r Rule) Settles(finding, message string) bool {
	if finding == "podsecurity/restricted" {
		field, _, _ := strings.Cut(message, ":")
		return strings.Contains(field, string(r))
	}
	return settles[r] == finding && finding != ""
}
