package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// HAProxyConfig says what an HAProxy passes on, byte by byte.
type HAProxyConfig struct {
	Name           string
	Listen, Target string // host:port
	Threads        int    // 0 are as many as there are cores
	MaxConns       int    // 0 are as many as the limit of open files allows
}

// StartHAProxy starts an HAProxy in TCP mode.
func (s *Stage) StartHAProxy(ctx context.Context, config HAProxyConfig) (*Process, error) {
	limits := ""
	if config.Threads > 0 {
		limits += fmt.Sprintf("  nbthread %d\n", config.Threads)
	}
	if config.MaxConns > 0 {
		limits += fmt.Sprintf("  maxconn %d\n", config.MaxConns)
	}
	file := s.Path(config.Name + ".cfg")
	if err := os.WriteFile(file, fmt.Appendf(nil, `global
%sdefaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen bench
  bind %s
  server target %s
`, limits, config.Listen, config.Target), 0o600); err != nil {
		return nil, err
	}
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path = "/usr/sbin/haproxy" // Debian's place, which is not in everybody's PATH
	}
	p, err := s.Start(Command{Name: config.Name, Path: path, Args: []string{"-db", "-f", file}})
	if err != nil {
		return nil, err
	}
	return p, p.WaitFor(ctx, "its port", Listening(config.Listen))
}
