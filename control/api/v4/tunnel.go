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
	// Hostnames is ours: how many hostnames are routed to the tunnel.
	Hostnames int `json:"hostnames"`
}

// TunnelCreate is the body of POST /cfd_tunnel.
type TunnelCreate struct {
	Name string `json:"name"`
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
}

// TunnelConfigurationUpdate is the body of PUT /cfd_tunnel/{id}/configurations.
type TunnelConfigurationUpdate struct {
	Config *TunnelIngress `json:"config"`
	// Version is ours: when set, the update is made only if the configuration still has this version, else answered 409. It
	// keeps two writers from losing one's change.
	Version *int64 `json:"version,omitempty"`
}
