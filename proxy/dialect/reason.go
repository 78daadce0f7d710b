package dialect

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// ErrTestQuery is what a dialect's Test returns where the login worked and the
// query did not.
var ErrTestQuery = errors.New("test query failed")

// Errors of a login to an origin that have words of their own.
var (
	// ErrPlaintext is of an origin that has no TLS where it is to have it.
	ErrPlaintext = errors.New("origin does not support TLS")
	// ErrCleartext is of an origin that asks for the password in the clear.
	ErrCleartext = errors.New("origin asks for the password in the clear")
)

// Reason names the kind of a failed dial, in one safe word.
func Reason(err error) string {
	var r interface{ Reason() string }
	var cert *tls.CertificateVerificationError
	var ne net.Error
	switch {
	case errors.As(err, &r):
		return r.Reason()
	case errors.As(err, &cert):
		return "certificate_verify_failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, ErrPlaintext):
		return "tls_not_supported"
	case errors.Is(err, ErrCleartext):
		return "cleartext_password_refused"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "connection_timeout"
	}
	return "connection_failed"
}

// Passing reports whether a dial failed on its way to the origin, so that another
// may fare better soon: the way was lost, or whoever keeps it is being replaced.
// An answer of the origin's own is for the caller to tell apart.
func Passing(err error) bool {
	switch Reason(err) {
	case "connection_failed", "draining", "no_connector", "limited":
		return true
	}
	return false
}

// Mends are what to do about a reason, where that is known.
var Mends = map[string]string{
	"connection_refused":         "Nothing listens at the origin's host and port, or a firewall rejects the connection.",
	"connection_timeout":         "Check the origin's host, port and firewall.",
	"tls_not_supported":          "Turn TLS on at the origin.",
	"address_not_admitted":       "Put the origin behind a tunnel, or start the proxy with --direct-origins any.",
	"certificate_verify_failed":  "Give the database the CA certificate that the origin's certificate leads to, or the name that it is made out to.",
	"cleartext_password_refused": "The origin asks for the password in the clear, which is for verified TLS only: give the database the CA certificate, or use SCRAM at the origin.",
	"plaintext_refused":          "The database has no TLS, and its hostname does not lead to a unix socket or a loopback address beside a connector: turn TLS on, or route it to one.",
	"unauthenticated":            "The database's access client ID and secret are not those of a valid service token.",
	"denied":                     "No policy of the hostname's application admits the database's service token.",
	"no_tunnel":                  "Route the hostname to a tunnel.",
	"no_connector":               "Start sluice-connector with the tunnel's token.",
	"unknown_host":               "The connector has no rule for the hostname yet.",
	"origin_refused":             "Nothing listens at the address that the hostname is routed to.",
	"origin_timeout":             "The origin did not answer the connector: check the address that the hostname is routed to.",
	"origin_unreachable":         "The connector cannot reach the address that the hostname is routed to.",
	"draining":                   "The relay is stopping: try again.",
}
