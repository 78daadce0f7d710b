package api

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// bearerMax bounds a token in bytes before it is hashed; ours are under 60.
const bearerMax = 512

// authenticate finds the token of a request, or answers 401, or 429 to a network that was wrong too often.
//
// Tokens are found by the SHA-256 of what was sent. How long a look-up by hash takes says nothing about a token: who wants to use
// it would have to choose inputs by their hash.
func (a *API) authenticate(w http.ResponseWriter, r *http.Request) (*control.APIToken, bool) {
	now := time.Now()
	bearer := bearerToken(r.Header)
	token, ok := a.control.Snapshot().APIToken(access.Hash(sha256.Sum256([]byte(bearer))))
	if ok && bearer != "" && (token.ExpiresAt.IsZero() || now.Before(token.ExpiresAt)) {
		a.control.Seen(token.ID, now)
		return token, true
	}
	if !a.failures.allow(remoteAddr(r), now) {
		f := fail(http.StatusTooManyRequests, codeThrottled, "too many failed authentications; wait a moment")
		f.retryAfter = int(failureEvery / time.Second)
		a.writeFailure(w, f)
		return nil, false
	}
	record := control.AuditRecord{Time: now, Action: "api.authenticate", Target: r.Method, Outcome: "unauthenticated", Remote: r.RemoteAddr}
	message := "no API token: send it as Authorization: Bearer"
	switch {
	case ok:
		record.Account, record.Actor, record.Reason = token.AccountID, token.ID, "expired"
		message = "the API token is not valid"
	case bearer != "":
		record.Reason = "unknown API token"
		message = "the API token is not valid"
	default:
		record.Reason = "no API token"
	}
	a.control.Audit(record)
	w.Header().Set("WWW-Authenticate", `Bearer realm="sluice"`)
	a.writeFailure(w, fail(http.StatusUnauthorized, codeAuthentication, message))
	return nil, false
}

// bearerToken returns the token of the Authorization header, or "" when there is none that could be one. Two of them could be read
// in two ways, by this server and by what stands before it, and count as none.
func bearerToken(header http.Header) string {
	values := header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || len(token) > bearerMax {
		return ""
	}
	return token
}

func (a *API) write(w http.ResponseWriter, status int, envelope v4.Envelope[any]) {
	if envelope.Errors == nil {
		envelope.Errors = []v4.Message{}
	}
	if envelope.Messages == nil {
		envelope.Messages = []v4.Message{}
	}
	data, err := json.Marshal(envelope)
	if err != nil {
		a.logger.Error("encode answer", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	// A client that has gone away is told nothing more.
	_, _ = w.Write(append(data, '\n'))
}
