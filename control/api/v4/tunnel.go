package v4

import "time"

// Tunnel is what a connector serves: /cfd_tunnel.
type Tunnel struct {
	ID         string    `json:"id"`
	AccountTag string    `json:"account_tag"`
	Name       string    `json:"name"`
	CreatedAt  time.Time `json:"created_at"`
	// DeletedAt is always null: a deleted tunnel is gone.
	DeletedAt *time.Time `json:"deleted_at"`
	// TunType is always "cfd_tunnel", ConfigSrc always "cloudflare" and RemoteConfig always true: ingress lives here, not
	// beside the connector.
	TunType      string `json:"tun_type"`
	ConfigSrc    string `json:"config_src"`
	RemoteConfig bool   `json:"remote_config"`
	// Status is healthy while a connector is connected, down when none is any more, and inactive when none ever was.
	Status string `json:"status"`
	// Connections are the sessions of its connectors.
	Connections []TunnelConnection `json:"connections"`
	// ConnsActiveAt is since when the oldest of them is up; null when there is none.
	ConnsActiveAt *time.Time `json:"conns_active_at"`
	// ConnsInactiveAt is when, about, the last one ended; null while there is one.
	ConnsInactiveAt *time.Time `json:"conns_inactive_at"`
	// Hostnames is ours: how many hostnames are routed to the tunnel.
	Hostnames int `json:"hostnames"`
	// TokenVersion is ours: it grows by one with each rotation of the token, from 1.
	TokenVersion int `json:"token_version"`
}

// TunnelConnection is one session of a connector with a relay.
type TunnelConnection struct {
	ID   string `json:"id"`
	UUID string `json:"uuid"`
	// ClientID is the connector's: one for each process.
	ClientID      string `json:"client_id"`
	ClientVersion string `json:"client_version"`
	// ColoName is the relay's id.
	ColoName string `json:"colo_name"`
	// IsPendingReconnect is always false: a session that is lost is gone from the list.
	IsPendingReconnect bool      `json:"is_pending_reconnect"`
	OpenedAt           time.Time `json:"opened_at"`
	// OriginIP is the address that the connector comes from.
	OriginIP string `json:"origin_ip"`
	// Slot, Protocol (quic or websocket), Streams (that are open) and ConfigVersion (of the ingress in force) are ours.
	Slot          uint32 `json:"slot"`
	Protocol      string `json:"protocol"`
	Streams       int    `json:"streams"`
	ConfigVersion int64  `json:"config_version"`
}

// Connector is one connector process with its sessions: /cfd_tunnel/{id}/connections.
type Connector struct {
	ID string `json:"id"`
	// Arch is the machine's, such as linux_amd64; empty when the connector does not say.
	Arch string `json:"arch"`
	// ConfigVersion is the least that one of its sessions has in force.
	ConfigVersion int64              `json:"config_version"`
	Conns         []TunnelConnection `json:"conns"`
	Features      []string           `json:"features"`
	// RunAt is since when its oldest session is up.
	RunAt   time.Time `json:"run_at"`
	Version string    `json:"version"`
	// Labels is ours: what the connector was told to say of itself.
	Labels map[string]string `json:"labels,omitempty"`
}

// TunnelUpdate is the body of PATCH /cfd_tunnel/{id}; what is null stays as it is.
type TunnelUpdate struct {
	Name *string `json:"name,omitempty"`
	// TunnelSecret rotates the token: connectors that came with the old one are disconnected. It is the base64 of at least 32
	// random bytes. POST /cfd_tunnel/{id}/token makes one itself.
	TunnelSecret *string `json:"tunnel_secret,omitempty"`
}

// TunnelCreate is the body of POST /cfd_tunnel.
type TunnelCreate struct {
	Name string `json:"name"`
	// TunnelSecret is the base64 of at least 32 random bytes; the server makes one when it is absent.
	TunnelSecret string `json:"tunnel_secret,omitempty"`
	// ConfigSrc may be empty or "cloudflare".
	ConfigSrc string `json:"config_src,omitempty"`
}

// TunnelConfiguration is /cfd_tunnel/{id}/configurations.
type TunnelConfiguration struct {
	AccountID string        `json:"account_id,omitempty"`
	TunnelID  string        `json:"tunnel_id,omitempty"`
	Version   int64         `json:"version"`
	Config    TunnelIngress `json:"config"`
	Source    string        `json:"source,omitempty"`
}

// TunnelIngress is the part of a tunnel's configuration that a user writes.
type TunnelIngress struct {
	// Ingress ends with a rule without a hostname, http_status:404, as Cloudflare's does; it may be left out in a request.
	Ingress []IngressRule `json:"ingress"`
}

// IngressRule sends a hostname to a service.
type IngressRule struct {
	Hostname string `json:"hostname,omitempty"`
	// Service is tcp://host:port, unix:/path, or http_status:404 in the last rule.
	Service string `json:"service"`
	// Path is refused: databases have none.
	Path string `json:"path,omitempty"`
	// OriginRequest is how the connector connects to the service; absent for its defaults.
	OriginRequest *OriginRequest `json:"originRequest,omitempty"`
}

// OriginRequest is how a connector connects to a service. What Cloudflare's has beyond this is about HTTP, and is ignored.
type OriginRequest struct {
	// ConnectTimeout is how many seconds the service has to accept, at most 60; 10 when absent.
	ConnectTimeout int `json:"connectTimeout,omitempty"`
	// TCPKeepAlive is how many seconds are between keepalives, at most 7200; 30 when absent.
	TCPKeepAlive int `json:"tcpKeepAlive,omitempty"`
	// ProxyProtocol is ours: v2 sends a PROXY header first, which tells the service who connects.
	ProxyProtocol string `json:"proxyProtocol,omitempty"`
	// Access makes the connector check who admitted a stream.
	Access *OriginAccess `json:"access,omitempty"`
}

// OriginAccess makes a connector refuse streams that come without the relay's assertion that a policy has admitted them.
type OriginAccess struct {
	Required bool `json:"required"`
	// AudTag are the ids of the applications of which one must have admitted the stream.
	AudTag []string `json:"audTag,omitempty"`
}

// TunnelConfigurationUpdate is the body of PUT /cfd_tunnel/{id}/configurations.
type TunnelConfigurationUpdate struct {
	Config *TunnelIngress `json:"config"`
	// Version is ours: when set, the update is made only if the configuration still has this version, else answered 409. It
	// keeps two writers from losing one's change.
	Version *int64 `json:"version,omitempty"`
}
