package chaos

import (
	"fmt"
	"strings"
	"time"

	"github.com/companyos/helmproof/internal/drill"
)

// What to do about each likely reason.
const (
	fixWeak        = "Probe a Service of the release at its cluster address or by its name, and hold the drill to a service level: --objective and --window, or a --budget-share of a long window."
	fixForecast    = "Do what the forecast names: a budget that lets a pod go, room on the other nodes, a spread that can be kept; helmproof forecast shows it without a drill."
	fixRestore     = "Run `helmproof drill restore`, and see that no node is left cordoned (kubectl uncordon)."
	fixBlocked     = "Let the PodDisruptionBudget allow a disruption: maxUnavailable of at least 1, or minAvailable below the replicas, and one budget for each pod."
	fixSingle      = "Run at least two replicas, on different nodes: with one, each disruption is an outage."
	fixAllAway     = "Keep replicas apart (topology spread over nodes and zones) and let a PodDisruptionBudget keep some of them: all of them were away at once."
	fixTermination = "End gracefully: a preStop hook that waits until no new connections come (some seconds), a server that finishes what it has on SIGTERM, and a grace period that is longer than both."
	fixReadiness   = "Let the readiness probe say yes only once the pod serves: it was Ready, and requests failed. Probe the port and path that clients use."
	fixUnspecific  = "Raise the replicas, correct the probes and the shutdown, and repeat the drill."
	fixSchedule    = "Leave room for the replacement: free resources on other nodes, and node selectors, affinities and tolerations that more than one node meets."
	fixPull        = "Have the image on the nodes beforehand (a smaller image, a registry near by, pre-pulling): pulling it took most of the time."
	fixCrash       = "See why the new pods do not stay up: their logs and events."
	fixRecovery    = "Make pods ready faster: a startup probe that fits, less work at the start, resources that suffice."
)

const (
	// near is how long after an event requests that fail are put down to it.
	near = 10 * time.Second
	// ending is how long after a pod began to go connections to it are still tried.
	ending = 3 * time.Second
	// lag is how much later than it happened an event may have been seen.
	lag = 300 * time.Millisecond
	// slowPull is from when on pulling an image is worth a word.
	slowPull = 10 * time.Second
)

// likely says, for requests that failed, what the likely reason is and what to do. It
// goes by what happened last before each of them; a pod that became Ready just after
// another went does not hide that one.
func (j *judge) likely() (why, fix string) {
	var gone, fresh []time.Duration // when pods began to go; when new ones became Ready
	fault, _ := j.f.Phase(drill.MarkFault)
	ready := map[string]bool{}
	for i := range j.rec.Events {
		e := &j.rec.Events[i]
		p := e.Pod
		if p == nil || !j.ours(p.UID) {
			continue
		}
		was, known := ready[p.UID]
		now := p.Healthy()
		ready[p.UID] = now
		switch {
		case e.At < fault.From:
		case known && was && !now:
			gone = append(gone, e.At)
		case now && !was:
			fresh = append(fresh, e.At)
		}
	}
	var none, ended, early, either, other int
	for i := range j.rec.Plan.Probes {
		for _, at := range j.rec.Failures(i) {
			g, f := last(gone, at), last(fresh, at)
			switch {
			case j.readyAt(at) == 0:
				none++
			case g < 0 && f < 0:
				other++
			case f <= g:
				ended++
			case g >= 0 && at-g <= ending:
				either++
			default:
				early++
			}
		}
	}
	if early > ended {
		early += either
	} else if ended > 0 {
		ended += either
	}
	single := false
	for _, l := range j.loads {
		single = single || l.want < 2
	}
	const lost, lied = "connections are lost when a pod ends", "new pods were Ready before they served"
	switch most := max(none, ended, early, either, other); {
	case most == 0:
		return "", fixUnspecific
	case single && most != other:
		return "; likely since it has a single replica", fixSingle
	case most == none:
		return fmt.Sprintf("; likely since no endpoint was ready (%d requests)", none), fixAllAway
	case most == ended:
		return fmt.Sprintf("; likely since %s (%d requests)", lost, ended), fixTermination
	case most == early:
		return fmt.Sprintf("; likely since %s (%d requests)", lied, early), fixReadiness
	case most == either:
		return fmt.Sprintf("; likely since %s, or since %s (%d requests)", lost, lied, either), fixTermination + " " + fixReadiness
	}
	return "", fixUnspecific
}

// ours reports whether a pod is one of the workloads'.
func (j *judge) ours(uid string) bool {
	for _, l := range j.loads {
		if l.name == j.owners[uid] {
			return true
		}
	}
	return false
}

// last is the last of these times before a moment that is near it; -1: none.
func last(times []time.Duration, at time.Duration) time.Duration {
	out := time.Duration(-1)
	for _, t := range times {
		if t-lag <= at && at-t <= near {
			out = max(out, t)
		}
	}
	return out
}

// readyAt is how many endpoints were ready at a moment; -1: not known.
func (j *judge) readyAt(at time.Duration) int {
	n := -1
	for _, p := range j.f.Ready {
		if p.At > at {
			break
		}
		n = p.Ready
	}
	return n
}

// waiting says which new pods did not become ready, and why.
func (j *judge) waiting() string {
	var out []string
	for _, p := range j.f.Pods {
		if p.Ready == nil && p.Reason != "deleted" {
			text := p.Name
			if p.Reason != "" {
				text += " (" + p.Reason + ")"
			}
			out = append(out, text)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return ": not ready are " + some(out)
}

// stuck is what to do about pods that do not become ready, or late; fix where nothing
// says more.
func (j *judge) stuck(fix string) string {
	for _, p := range j.f.Pods {
		has := func(reasons ...string) bool {
			for _, r := range reasons {
				if strings.Contains(p.Reason, r) {
					return true
				}
			}
			return false
		}
		switch {
		case p.Ready != nil && p.Pulled != nil && p.Scheduled != nil && *p.Pulled-*p.Scheduled > slowPull && 2*(*p.Pulled-*p.Scheduled) > *p.Ready:
			return fixPull
		case p.Ready != nil:
		case has("Unschedulable"):
			return fixSchedule
		case has("ImagePull", "ErrImage"):
			return fixPull
		case has("CrashLoop", "Error", "OOMKilled"):
			return fixCrash
		}
	}
	return fix
}

// slowest says what the slowest new pod took.
func (j *judge) slowest() string {
	var slow *drill.PodFigures
	for i := range j.f.Pods {
		if p := &j.f.Pods[i]; p.Ready != nil && (slow == nil || *p.Ready > *slow.Ready) {
			slow = p
		}
	}
	if slow == nil {
		return ""
	}
	text := fmt.Sprintf("; the slowest new pod was ready after %s", short(*slow.Ready))
	if slow.Pulled != nil && slow.Scheduled != nil && *slow.Pulled-*slow.Scheduled > slowPull {
		text += fmt.Sprintf(", %s of it for images and start", short(*slow.Pulled-*slow.Scheduled))
	}
	return text
}
