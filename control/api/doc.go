// Package api serves the control API over HTTPS, in the shapes of Cloudflare's v4 API.
//
// A request is authenticated by its bearer token, bounded, decoded, handed to one method of control.Control, audited when it
// changes anything, and answered in the envelope of package v4. API.md lists the routes and the error codes.
//
//	client --TLS--> authenticate -> decode -> control.Control -> audit -> envelope
package api
