// Package connector runs inside a private network: it dials out to relays and joins the streams that they open to origins.
//
//	relay ==session== slot --Accept--> ingress rule --dial--> origin
//	                   x4      stream <----- Pipe ----> socket
//
// A [Connector] keeps four slots, each with a session of its own. The relay sends the ingress; the connector dials only what it
// names. It listens on nothing but a loopback address for health and metrics.
package connector
