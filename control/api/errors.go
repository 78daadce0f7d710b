package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// The error codes. A code has one HTTP status, and is never given another meaning; API.md has the same table. Codes that
// Cloudflare's API has keep Cloudflare's number. 2000 to 2999 are those of failed test connections (control.TestFailure), with status 400.
const (
	codeThrottled      = 971   // 429: too many failed authentications (Cloudflare)
	codeInvalid        = 1001  // 400: a field is missing or wrong; one error for each fault
	codeNotFound       = 1002  // 404: nothing has this id
	codeExists         = 1003  // 409: the name or hostname is taken
	codeConflict       = 1004  // 409: changed by somebody else at the same time; read again and retry
	codeInUse          = 1005  // 409: something else uses it
	codeUnavailable    = 1006  // 503: the store does not answer; retry
	codeInternal       = 1007  // 500: the server's log says more
	codeTwoSecrets     = 1008  // 409: the token has two live secrets already
	codeLimit          = 1009  // 403: the account has as many as it may have
	codeMalformed      = 6007  // 400: the body is not JSON of this shape (Cloudflare)
	codeTooLarge       = 6008  // 413: the body is longer than 1 MiB
	codeQuery          = 6009  // 400: a query parameter is wrong
	codeNoRoute        = 7003  // 404: no such path (Cloudflare)
	codeForbidden      = 9109  // 403: the token is not for this account, or its scope does not reach so far (Cloudflare)
	codeCrossOrigin    = 9110  // 403: a browser sent it from a page of another origin
	codeAuthentication = 10000 // 401: no token, or none that is valid (Cloudflare)
	codeMethod         = 10405 // 405: the path has other methods; see Allow
)

// failure is a request's error with its place in the table. Every message is safe to show.
type failure struct {
	status int
	errors []v4.Message
	// retryAfter, in seconds, is sent as Retry-After when it is not 0.
	retryAfter int
}

func (f *failure) Error() string { return f.errors[0].Message }

func fail(status, code int, message string) *failure {
	return &failure{status: status, errors: []v4.Message{{Code: code, Message: message}}}
}

func invalid(field, message string) error {
	return &control.ValidationError{Faults: []control.Fault{{Field: field, Message: message}}}
}

// asFailure finds the place of an error in the table. It reports false for an error that has none, which is the server's fault:
// its text is for the log only.
func asFailure(err error, noun string) (*failure, bool) {
	var (
		known   *failure
		wrong   *control.ValidationError
		untried *control.TestFailure
		limit   *control.LimitError
	)
	switch {
	case errors.As(err, &known):
		return known, true
	case errors.As(err, &wrong):
		f := &failure{status: http.StatusBadRequest}
		for _, fault := range wrong.Faults {
			message := fault.Message
			if fault.Field != "" {
				message = fault.Field + ": " + message
			}
			f.errors = append(f.errors, v4.Message{Code: codeInvalid, Message: message})
		}
		if len(f.errors) > 0 {
			return f, true
		}
	case errors.As(err, &untried):
		return fail(http.StatusBadRequest, untried.Code, untried.Message), true
	case errors.As(err, &limit):
		return fail(http.StatusForbidden, codeLimit, limit.Text), true
	case errors.Is(err, control.ErrNotFound):
		return fail(http.StatusNotFound, codeNotFound, "no such "+noun), true
	case errors.Is(err, control.ErrExists):
		return fail(http.StatusConflict, codeExists, err.Error()), true
	case errors.Is(err, control.ErrInUse):
		return fail(http.StatusConflict, codeInUse, err.Error()), true
	case errors.Is(err, access.ErrTwoSecrets):
		return fail(http.StatusConflict, codeTwoSecrets, "two secrets are live already: wait until the previous one expires, or rotate without a grace"), true
	case errors.Is(err, control.ErrConflict):
		return fail(http.StatusConflict, codeConflict, "the "+noun+" was changed by somebody else at the same time; read it again and retry"), true
	case errors.Is(err, control.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return &failure{status: http.StatusServiceUnavailable, retryAfter: 1,
			errors: []v4.Message{{Code: codeUnavailable, Message: "the store does not answer; retry in a moment"}}}, true
	}
	return fail(http.StatusInternalServerError, codeInternal, "internal error; the server's log says more"), false
}

// inItem takes the place in a list, such as policies[2], off the fields of an error: the request was about that one item alone.
func inItem(err error, list string) error {
	var wrong *control.ValidationError
	if !errors.As(err, &wrong) {
		return err
	}
	trimmed := &control.ValidationError{}
	for _, fault := range wrong.Faults {
		if rest, ok := strings.CutPrefix(fault.Field, list+"["); ok {
			if _, field, ok := strings.Cut(rest, "]."); ok {
				fault.Field = field
			}
		}
		trimmed.Faults = append(trimmed.Faults, fault)
	}
	return trimmed
}

// renamed gives a field of an error the name that it has in the request.
func renamed(err error, field, name string) error {
	var wrong *control.ValidationError
	if errors.As(err, &wrong) {
		for i := range wrong.Faults {
			if wrong.Faults[i].Field == field {
				wrong.Faults[i].Field = name
			}
		}
	}
	return err
}
