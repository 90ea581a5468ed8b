package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/accesslog"
	"github.com/companyos/helmproof/collectors/externalsecrets"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
)

// GateSecrets is what a gate judges the rotation and the readers of secrets by. The
// zero value is the defaults: no reader is known.
type GateSecrets struct {
	Rotation evidence.Duration `json:"rotation"` // how old the last change of a Secret may be
	Readers  []string          `json:"readers"`  // who may read, as accesslog.ParseReader takes them
	MaxAge   evidence.Duration `json:"maxAge"`   // how old the newest entry of an access log may be
}

func (s GateSecrets) orDefaults() *GateSecrets {
	s.Rotation = cmp.Or(s.Rotation, evidence.Duration(externalsecrets.DefaultRotation))
	s.MaxAge = cmp.Or(s.MaxAge, evidence.Duration(accesslog.DefaultMaxAge))
	s.Readers = append([]string{}, s.Readers...)
	return &s
}

// secrets decides what rests on the rotation interval, and on who may read secrets.
func (g *gateGiven) secrets(b *bundle.Bundle, d *decided) error {
	names := b.Names()
	if slices.Contains(names, externalsecrets.SeenFile) {
		raw, err := b.Read(externalsecrets.SeenFile)
		if err != nil {
			return err
		}
		changed, was, err := externalsecrets.Hold(raw, time.Duration(g.Secrets.Rotation))
		if err != nil {
			return err
		}
		lenient := ""
		if was > time.Duration(g.Secrets.Rotation) {
			lenient = fmt.Sprintf("a rotation interval of %s", was)
		}
		g.held(b, d, externalsecrets.SeenFile, changed, lenient, externalsecrets.New(externalsecrets.Options{}))
	}
	if slices.Contains(names, accesslog.SeenFile) {
		raw, err := b.Read(accesslog.SeenFile)
		if err != nil {
			return err
		}
		changed, was, err := accesslog.Hold(raw, g.Secrets.Readers, time.Duration(g.Secrets.MaxAge))
		if err != nil {
			return err
		}
		var lenient []string
		if n := len(slices.DeleteFunc(slices.Clone(was.Readers), func(r string) bool { return slices.Contains(g.Secrets.Readers, r) })); n > 0 {
			lenient = append(lenient, fmt.Sprintf("readers of secrets (%d)", n))
		}
		if was.MaxAge > g.Secrets.MaxAge {
			lenient = append(lenient, fmt.Sprintf("access logs of %s", time.Duration(was.MaxAge)))
		}
		c, err := accesslog.New(accesslog.Options{})
		if err != nil {
			return err
		}
		g.held(b, d, accesslog.SeenFile, changed, strings.Join(lenient, ", "), c)
	}
	return nil
}

// held derives the findings of one collector anew where its artifact changed, unless
// they are to be those of the evidence. lenient says what the evidence allowed more.
func (g *gateGiven) held(b *bundle.Bundle, d *decided, name string, changed []byte, lenient string, c collectors.Collector) {
	switch {
	case changed == nil:
		return
	case g.takes(EvidenceSecrets):
		if lenient != "" {
			d.taken = append(d.taken, lenient)
		}
		return
	case lenient != "":
		d.ignored = append(d.ignored, lenient)
	}
	found, runs := deriveOver(b, map[string][]byte{name: changed}, c)
	d.replace(func(rule string) bool { return strings.HasPrefix(rule, c.Name()+"/") }, found, runs)
}
