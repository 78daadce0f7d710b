package harness

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// Soak is for how long a test of random clients runs, and the seed of their choices: what
// the environment variable length and SLUICE_SEED say, a minute and another seed each time
// where they say nothing.
func Soak(length string) (d time.Duration, seed uint64, err error) {
	d, seed = time.Minute, uint64(time.Now().UnixNano())
	if s := os.Getenv(length); s != "" {
		if d, err = time.ParseDuration(s); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", length, err)
		}
	}
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			return 0, 0, fmt.Errorf("SLUICE_SEED: %w", err)
		}
	}
	return d, seed, nil
}
