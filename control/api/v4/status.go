package v4

import "time"

// Status says what is up, what is not and what to do: ours, /status.
type Status struct {
	// Problems are what does not work or soon will not, the worst first.
	Problems []Problem `json:"problems"`
	// Relays and Proxies are the whole installation's.
	Relays  []RelayStatus `json:"relays"`
	Proxies []ProxyStatus `json:"proxies"`
	// Tunnels and Databases are 200 at most, those with problems first; the totals say how many there are.
	Tunnels        []TunnelStatus   `json:"tunnels"`
	TunnelsTotal   int              `json:"tunnels_total"`
	Databases      []DatabaseStatus `json:"databases"`
	DatabasesTotal int              `json:"databases_total"`
	// Expiring are certificates and tokens that have expired or will within 30 days, the earliest first.
	Expiring []Expiry `json:"expiring"`
}

// Problem is a thing that does not work, or soon will not.
type Problem struct {
	// Kind is store, relay, proxy, tunnel, connector, database, certificate, service_token, api_token or keys.
	Kind string `json:"kind"`
	// Name is the thing's, and ID its id, where it has them.
	Name string `json:"name,omitempty"`
	ID   string `json:"id,omitempty"`
	// Problem says what is wrong, and Mend what to do.
	Problem string `json:"problem"`
	Mend    string `json:"mend"`
}

// RelayStatus is a relay that is up.
type RelayStatus struct {
	ID        string    `json:"id"`
	Version   string    `json:"version"`
	Addresses []string  `json:"addresses"`
	Since     time.Time `json:"since"`
	// Draining says that it takes nothing new, because it is about to stop.
	Draining bool `json:"draining"`
	Sessions int  `json:"sessions"`
	Streams  int  `json:"streams"`
}

// ProxyStatus is a proxy that is up.
type ProxyStatus struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

// TunnelStatus is a tunnel with its connectors.
type TunnelStatus struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// State is up, down (no connector) or unused (no connector, and no hostname that needs one).
	State string `json:"state"`
	// ConfigVersion is the ingress's; a connector that has an older one is behind.
	ConfigVersion int64       `json:"config_version"`
	Hostnames     int         `json:"hostnames"`
	Connectors    []Connector `json:"connectors"`
}

// DatabaseStatus is a database with its pools, over all proxies.
type DatabaseStatus struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// State is up (connections are open), idle (nobody has used it lately), waiting (clients wait for a connection) or failing.
	State string `json:"state"`
	// Origin is where it is: host:port, or a tunnel's hostname.
	Origin string `json:"origin"`
	// Open, Idle and Max count origin connections, Waiting the clients in line for one.
	Open    int `json:"open"`
	Idle    int `json:"idle"`
	Max     int `json:"max"`
	Waiting int `json:"waiting"`
	// Code and Failure say why the last attempt to connect failed; the codes are those of a test.
	Code    int    `json:"code,omitempty"`
	Failure string `json:"failure,omitempty"`
}

// Expiry is a certificate or token that ends.
type Expiry struct {
	// Kind is ca (Sluice's own), certificate, service_token or api_token.
	Kind      string    `json:"kind"`
	Name      string    `json:"name"`
	ID        string    `json:"id,omitempty"`
	ExpiresOn time.Time `json:"expires_on"`
	// Used says that a database needs it.
	Used bool `json:"used"`
}
