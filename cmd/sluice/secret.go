package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// secretMax bounds a secret in bytes: far above any password, far below what a mistaken file could hold.
const secretMax = 64 << 10

// secret is a value that is read from a file, the environment, or a terminal without echo; and from argv, which every user of the
// machine sees, only where alsoInArgv lets it.
type secret struct {
	// flag is the name without the -file that the flag has; variable the environment's. title says what is asked for.
	flag, variable, title string
	file                  string
	value                 string // of argv, or of a connection string
}

// newSecret adds the flag --NAME-file, with SLUICE_NAME_FILE, to a command.
func newSecret(cmd *cobra.Command, flag, variable, title string) *secret {
	s := &secret{flag: flag, variable: variable, title: title}
	name := flag + "-file"
	cmd.Flags().StringVar(&s.file, name, "", fmt.Sprintf("file with the %s, - for standard input; else %s, else asked for on a terminal", title, variable))
	withEnv(cmd.Flags(), name, variable+"_FILE")
	return s
}

// alsoInArgv adds the flag --NAME, for those who have it from wrangler.
func (s *secret) alsoInArgv(cmd *cobra.Command) *secret {
	cmd.Flags().StringVar(&s.value, s.flag, "", fmt.Sprintf("%s; every user of this machine sees it here: better --%s-file", s.title, s.flag))
	cmd.MarkFlagsMutuallyExclusive(s.flag, s.flag+"-file")
	return s
}

// given reports whether a flag has the secret.
func (s *secret) given() bool { return s.file != "" || s.value != "" }

// read returns the secret from wherever it is, asking for it on a terminal when it is nowhere else.
func (s *secret) read(a *app) (string, error) {
	value, err := s.find(a)
	if err != nil {
		return "", err
	}
	if value == "" {
		return "", fmt.Errorf("the %s is empty", s.title)
	}
	return value, nil
}

func (s *secret) find(a *app) (string, error) {
	if s.file != "" {
		return readSecretFile(a.in, s.file, s.title)
	}
	if s.value != "" {
		return s.value, nil
	}
	if value := a.getenv(s.variable); value != "" {
		return value, nil
	}
	if a.readPassword == nil {
		return "", usagef("the %s is missing: set %s, or pass --%s-file FILE (- for standard input)", s.title, s.variable, s.flag)
	}
	fmt.Fprintf(a.err, "%s: ", s.title)
	value, err := a.readPassword()
	fmt.Fprintln(a.err)
	if err != nil {
		return "", fmt.Errorf("read the %s: %w", s.title, err)
	}
	return string(value), nil
}

// readSecretFile reads a file, or standard input for "-", without its last newline.
func readSecretFile(stdin io.Reader, name, title string) (string, error) {
	source := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", title, err)
		}
		defer f.Close()
		source = f
	}
	data, err := io.ReadAll(io.LimitReader(source, secretMax+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", title, err)
	}
	if len(data) > secretMax {
		return "", fmt.Errorf("%s: more than %d bytes", title, secretMax)
	}
	data = bytes.TrimSuffix(data, []byte("\n"))
	data = bytes.TrimSuffix(data, []byte("\r"))
	if bytes.ContainsAny(data, "\x00\n") {
		return "", errors.New(title + ": not one line of text")
	}
	return string(data), nil
}
