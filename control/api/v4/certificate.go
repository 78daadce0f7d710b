package v4

import "time"

// Certificate is an uploaded certificate: /mtls_certificates. Private keys are never in an answer.
type Certificate struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// CA says that origins are verified against it; else the proxy shows it to them.
	CA bool `json:"ca"`
	// Certificates are in PEM, a client's own first.
	Certificates string `json:"certificates"`
	// Issuer, SerialNumber and Signature are the first certificate's.
	Issuer       string    `json:"issuer"`
	SerialNumber string    `json:"serial_number"`
	Signature    string    `json:"signature"`
	Type         string    `json:"type"` // custom
	ExpiresOn    time.Time `json:"expires_on"`
	UploadedOn   time.Time `json:"uploaded_on"`
	UpdatedAt    time.Time `json:"updated_at"`
}

// CertificateCreate is the body of POST /mtls_certificates.
type CertificateCreate struct {
	Name         string `json:"name,omitempty"`
	CA           bool   `json:"ca"`
	Certificates string `json:"certificates"`
	// PrivateKey, in PEM, is the first certificate's; it is required where CA is false, and only there.
	PrivateKey string `json:"private_key,omitempty"`
}
