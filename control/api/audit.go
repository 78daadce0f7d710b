package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sluicedb/sluice/access"
	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	// auditWait bounds how long an answer waits for its audit record: an election of the store's.
	auditWait = 10 * time.Second
	// changesMax bounds, in bytes, what a record says of changes: a quarter of what the store takes as one message.
	changesMax = 256 << 10
)

// audit records a change, or the attempt. The record is on disk when it returns: a change that was answered is in the log.
func (a *API) audit(c *call, action string, failed *failure, changes []control.Change) {
	record := control.AuditRecord{
		Time:      time.Now(),
		Account:   c.token.AccountID,
		Actor:     c.token.ID,
		ActorName: c.token.Name,
		Agent:     bounded(c.UserAgent()),
		Action:    action,
		Target:    bounded(c.target),
		Outcome:   "ok",
		Remote:    c.RemoteAddr,
		Changes:   a.showChanges(c, changes),
	}
	if failed != nil {
		record.Outcome, record.Reason = "error", bounded(failed.Error())
	}
	// A fresh context: what was changed is recorded though the client has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), auditWait)
	defer cancel()
	if err := a.control.AuditNow(ctx, record); err != nil {
		a.logger.Error("audit record is not yet written", "action", action, "err", err)
	}
}

// showChanges shows nouns as the API does, which is without secrets.
func (a *API) showChanges(c *call, changes []control.Change) []control.AuditChange {
	// What a noun refers to is shown as it is now.
	now := *c
	now.snapshot = a.control.Snapshot()
	var shown []control.AuditChange
	size := 0
	for _, change := range changes {
		one := control.AuditChange{Kind: change.Kind, ID: change.ID, Before: a.showNoun(&now, change.Before), After: a.showNoun(&now, change.After)}
		if len(one.Before)+len(one.After) > changesMax/4 {
			one.Before, one.After = differing(one.Before, one.After)
		}
		if size += len(one.Before) + len(one.After); size > changesMax {
			one.Before, one.After = nil, json.RawMessage(`"too large for the audit log"`)
		}
		shown = append(shown, one)
	}
	return shown
}

// auditedTunnel is a tunnel with its ingress, which is a resource of its own elsewhere.
type auditedTunnel struct {
	Name          string           `json:"name"`
	TokenVersion  int              `json:"token_version"`
	ConfigVersion int64            `json:"config_version"`
	Ingress       []v4.IngressRule `json:"ingress"`
	CreatedAt     time.Time        `json:"created_at"`
}

// auditedDatabase is a database with its credentials, which are resources of their own elsewhere.
type auditedDatabase struct {
	v4.Database
	Credentials []v4.Credential `json:"credentials"`
}

// showNoun is a noun as JSON; nil for none, and for a kind that the API does not show.
func (a *API) showNoun(c *call, noun any) json.RawMessage {
	var shown any
	switch noun := noun.(type) {
	case *control.Tunnel:
		shown = auditedTunnel{
			Name: noun.Name, TokenVersion: max(noun.SecretVersion, 1), ConfigVersion: noun.ConfigVersion,
			Ingress: showConfiguration(noun).Config.Ingress, CreatedAt: noun.CreatedAt,
		}
	case *access.ServiceToken:
		shown = a.showServiceToken(c)(noun)
	case *access.Application:
		shown = showApplication(c.snapshot, noun)
	case *access.ReusablePolicy:
		shown = showReusable(noun)
	case *control.Database:
		database := auditedDatabase{Database: showDatabase(noun)}
		for _, credential := range noun.Credentials {
			database.Credentials = append(database.Credentials, a.showCredential(noun)(credential))
		}
		shown = database
	case *control.Certificate:
		shown = showCertificate(noun)
	case *control.APIToken:
		shown = a.showAPIToken(c)(noun)
	case *control.Account:
		shown = v4.Account{ID: noun.ID, Name: noun.Name}
	default:
		return nil
	}
	data, err := json.Marshal(shown)
	if err != nil {
		a.logger.Error("audit record lacks a change", "err", err)
		return nil
	}
	return data
}

// differing keeps of two objects the fields that differ.
func differing(before, after json.RawMessage) (json.RawMessage, json.RawMessage) {
	var old, now map[string]json.RawMessage
	if json.Unmarshal(before, &old) != nil || json.Unmarshal(after, &now) != nil {
		return before, after
	}
	for name, value := range old {
		if other, ok := now[name]; ok && bytes.Equal(value, other) {
			delete(old, name)
			delete(now, name)
		}
	}
	// Maps of valid JSON always marshal.
	before, _ = json.Marshal(old)
	after, _ = json.Marshal(now)
	return before, after
}

// listAudit reads records, newest first. A cursor reads on where an answer ended; pages reach as deep as one reading.
func (a *API) listAudit(ctx context.Context, c *call) (any, error) {
	query := c.URL.Query()
	p, err := decodePage(query)
	if err != nil {
		return nil, err
	}
	if p.number > control.MaxAuditRecords/p.size {
		return nil, fail(http.StatusBadRequest, codeQuery,
			fmt.Sprintf("page: reaches no deeper than %d records; read on with cursor, which result_info has", control.MaxAuditRecords))
	}
	filter := control.AuditFilter{
		Account: c.account, Actor: query.Get("actor"), Action: query.Get("action"), Target: query.Get("target"),
		Outcome: query.Get("outcome"), Limit: p.number * p.size,
	}
	switch filter.Outcome {
	case "", "ok", "error", "allowed", "denied", "unauthenticated":
	default:
		return nil, fail(http.StatusBadRequest, codeQuery, "outcome: must be ok, error, allowed, denied or unauthenticated")
	}
	if filter.Since, err = queryTime(query, "since"); err != nil {
		return nil, err
	}
	if filter.Before, err = queryTime(query, "before"); err != nil {
		return nil, err
	}
	if filter.BeforeSequence, err = querySequence(query, "cursor"); err != nil {
		return nil, err
	}
	if filter.AfterSequence, err = querySequence(query, "after"); err != nil {
		return nil, err
	}
	records, next, err := a.control.AuditRecords(ctx, filter)
	if err != nil {
		return nil, err
	}
	info := v4.ResultInfo{Page: p.number, PerPage: p.size, TotalCount: len(records), TotalPages: max(1, (len(records)+p.size-1)/p.size)}
	if next != 0 {
		info.Cursor = strconv.FormatUint(next, 10)
		info.TotalPages++ // that are known of
	}
	shown := []v4.AuditRecord{}
	for i := min((p.number-1)*p.size, len(records)); i < len(records); i++ {
		shown = append(shown, showAudit(&records[i]))
	}
	info.Count = len(shown)
	return listing{items: shown, info: info}, nil
}

func showAudit(r *control.AuditRecord) v4.AuditRecord {
	shown := v4.AuditRecord{
		ID: strconv.FormatUint(r.Sequence, 10), When: r.Time, Actor: r.Actor, ActorName: r.ActorName, Action: r.Action, Target: r.Target,
		Outcome: r.Outcome, Reason: r.Reason, PolicyID: r.Policy, Remote: r.Remote, UserAgent: r.Agent,
	}
	for _, change := range r.Changes {
		one := v4.AuditChange{Kind: change.Kind, ID: change.ID}
		// Not a nil RawMessage, which is a value that says null.
		if change.Before != nil {
			one.Before = change.Before
		}
		if change.After != nil {
			one.After = change.After
		}
		shown.Changes = append(shown.Changes, one)
	}
	return shown
}

func queryTime(query url.Values, name string) (time.Time, error) {
	text := query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fail(http.StatusBadRequest, codeQuery, name+": must be a time such as 2006-01-02T15:04:05Z")
	}
	return t, nil
}

func querySequence(query url.Values, name string) (uint64, error) {
	text := query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, fail(http.StatusBadRequest, codeQuery, name+": must be the id of a record, or what result_info.cursor said")
	}
	return n, nil
}
