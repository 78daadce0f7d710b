package api

import (
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// resetDatabase gives a database the defaults of everything that a request may set.
func resetDatabase(d *control.Database) {
	d.Name = ""
	d.Origin = control.Origin{Scheme: "postgres"}
	d.MTLS = control.MTLS{SSLMode: control.SSLRequire}
	d.Caching = control.Caching{MaxAge: control.DefaultMaxAge, StaleWhileRevalidate: control.DefaultStaleWhileRevalidate}
	d.OriginConnectionLimit = control.DefaultOriginConnections
	d.Pooling = control.Pooling{}
}

// applyDatabase changes what a request names. What the values must be like is control's to say; here are only the faults that
// cannot be seen in the outcome.
func applyDatabase(d *control.Database, body v4.DatabaseWrite) error {
	set(&d.Name, body.Name)
	set(&d.OriginConnectionLimit, body.OriginConnectionLimit)
	wrong := &control.ValidationError{}
	if body.Origin != nil {
		wrong.Faults = append(wrong.Faults, applyOrigin(&d.Origin, body.Origin)...)
	}
	if body.MTLS != nil {
		set(&d.MTLS.SSLMode, body.MTLS.SSLMode)
		set(&d.MTLS.ServerName, body.MTLS.ServerName)
		wrong.Faults = append(wrong.Faults, applyCertificates(&d.MTLS, body.MTLS)...)
	}
	if body.Caching != nil {
		set(&d.Caching.Disabled, body.Caching.Disabled)
		set(&d.Caching.MaxAge, body.Caching.MaxAge)
		set(&d.Caching.StaleWhileRevalidate, body.Caching.StaleWhileRevalidate)
		if off := body.Caching.Disabled; off != nil && *off && (body.Caching.MaxAge != nil || body.Caching.StaleWhileRevalidate != nil) {
			wrong.Faults = append(wrong.Faults, control.Fault{Field: "caching.disabled", Message: "excludes max_age and stale_while_revalidate"})
		}
	}
	if body.Pooling != nil {
		applyPooling(&d.Pooling, body.Pooling)
	}
	if len(wrong.Faults) > 0 {
		return wrong
	}
	return nil
}

func applyPooling(p *control.Pooling, body *v4.PoolingWrite) {
	set(&p.MinConnections, body.MinConnections)
	set(&p.ConnectTimeout, body.ConnectTimeout)
	set(&p.WaitTimeout, body.WaitTimeout)
	set(&p.IdleTimeout, body.IdleTimeout)
	set(&p.MaxLifetime, body.MaxLifetime)
	set(&p.QueryTimeout, body.QueryTimeout)
	set(&p.IdleTransactionTimeout, body.IdleTransactionTimeout)
	set(&p.ForwardApplicationName, body.ForwardApplicationName)
	set(&p.SessionState, body.SessionState)
}

// applyOrigin changes an origin. A port makes it a direct one and an access client one behind a tunnel: what belonged to the other
// way is dropped, unless the request itself has both.
func applyOrigin(origin *control.Origin, body *v4.OriginWrite) []control.Fault {
	var faults []control.Fault
	set(&origin.Scheme, body.Scheme)
	set(&origin.Host, body.Host)
	set(&origin.Database, body.Database)
	set(&origin.User, body.User)
	set(&origin.Insecure, body.Insecure)
	if body.Password != nil {
		origin.Password = control.Plaintext(control.Secret(*body.Password))
	}
	direct := body.Port != nil && *body.Port != 0
	private := body.AccessClientID != nil && *body.AccessClientID != ""
	switch {
	case direct && private:
		faults = append(faults, control.Fault{Field: "origin.port", Message: "excludes access_client_id: the tunnel's ingress has the port"})
	case direct:
		origin.AccessClientID, origin.AccessClientSecret = "", control.Sealed{}
	case private:
		origin.Port = 0
	}
	set(&origin.Port, body.Port)
	if body.AccessClientID != nil {
		if *body.AccessClientID != origin.AccessClientID {
			// Another client's secret would be sent under this client's name.
			origin.AccessClientSecret = control.Sealed{}
		}
		origin.AccessClientID = *body.AccessClientID
	}
	if body.AccessClientSecret != nil && *body.AccessClientSecret != "" {
		origin.AccessClientSecret = control.Plaintext(control.Secret(*body.AccessClientSecret))
	}
	return faults
}

// applyCertificates changes the certificates of an origin. A CA in the request takes the place of one under an id, and the other
// way round.
func applyCertificates(mtls *control.MTLS, body *v4.MTLSWrite) []control.Fault {
	var faults []control.Fault
	inline := body.CACertificate != nil && *body.CACertificate != ""
	named := body.CACertificateID != nil && *body.CACertificateID != ""
	switch {
	case inline && named:
		faults = append(faults, control.Fault{Field: "mtls.ca_certificate_id", Message: "excludes ca_certificate"})
	case inline:
		mtls.CACertificateID = ""
	case named:
		mtls.CACertificate = ""
	}
	set(&mtls.CACertificate, body.CACertificate)
	set(&mtls.CACertificateID, body.CACertificateID)
	set(&mtls.ClientCertificateID, body.MTLSCertificateID)
	return faults
}

// set changes *to where the request has a value.
func set[T any](to *T, value *T) {
	if value != nil {
		*to = *value
	}
}
