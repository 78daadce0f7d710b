package harness

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// natsServer is the program of a NATS server, of the release that go.mod pins as a tool.
const natsServer = "github.com/nats-io/nats-server/v2"

// StartNATS builds a NATS server into bin and starts it with JetStream on, every write synced.
// It returns the URL for --store.
func (s *Stage) StartNATS(ctx context.Context, bin string) (string, *Process, error) {
	if err := Build(ctx, bin, false, natsServer); err != nil {
		return "", nil, err
	}
	port, err := FreePort("127.0.0.1")
	if err != nil {
		return "", nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p, err := s.Start(Command{Name: "nats-server", Path: bin + "/nats-server",
		Args: []string{"-a", "127.0.0.1", "-p", strconv.Itoa(port), "-js", "-sd", s.Path("nats")}})
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
