package tunnel

import (
	"net/netip"
	"sync"
)

// neighbours is the part of an IPv6 address that tells peers apart: who has one address of such a subnet has all of it (RFC 4291
// section 2.5.1).
const neighbours = 64 // bits

// Places are those of peers that have not said who they are. An address may take one while it has fewer than are free: one that floods
// gets half of them, and whoever comes anew finds one unless as many addresses flood as there are places. Make them with NewPlaces;
// the methods may be called concurrently.
type Places struct {
	mu   sync.Mutex
	free int
	held map[netip.Addr]int // by address, or subnet of IPv6; no zeros
}

// NewPlaces returns n free places.
func NewPlaces(n int) *Places { return &Places{free: n, held: make(map[netip.Addr]int)} }

// owner is what a peer's places are counted by. All peers without an address have one in common.
func owner(peer netip.Addr) netip.Addr {
	peer = peer.Unmap()
	if peer.Is6() {
		subnet, _ := peer.Prefix(neighbours) // it fails on other lengths
		return subnet.Addr()
	}
	return peer
}

// Room reports whether there is a place for peer.
func (p *Places) Room(peer netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held[owner(peer)] < p.free
}

// Take takes a place for peer, and reports whether there was one. It is given back with Give.
func (p *Places) Take(peer netip.Addr) bool {
	o := owner(peer)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[o] >= p.free {
		return false
	}
	p.free--
	p.held[o]++
	return true
}

// Give gives back a place that was taken for peer.
func (p *Places) Give(peer netip.Addr) {
	o := owner(peer)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	if p.held[o]--; p.held[o] == 0 {
		delete(p.held, o)
	}
}
