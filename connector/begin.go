package connector

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/sluicedb/sluice/protocol/stream"
)

const (
	// firstPatience is how long the answer to an open waits for what the origin says to the early data, to travel with it: a packet
	// and the wakes of two processes less. A database beside the connector has answered a start-up packet by then; who waits for one
	// that is further away waits for its first bytes, which this does not delay.
	firstPatience = 2 * time.Millisecond
	// firstBytes bounds what travels with the answer: a database's first message is shorter.
	firstBytes = 512
)

// begin writes header, if there is one, and early, what travelled with the open, and returns what the origin has said to that by then.
// An origin that has broken the connection is an error: where it is read again it would look like a clean end.
func begin(origin stream.Conn, header, early []byte) (first []byte, err error) {
	if err := writeEarly(origin, append(header, early...)); err != nil {
		return nil, err
	}
	if len(early) == 0 {
		return nil, nil // the origin may be waiting for the driver
	}
	if err := origin.SetReadDeadline(time.Now().Add(firstPatience)); err != nil {
		return nil, err
	}
	first = make([]byte, firstBytes)
	n, err := origin.Read(first)
	if err != nil && err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	return first[:n], origin.SetReadDeadline(time.Time{})
}

// writeEarly writes what travelled with the open. A fresh socket takes 4 KiB at once, so the deadline is never met in good times.
func writeEarly(origin stream.Conn, early []byte) error {
	if len(early) == 0 {
		return nil
	}
	if err := origin.SetWriteDeadline(time.Now().Add(connectTimeout)); err != nil {
		return err
	}
	if _, err := origin.Write(early); err != nil {
		return err
	}
	return origin.SetWriteDeadline(time.Time{})
}
