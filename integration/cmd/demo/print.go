package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// printer writes for people.
type printer struct {
	out   io.Writer
	color bool
}

// newPrinter writes in colour to a terminal, unless NO_COLOR is set.
func newPrinter(f *os.File) printer {
	return printer{out: f, color: os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))}
}

// The few colours of the demo: SGR codes of ECMA-48 8.3.117.
const (
	bold  = "1"
	faint = "2"
	green = "32"
	red   = "31"
)

func (p printer) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// title starts a part.
func (p printer) title(format string, args ...any) {
	fmt.Fprintf(p.out, "\n%s\n", p.paint(bold, fmt.Sprintf(format, args...)))
}

// say writes a line of a part.
func (p printer) say(format string, args ...any) {
	fmt.Fprintf(p.out, "  %s\n", fmt.Sprintf(format, args...))
}

// command shows a command as a person types it.
func (p printer) command(format string, args ...any) {
	fmt.Fprintf(p.out, "  %s %s\n", p.paint(faint, "$"), fmt.Sprintf(format, args...))
}

// output shows what a command printed, one tab deeper.
func (p printer) output(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Fprintf(p.out, "    %s\n", p.paint(faint, strings.TrimRight(line, "\n")))
	}
}

// good and bad end a check.
func (p printer) good(format string, args ...any) {
	fmt.Fprintf(p.out, "  %s %s\n", p.paint(green, "✓"), fmt.Sprintf(format, args...))
}

func (p printer) bad(format string, args ...any) {
	fmt.Fprintf(p.out, "  %s %s\n", p.paint(red, "✗"), fmt.Sprintf(format, args...))
}
