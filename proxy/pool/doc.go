// Package pool keeps the origin connections of one database and lends them out.
//
//	Get ── idle? ──> newest idle connection (LIFO)
//	     └─ else ──> wait in line (FIFO) <── Put hands its connection to the head
//	                         └── a dial in the background, two at a time, also serves the head
//
// It knows no protocol: a connection is anything that can say whether it is
// still good and that can be closed.
package pool
