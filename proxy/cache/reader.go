package cache

import (
	"errors"
	"slices"
)

// A Reader reads a flight from its start.
type Reader struct {
	f     *Flight
	chunk int // number of the next chunk
	off   int // in it
	any   bool
	lead  bool // it is told the flight's error in any case
	late  bool // the flight had ended before
}

// Flight is what r reads.
func (r *Reader) Flight() *Flight { return r.f }

// Late reports whether the flight had come to a good end before r joined it.
func (r *Reader) Late() bool { return r.late }

// ErrStopped is returned by Next when it was told not to wait any longer.
var ErrStopped = errors.New("stopped")

// Ready reports whether Next would not wait.
func (r *Reader) Ready() bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	i := r.chunk - r.f.first
	return r.f.ended || i < len(r.f.body) && (len(r.f.body[i]) > r.off || i+1 < len(r.f.body))
}

// Next returns what comes next, nil at the end. It waits for it until stop is closed
// (then the error is ErrStopped).
func (r *Reader) Next(stop <-chan struct{}) ([]byte, error) {
	f := r.f
	f.mu.Lock()
	for {
		if i := r.chunk - f.first; i < len(f.body) {
			if b := f.body[i][r.off:]; len(b) > 0 {
				r.any = true
				if r.off += len(b); r.off == cap(f.body[i]) {
					r.chunk, r.off = r.chunk+1, 0
				}
				wake(&f.drained)
				f.mu.Unlock()
				return b, nil
			}
			if i+1 < len(f.body) { // the chunk was not filled up
				r.chunk, r.off = r.chunk+1, 0
				continue
			}
		}
		if f.ended {
			err := f.err
			f.mu.Unlock()
			if err != nil && !r.any && !r.lead {
				err = ErrAlone
			}
			return nil, err
		}
		wait := waiting(&f.changed)
		f.mu.Unlock()
		select {
		case <-wait:
		case <-stop:
			return nil, ErrStopped
		}
		f.mu.Lock()
	}
}

// Leave ends reading. It must be called once, also after the end.
func (r *Reader) Leave() {
	f := r.f
	f.mu.Lock()
	if i := slices.Index(f.readers, r); i >= 0 {
		f.readers = slices.Delete(f.readers, i, i+1)
	}
	last := len(f.readers) == 0 && !f.ended
	left := f.left
	if last {
		f.left = nil
		f.deserted = left != nil // whoever asks from now on asks anew
	}
	wake(&f.drained)
	f.mu.Unlock()
	if last && left != nil {
		left()
	}
}
