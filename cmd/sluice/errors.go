package main

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/sluicedb/sluice/control/api/apiclient"
)

// describe returns an error's text and, where the error is one that people meet, what to do about it.
func describe(err error) string {
	var (
		api       *apiclient.Error
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		dns       *net.DNSError
		request   *url.Error
	)
	text := err.Error()
	switch {
	case errors.As(err, &api) && api.Status == http.StatusUnauthorized:
		return text + "\nThe server does not accept the API token; run 'sluice login' with one that it does."
	case errors.As(err, &authority):
		return text + "\nThe server's certificate is not from a CA that this machine trusts; pass --ca-file with the server's ca.pem (in its data directory), or set SLUICE_CA_FILE."
	case errors.As(err, &hostname):
		return text + "\nStart the server with --public-host for the name that you reach it by."
	case errors.As(err, &request) && errors.Is(err, syscall.ECONNREFUSED):
		return text + "\nNo API answers there; is 'sluice server' running, and is --api-url (SLUICE_API_URL) right?"
	case errors.As(err, &request) && errors.As(err, &dns):
		return text + "\nThe name of the server is not known here; is --api-url (SLUICE_API_URL) right?"
	}
	return text
}
