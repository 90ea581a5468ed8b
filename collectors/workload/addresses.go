package workload

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	netutils "k8s.io/utils/net"
)

// span is the numbers from from up to, and without, to.
type span struct{ from, to uint64 }

type spans []span

// merged returns the union, sorted.
func (s spans) merged() spans {
	slices.SortFunc(s, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out spans
	for _, x := range s {
		if n := len(out); n > 0 && x.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, x.to)
		} else if x.from < x.to {
			out = append(out, x)
		}
	}
	return out
}

// without takes others, which need not be merged, out of one span.
func (x span) without(others spans) spans {
	var out spans
	at := x.from
	for _, o := range others.merged() {
		if o.from > at {
			out = append(out, span{at, min(o.from, x.to)})
		}
		at = max(at, o.to)
		if at >= x.to {
			return out
		}
	}
	return append(out, span{at, x.to})
}

// has reports whether a merged list holds n.
func (s spans) has(n uint64) bool {
	i, exact := slices.BinarySearchFunc(s, n, func(x span, n uint64) int { return cmp.Compare(x.from, n) })
	return exact || i > 0 && n < s[i-1].to
}

func (s spans) size() uint64 {
	var n uint64
	for _, x := range s.merged() {
		n += x.to - x.from
	}
	return n
}

// addresses are those that a rule lets through. IPv6 counts by the upper 64 bits
// of the addresses that are routed (2000::/3): the rest is hardly used, and a rule
// that opens all that is used is not saved by it.
type addresses struct {
	all       bool // every peer, pods included
	pods      bool // every pod of the cluster, or all but those of named namespaces
	four, six spans
}

const (
	allFour = uint64(1) << 32
	sixFrom = uint64(0x2000) << 48
	allSix  = uint64(1) << 61
)

func (a *addresses) add(b addresses) {
	a.all, a.pods = a.all || b.all, a.pods || b.pods
	a.four, a.six = append(a.four, b.four...), append(a.six, b.six...)
}

func (a *addresses) none() bool { return !a.all && !a.pods && len(a.four)+len(a.six) == 0 }

// everyone reports whether it is at least half of all addresses of a family.
func (a *addresses) everyone() bool {
	return a.all || 2*a.four.size() >= allFour || 2*a.six.size() >= allSix
}

// everyPod reports whether a peer selects the pods of every namespace, or of all but
// some that it names: an empty selector, the label that every namespace has, and
// what only excludes.
func everyPod(peer networkingv1.NetworkPolicyPeer) bool {
	return peer.NamespaceSelector != nil && selectsNearlyAll(*peer.NamespaceSelector) && (peer.PodSelector == nil || selectsNearlyAll(*peer.PodSelector))
}

func selectsNearlyAll(s metav1.LabelSelector) bool {
	if len(s.MatchLabels) > 0 {
		return false
	}
	for _, x := range s.MatchExpressions {
		switch {
		case x.Operator == metav1.LabelSelectorOpNotIn, x.Operator == metav1.LabelSelectorOpDoesNotExist:
		case x.Operator == metav1.LabelSelectorOpExists && x.Key == corev1.LabelMetadataName:
		default:
			return false
		}
	}
	return true
}

// addressesOf is the addresses that peers let through; pods and namespaces that
// they select are no addresses. A peer that says nothing is invalid or means all.
// The error says that a block is none.
func addressesOf(peers []networkingv1.NetworkPolicyPeer) (addresses, error) {
	a := addresses{all: len(peers) == 0}
	for _, peer := range peers {
		b := peer.IPBlock
		if b == nil {
			a.all = a.all || peer.PodSelector == nil && peer.NamespaceSelector == nil
			a.pods = a.pods || everyPod(peer)
			continue
		}
		x, four, err := block(b.CIDR)
		if err != nil {
			return a, err
		}
		var except spans
		for _, e := range b.Except {
			out, sameFamily, err := block(e)
			if err != nil {
				return a, err
			}
			if sameFamily == four {
				except = append(except, out)
			}
		}
		if four {
			a.four = append(a.four, x.without(except)...)
		} else {
			a.six = append(a.six, x.without(except)...)
		}
	}
	return a, nil
}

// block reads a CIDR as the API server does, which takes leading zeros ("/00").
func block(cidr string) (x span, four bool, err error) {
	_, n, err := netutils.ParseCIDRSloppy(cidr)
	if err != nil {
		return span{}, false, fmt.Errorf("%q is no block of addresses", cidr)
	}
	ones, bits := n.Mask.Size()
	ip := n.IP.To4()
	if ip != nil && bits == 128 { // ::ffff:0:0/96, IPv4 in the form of IPv6
		ones -= 96
	}
	if ip != nil && ones >= 0 {
		from := uint64(binary.BigEndian.Uint32(ip))
		return span{from, from + allFour>>ones}, true, nil
	}
	return six(n.IP.To16(), ones), false, nil
}

// six is the part of a block that is routed, by its upper 64 bits. What is smaller
// than that is nothing, as a block and as an exception.
func six(ip net.IP, ones int) span {
	if ones > 64 {
		return span{}
	}
	from := binary.BigEndian.Uint64(ip[:8])
	last := from | ^uint64(0)>>ones
	if ones == 64 {
		last = from
	}
	from, last = max(from, sixFrom), min(last, sixFrom+allSix-1)
	if from > last {
		return span{}
	}
	return span{from, last + 1}
}
