package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// NATSServer is the package of a NATS server's program, for Build: the release that go.mod pins.
const NATSServer = "github.com/nats-io/nats-server/v2"

// StartNATS starts the NATS server that was built into bin, with JetStream on and every write
// synced. It returns the URL for --store.
func (s *Stage) StartNATS(ctx context.Context, bin string) (string, *Process, error) {
	port, err := FreePort("127.0.0.1")
	if err != nil {
		return "", nil, err
	}
	return s.StartNATSAt(ctx, bin, nil, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// StartNATSAt is StartNATS at an address, inside the namespace if there is one.
func (s *Stage) StartNATSAt(ctx context.Context, bin string, ns *Namespace, addr string) (string, *Process, error) {
	config := s.Path("nats-server.conf")
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: always }\n", addr, s.Path("nats"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	p, err := s.Start(Command{Name: "nats-server", Path: bin + "/nats-server", Args: []string{"-c", config}, Namespace: ns})
	if err != nil {
		return "", nil, err
	}
	err = p.WaitFor(ctx, "readiness", func(context.Context) error {
		if !strings.Contains(p.Log(), "Server is ready") {
			return fmt.Errorf("not ready")
		}
		return nil
	})
	return "nats://" + addr, p, err
}
