package harden

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
)

// TestStopsNothing holds that what can stop a container is asked for, or rests on
// what was read of its image; and that what was read wins over what is asked for.
func TestStopsNothing(t *testing.T) {
	t.Parallel()
	bare := Image{Users: []string{"10001:10001"}}
	aggressive := Options{}
	aggressive.Aggressive()
	sec4 := Options{Controls: []evidence.ControlID{"SEC-4"}}
	user := pod("", "securityContext: {runAsUser: 1000}")
	for _, tt := range []struct {
		name  string
		pod   string
		o     Options
		image *Image
		want  []Rule
	}{
		{name: "nothing is known", pod: pod("")},
		{name: "a number is checked", pod: user, want: []Rule{RuleNonRoot}},
		{name: "a number says nothing of file capabilities", pod: pod("", "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false}")},
		{name: "asked for", pod: user, o: sec4, want: []Rule{RuleNonRoot, RuleEscalation, RuleCapabilities}},
		{name: "asked for, of an unknown user", pod: pod(""), o: sec4, want: []Rule{RuleEscalation}},
		{name: "a user asked for drops nothing", pod: pod(""), o: Options{RunAsNonRoot: true}, want: []Rule{RuleNonRoot}},
		{name: "SEC-1", pod: pod(""), o: Options{Controls: []evidence.ControlID{"SEC-1"}}, want: []Rule{RuleSeccomp, RuleNonRoot, RuleEscalation, RuleCapabilities}},
		{name: "SEC-5", pod: pod(""), o: Options{Controls: []evidence.ControlID{"SEC-5"}}, want: []Rule{RuleReadOnly}},
		{name: "one probe", pod: pod("", "ports: [{containerPort: 8080}]"), o: Options{Controls: []evidence.ControlID{"HLT-1"}}, want: []Rule{RuleProbes}},
		{name: "aggressive", pod: pod(""), o: aggressive, want: []Rule{RuleSeccomp, RuleNonRoot, RuleEscalation, RuleCapabilities, RuleReadOnly, RuleToken}},

		{name: "bare image", pod: pod(""), image: &bare, want: []Rule{RuleNonRoot, RuleEscalation, RuleCapabilities}},
		{name: "bare image with a low port", pod: pod("", "ports: [{containerPort: 80}]"), image: &bare, want: []Rule{RuleNonRoot, RuleEscalation, RuleCapabilities}},
		{name: "root in the manifest", pod: pod("", "securityContext: {runAsUser: 0}"), image: &bare},
		{name: "image of root", pod: pod(""), image: &Image{Users: []string{""}}},
		{name: "image of root by name and group", pod: pod(""), image: &Image{Users: []string{"root:root"}}},
		{name: "image of root by number", pod: pod(""), image: &Image{Users: []string{"00"}}},
		{name: "image of root, another user in the manifest", pod: user, image: &Image{Users: []string{"0"}}, want: []Rule{RuleNonRoot, RuleEscalation, RuleCapabilities}},
		{name: "root on one platform", pod: pod(""), image: &Image{Users: []string{"1000", "0"}}},
		{name: "user by name", pod: pod(""), image: &Image{Users: []string{"nginx"}}},
		{name: "not read", pod: pod(""), image: &Image{Users: []string{"1000"}, Unread: "too large"}},
		{name: "file capabilities", pod: pod(""), image: &Image{Users: []string{"1000"}, Capabilities: []string{"/usr/bin/caddy"}}, want: []Rule{RuleNonRoot}},
		{name: "set-user-id", pod: user, image: &Image{Users: []string{"0"}, SetID: []string{"/usr/bin/sudo"}}, want: []Rule{RuleNonRoot}},

		{name: "aggressive with file capabilities", pod: pod(""), o: aggressive, image: &Image{Users: []string{"0"}, Capabilities: []string{"/usr/bin/caddy"}}, want: []Rule{RuleSeccomp, RuleReadOnly, RuleToken}},
		{name: "aggressive with an image of root", pod: pod(""), o: aggressive, image: &Image{Users: []string{"0"}}, want: []Rule{RuleSeccomp, RuleEscalation, RuleCapabilities, RuleReadOnly, RuleToken}},
		{name: "aggressive with a user by name", pod: pod(""), o: aggressive, image: &Image{Users: []string{"nginx"}}, want: []Rule{RuleSeccomp, RuleEscalation, RuleCapabilities, RuleReadOnly, RuleToken}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.image != nil {
				tt.o.Images = map[string]Image{"example": *tt.image}
			}
			res, err := holds([]byte(deployment("1", tt.pod)), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			var got []Rule
			for _, c := range res.Changes {
				got = append(got, c.Rule)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("additions (-want +got):\n%s\nkept: %+v", d, res.Kept)
			}
		})
	}
}

// TestWrites holds what is said of where programs write, and that a VOLUME at which nothing
// is mounted is not made read-only on request either.
func TestWrites(t *testing.T) {
	t.Parallel()
	const nobody = "nobody says where the program writes"
	image := Image{Users: []string{"0"}, Volumes: []string{"/data", "/var/lib/x"}, Usual: []string{"/tmp", "/var/cache/x"}, Filled: []string{"/data"}}
	mounts := "volumeMounts: [{name: v, mountPath: /data/}, {name: v, mountPath: /var/lib}]"
	for _, tt := range []struct {
		name, pod string
		image     Image
		o         Options
		reason    string // empty: it is added
		flag      string
	}{
		{name: "not read", pod: pod(""), image: Image{Unread: "gone"}, reason: nobody, flag: "--read-only-root"},
		{name: "not read, asked for", pod: pod(""), image: Image{Unread: "gone"}, o: Options{ReadOnlyRoot: true}, reason: nobody + ", and its image could not be read: gone"},
		{name: "nobody looked, asked for", pod: pod(""), o: Options{ReadOnlyRoot: true}},
		{name: "nothing to be seen", pod: pod(""), image: Image{Users: []string{"0"}}, reason: nobody, flag: "--read-only-root"},
		{name: "usual", pod: pod("", mounts), image: image, reason: nobody + "; its image has for that /tmp, /var/cache/x: mount an emptyDir at each that it writes to", flag: "--read-only-root"},
		{name: "all is mounted", pod: pod("", "volumeMounts: [{name: v, mountPath: /}]"), image: image, reason: nobody, flag: "--read-only-root"},
		{name: "volumes", pod: pod("", "volumeMounts: [{name: v, mountPath: /var/lib/x/deeper}, {name: v, mountPath: /tmpx}]"), image: image,
			reason: nobody + ", but its image has for that VOLUME /data, /var/lib/x and /tmp, /var/cache/x: mount an emptyDir at each that it writes to, with a copy of the files that it hides in /data"},
		{name: "volumes, asked for", pod: pod(""), image: image, o: Options{ReadOnlyRoot: true},
			reason: nobody + ", but its image has for that VOLUME /data, /var/lib/x and /tmp, /var/cache/x: mount an emptyDir at each that it writes to, with a copy of the files that it hides in /data"},
		{name: "mounted, asked for", pod: pod("", mounts), image: image, o: Options{ReadOnlyRoot: true}},
		{name: "asked for", pod: pod(""), image: Image{Users: []string{"0"}, Usual: []string{"/tmp"}}, o: Options{ReadOnlyRoot: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.o.Images = map[string]Image{"example": tt.image}
			res, err := holds([]byte(deployment("1", tt.pod)), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			var kept Kept
			for _, k := range res.Kept {
				if k.Rule == RuleReadOnly {
					kept = k
				}
			}
			if kept.Reason != tt.reason || kept.Flag != tt.flag {
				t.Errorf("kept: %q, %q; want %q, %q", kept.Reason, kept.Flag, tt.reason, tt.flag)
			}
			if added := slices.ContainsFunc(res.Changes, func(c Change) bool { return c.Rule == RuleReadOnly }); added != (tt.reason == "") {
				t.Errorf("added: %t", added)
			}
		})
	}
}

// TestOnContainers holds that by default nothing is put on the pod that would
// hold for a container that is injected later.
func TestOnContainers(t *testing.T) {
	t.Parallel()
	res, err := holds([]byte(deployment("1", pod("securityContext: {runAsUser: 1000}\n"))), Options{Images: map[string]Image{"example": {Users: []string{"1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range res.Changes {
		if c.Target.Container == "" {
			t.Errorf("%s: %s stands on the pod", c.Rule, c.Field)
		}
	}
	if len(res.Changes) != 3 {
		t.Errorf("%d changes, want 3: %+v", len(res.Changes), res.Changes)
	}
}

func TestOptionsCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{}, ""},
		{Options{Probes: ProbesTCP, Controls: Controls()}, ""},
		{Options{Probes: "http"}, `--probes "http": want tcp`},
		{Options{Controls: []evidence.ControlID{"SEC-7"}}, fmt.Sprintf(`--control "SEC-7": harden adds nothing for it; want one of %s`, "AVL-1, AVL-3, HLT-1, HLT-2, HLT-3, SEC-1, SEC-2, SEC-3, SEC-4, SEC-5, SEC-6")},
	} {
		err := tt.o.Check()
		if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && got != tt.want {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
	}
	if !slices.IsSorted(Controls()) {
		t.Error("Controls is not sorted")
	}
}
