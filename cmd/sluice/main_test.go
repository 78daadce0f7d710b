package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func TestMain(m *testing.M) {
	if os.Getenv("SLUICE_TEST_STUBBORN") != "" {
		stubborn()
	}
	testscript.Main(m, map[string]func(){
		"sluice": func() { os.Exit(run(os.Args[1:])) },
	})
}

// stubborn is a process that is told to stop and never has.
func stubborn() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM)
	go obey(signals, cancel)
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("draining")
	select {}
}

// walk calls visit with every command of the tree.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, child := range cmd.Commands() {
		walk(child, visit)
	}
}

// TestEveryCommandHasHelp: what it does, how it is used, and an example that begins with its own path.
func TestEveryCommandHasHelp(t *testing.T) {
	a := &app{out: &strings.Builder{}, err: &strings.Builder{}, getenv: func(string) string { return "" }}
	count := 0
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		count++
		path := cmd.CommandPath()
		if cmd.Short == "" {
			t.Errorf("%s: no short help", path)
		}
		if cmd.RunE == nil {
			t.Errorf("%s: does nothing", path)
		}
		if !strings.Contains(cmd.Example, path) {
			t.Errorf("%s: no example of it: %q", path, cmd.Example)
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: example is not indented by two: %q", path, line)
			}
		}
	})
	if count < 30 {
		t.Errorf("only %d commands", count)
	}
}

// TestExamplesParse: every documented command line has flags and arguments that its command takes.
func TestExamplesParse(t *testing.T) {
	walk((&app{getenv: func(string) string { return "" }}).rootCommand(), func(documented *cobra.Command) {
		text := strings.ReplaceAll(documented.Example, "\\\n", " ")
		for line := range strings.Lines(text) {
			args := commandLine(line)
			if args == nil {
				continue
			}
			root := (&app{getenv: func(string) string { return "" }}).rootCommand()
			cmd, rest, err := root.Find(args)
			if err != nil {
				t.Errorf("%s: %q: %v", documented.CommandPath(), line, err)
				continue
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: %q: %v", documented.CommandPath(), line, err)
				continue
			}
			if cmd.Args != nil {
				if err := cmd.Args(cmd, cmd.Flags().Args()); err != nil {
					t.Errorf("%s: %q: %v", documented.CommandPath(), line, err)
				}
			}
		}
	})
}

// commandLine splits an example's line into the arguments of sluice, or nil when it is another program's.
func commandLine(line string) []string {
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, " > ")
	line, _, _ = strings.Cut(line, " < ")
	line, _, _ = strings.Cut(line, " | ")
	line = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "source <("), ")")
	var args []string
	quoted := false
	word := strings.Builder{}
	for _, r := range line + " " {
		switch {
		case r == '\'':
			quoted = !quoted
		case r == ' ' && !quoted:
			if word.Len() > 0 {
				args = append(args, word.String())
			}
			word.Reset()
		default:
			word.WriteRune(r)
		}
	}
	if len(args) == 0 || args[0] != "sluice" {
		return nil
	}
	return args[1:]
}

// TestSecretsHaveNoFlag: a flag whose value is a secret would put it into argv, for every user of the machine to see. Only making
// and changing a database have those that wrangler has, each beside one for a file.
func TestSecretsHaveNoFlag(t *testing.T) {
	a := &app{getenv: func(string) string { return "" }}
	walk(a.rootCommand(), func(cmd *cobra.Command) {
		if path := cmd.CommandPath(); path == "sluice database create" || path == "sluice database update" {
			for _, name := range []string{"connection-string", "origin-password", "access-client-secret"} {
				if cmd.Flags().Lookup(name) == nil || cmd.Flags().Lookup(name+"-file") == nil {
					t.Errorf("%s has no --%s or no --%s-file", path, name, name)
				}
			}
			return
		}
		for _, name := range []string{"origin-password", "access-client-secret", "api-token", "password", "secret", "token"} {
			if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
				t.Errorf("%s has --%s", cmd.CommandPath(), name)
			}
		}
	})
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"version"}, exitOK},
		{[]string{"--help"}, exitOK},
		{[]string{"tunnel"}, exitOK},
		{[]string{"bogus"}, exitUsage},
		{[]string{"tunnel", "bogus"}, exitUsage},
		{[]string{"tunnel", "create"}, exitUsage},
		{[]string{"tunnel", "create", "a", "b"}, exitUsage},
		{[]string{"tunnel", "list", "--bogus"}, exitUsage},
		{[]string{"help", "tunnel", "bogus"}, exitUsage},
		{[]string{"completion", "tcsh"}, exitUsage},
		{[]string{"tunnel", "list"}, exitError}, // no token
	} {
		var out, errs strings.Builder
		a := &app{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(string) string { return "" }}
		if got := a.execute(context.Background(), tt.args); got != tt.want {
			t.Errorf("sluice %s: exit code %d, want %d; %s", strings.Join(tt.args, " "), got, tt.want, errs.String())
		}
	}
}

// TestCompletion: a flag that has a few values offers them, wherever there is one.
func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"database", "create", "app", "--sslmode"}, "require verify-ca verify-full no-verify"},
		{[]string{"database", "update", "app", "--origin-scheme"}, "postgres postgresql mysql"},
		{[]string{"access", "policy", "create", "--decision"}, "non_identity allow block bypass"},
		{[]string{"audit", "tail", "--outcome"}, "ok error allowed denied unauthenticated"},
		{[]string{"token", "create", "ci", "--scope"}, "read edit admin"},
		{[]string{"server", "--direct-origins"}, "public any none"},
		{[]string{"proxy", "--log-format"}, "text json"},
		{[]string{"database", "get"}, ""}, // there is no server to ask
	} {
		var out strings.Builder
		a := &app{in: strings.NewReader(""), out: &out, err: &strings.Builder{}, getenv: func(string) string { return "" }}
		code := a.execute(t.Context(), append(append([]string{"__complete"}, tt.args...), ""))
		got, _, found := strings.Cut(out.String(), ":")
		if got = strings.Join(strings.Fields(got), " "); code != exitOK || got != tt.want || !found {
			t.Errorf("%v: exit code %d, got %q, want %q", tt.args, code, got, tt.want)
		}
	}
}

func TestRefusalsNameTheHostname(t *testing.T) {
	rules := []v4.IngressRule{{Hostname: "a.example", Service: "tcp://a:1"}, {Hostname: "b.example", Service: "http://b"}}
	for in, want := range map[string]string{
		"ingress[1].service: must be tcp://host:port": `service: must be tcp://host:port ("http://b" for b.example)`,
		"ingress[0].hostname: is taken":               `hostname: is taken ("a.example")`,
		"ingress[0]: hostname a.example: exists":      "hostname a.example: exists",
		"ingress[2].service: must be":                 "ingress[2].service: must be",
		"name: is required":                           "name: is required",
	} {
		refused := &apiclient.Error{Status: 400, Errors: []v4.Message{{Code: 1001, Message: in}}}
		if got := ofRule(refused, rules).Error(); got != want+" (code 1001)" {
			t.Errorf("%s: got %s", in, got)
		}
	}
}
