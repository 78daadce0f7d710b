// Package apiclient is a client of the control API: the command line's, and any Go program's.
//
// It knows the shapes of control/api/v4 and nothing else of ours, so that using it pulls in neither the store nor the server.
package apiclient
