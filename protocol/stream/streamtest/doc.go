// Package streamtest is the conformance suite of stream.Conn: each adapter's own test calls Run with a way to make a pair.
//
// The subtests carry the numbers of the tunnel's acceptance list that they prove.
package streamtest
