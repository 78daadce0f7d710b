package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluicedb/sluice/integration/harness"
)

// tick is the unit of times in /proc/PID/stat (USER_HZ of asm-generic/param.h).
const tick = 10 * time.Millisecond

// processorTime is what processes, their children and those that these have waited for have used. One that has ended counts as
// nothing: its measurement fails anyway.
func processorTime(processes []*harness.Process) (sum time.Duration) {
	for _, p := range processes {
		sum += familyTime(p.PID())
	}
	return sum
}

func familyTime(pid int) (sum time.Duration) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// proc(5): after the name in brackets come state and on; utime, stime, cutime and cstime are fields 14 to 17
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	for _, field := range fields[11:min(15, len(fields))] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err == nil {
			sum += time.Duration(n) * tick
		}
	}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range files {
		b, _ := os.ReadFile(name)
		for field := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(field); err == nil {
				sum += familyTime(child)
			}
		}
	}
	return sum
}

// resident is a process's memory in bytes (statm of proc(5)), 0 when it has ended.
func resident(p *harness.Process) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID()))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
