package api

import (
	"context"
	"net"
	"slices"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func showConnection(c control.Connection) v4.TunnelConnection {
	ip, _, err := net.SplitHostPort(c.Remote)
	if err != nil {
		ip = c.Remote
	}
	return v4.TunnelConnection{
		ID: c.ID, UUID: c.ID, ClientID: c.Connector, ClientVersion: c.Version, ColoName: c.Relay, OpenedAt: c.Since, OriginIP: ip,
		Slot: c.Slot, Protocol: c.Protocol, Streams: c.Streams, ConfigVersion: c.ConfigVersion,
	}
}

// connectors groups a tunnel's connections by the process that has them.
func connectors(connections []control.Connection) []v4.Connector {
	all := []v4.Connector{}
	for _, c := range connections {
		i := slices.IndexFunc(all, func(known v4.Connector) bool { return known.ID == c.Connector })
		if i < 0 {
			i = len(all)
			all = append(all, v4.Connector{
				ID: c.Connector, Arch: c.Labels["arch"], ConfigVersion: c.ConfigVersion, Features: c.Features, RunAt: c.Since,
				Version: c.Version, Labels: c.Labels,
			})
			if c.Features == nil {
				all[i].Features = []string{}
			}
		}
		one := &all[i]
		one.Conns = append(one.Conns, showConnection(c))
		one.ConfigVersion = min(one.ConfigVersion, c.ConfigVersion)
		if c.Since.Before(one.RunAt) {
			one.RunAt = c.Since
		}
	}
	return all
}

func (a *API) listConnections(_ context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	return paginate(c.URL.Query(), connectors(a.control.Presence().Connections(tunnel.ID)), func(c v4.Connector) v4.Connector { return c })
}

func (a *API) getConnector(_ context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	for _, connector := range connectors(a.control.Presence().Connections(tunnel.ID)) {
		if connector.ID == c.PathValue("connector") {
			return connector, nil
		}
	}
	return nil, control.ErrNotFound
}

// cleanUpConnections ends the sessions of a tunnel's connectors, or of one of them. Those that run register again.
func (a *API) cleanUpConnections(ctx context.Context, c *call) (any, error) {
	tunnel, err := a.tunnel(c)
	if err != nil {
		return nil, err
	}
	connector := c.URL.Query().Get("client_id")
	if len(connector) > textMax {
		return nil, invalid("client_id", "is no connector's")
	}
	return nil, a.control.Disconnect(ctx, tunnel.ID, connector)
}
