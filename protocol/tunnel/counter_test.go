package tunnel

import (
	"strconv"
	"sync/atomic"
)

// counter makes names.
type counter struct{ n atomic.Int64 }

func (c *counter) next() string { return strconv.FormatInt(c.n.Add(1), 10) }
