package integration

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/integration/harness"
)

// readme runs the README's commands on a machine as it describes: default ports, and a
// PostgreSQL at the address of its text. The machine is a network namespace.
type readme struct {
	stage *harness.Stage
	ns    *harness.Namespace
	env   []string          // what a person types at prompts
	words map[string]string // the text's placeholders
	all   strings.Builder   // what the commands printed
}

// TestREADME runs every command of the README's five minutes, in their order and from its text.
func TestREADME(t *testing.T) {
	t.Parallel()
	root, err := harness.ModuleRoot(t.Context())
	must(t, err)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	must(t, err)
	blocks := shellBlocks(section(string(text), "## Five minutes by hand"))
	if len(blocks) < 8 {
		t.Fatalf("%d blocks of commands in the README's five minutes", len(blocks))
	}
	ctx := within(t)
	r := newReadme(ctx, t)
	for _, block := range blocks {
		r.run(ctx, t, block)
		if t.Failed() {
			return
		}
	}
	for _, want := range []string{"PostgreSQL 1", "allowed", "db.internal.example"} {
		if !strings.Contains(r.all.String(), want) {
			t.Errorf("the commands printed no %q:\n%s", want, r.all.String())
		}
	}
}

// TestREADMELinks: the files that the documents lead to are there.
func TestREADMELinks(t *testing.T) {
	root, err := harness.ModuleRoot(t.Context())
	must(t, err)
	for _, document := range []string{"README.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, document))
		must(t, err)
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, link[1])); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
}

func section(text, heading string) string {
	_, rest, _ := strings.Cut(text, "\n"+heading+"\n")
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

// shellBlocks returns the contents of the text's ```sh fences.
func shellBlocks(text string) []string {
	var blocks []string
	for {
		_, rest, ok := strings.Cut(text, "\n```sh\n")
		if !ok {
			return blocks
		}
		block, after, _ := strings.Cut(rest, "\n```")
		blocks = append(blocks, block)
		text = after
	}
}

func newReadme(ctx context.Context, t *testing.T) *readme {
	t.Helper()
	stage := newStage(t)
	ns, err := stage.NewNamespace()
	must(t, err)
	origin := netip.MustParseAddr("10.0.0.5")
	must(t, ns.AddAddress(origin))
	pg, err := stage.StartPostgres(ctx, harness.PostgresConfig{Addr: origin.String(), Namespace: ns})
	must(t, err)
	must(t, os.Link(pg.CAFile, stage.Path("origin-ca.pem")))
	return &readme{stage: stage, ns: ns, words: map[string]string{},
		env: []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "SLUICE_ORIGIN_PASSWORD=" + pg.Password,
			"SLUICE_GRACE_PERIOD=1s"}} // the test ends sooner than a person would
}

// ownTerminal is how the README marks a command that stays in the foreground.
const ownTerminal = "# in a terminal of its own\n"

func (r *readme) run(ctx context.Context, t *testing.T, block string) {
	t.Helper()
	for placeholder, value := range r.words {
		block = strings.ReplaceAll(block, placeholder, value)
	}
	if command, ok := strings.CutPrefix(block, ownTerminal); ok {
		must(t, r.background(ctx, command))
		return
	}
	out, err := r.stage.Output(ctx, harness.Command{Name: block, Path: "bash", Args: []string{"-euo", "pipefail", "-c", block}, Env: r.env, Namespace: r.ns}, "")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.all.WriteString(out)
	r.learn(out)
}

// Where each component of the README says that it is ready.
var readyURLs = map[string]string{"sluice": "http://127.0.0.1:9090", "sluice-connector": "http://127.0.0.1:20241"}

// background starts a command that stays, and waits until it is ready.
func (r *readme) background(ctx context.Context, command string) error {
	name := strings.Fields(command)[0]
	stdout := r.stage.Path(name + ".out")
	p, err := r.stage.Start(harness.Command{Name: name, Path: "bash", Args: []string{"-c", "exec " + command}, Env: r.env, Namespace: r.ns, Stdout: stdout})
	if err != nil {
		return err
	}
	if err := p.WaitFor(ctx, "readiness", r.ns.Ready(readyURLs[name])); err != nil {
		return err
	}
	out, err := os.ReadFile(stdout)
	r.learn(string(out))
	return err
}

// What a person copies from the commands' output: to a prompt, or in the place of a word.
var (
	apiToken     = regexp.MustCompile(`slat_\w+`)
	clientID     = regexp.MustCompile(`[0-9a-f]{32}\.access`)
	clientSecret = regexp.MustCompile(`slst_\w+`)
	connection   = regexp.MustCompile(`postgres(?:ql)?://([^:@\s]+):([^@\s]+)@`)
)

func (r *readme) learn(out string) {
	prompt := func(name, value string) {
		if value != "" {
			r.stage.Secret(name, value)
			r.env = append(r.env, fmt.Sprintf("%s=%s", name, value))
		}
	}
	prompt("SLUICE_API_TOKEN", apiToken.FindString(out))
	prompt("SLUICE_ACCESS_CLIENT_SECRET", clientSecret.FindString(out))
	if id := clientID.FindString(out); id != "" {
		r.words["CLIENT_ID"] = id
	}
	if match := connection.FindStringSubmatch(out); match != nil {
		r.words["CREDENTIAL"] = match[1]
		prompt("PGPASSWORD", match[2])
	}
}
