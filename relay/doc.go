// Package relay is where sessions meet: it joins the streams of clients to those of connectors, for whom an access policy admits.
//
//	client session ----Open--\                       /--Open--> connector session (slot 0)
//	generic WebSocket --------> decide -> route -> pick -------> connector session (slot 1)
//	proxy, in process ---Open-/   |         |                \-> ...
//	                            access   tunnel that the
//	                            policy   hostname belongs to
//
// Every open is decided by package access on the current snapshot of the state, and every decision is an audit record. When the
// state changes, live streams that it no longer admits are reset, and sessions of deleted tunnels are closed.
package relay
