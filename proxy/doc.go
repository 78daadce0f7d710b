// Package proxy is what drivers connect to. It turns the databases of the
// state into pools with a dialect in front, and opens origin connections through
// a function that it is given: to the relay in the same process, to a remote
// one, or straight to the origin.
//
//	driver ──> proxy/postgres ──> proxy/pool ──> Dial ──> relay or origin
//	                 ^
//	       snapshot of the state, watched
package proxy
