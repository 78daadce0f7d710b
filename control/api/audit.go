package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// auditMax is the most records that one request reads (control.AuditFilter, Limit).
const auditMax = 1000

// listAudit reads the newest records that match, newest first. Its pages cut those auditMax: what is older is reached with before.
func (a *API) listAudit(ctx context.Context, c *call) (any, error) {
	query := c.URL.Query()
	if _, err := decodePage(query); err != nil {
		return nil, err
	}
	filter := control.AuditFilter{
		Account: c.account, Actor: query.Get("actor"), Action: query.Get("action"), Target: query.Get("target"),
		Outcome: query.Get("outcome"), Limit: auditMax,
	}
	var err error
	if filter.Since, err = queryTime(query, "since"); err != nil {
		return nil, err
	}
	if filter.Before, err = queryTime(query, "before"); err != nil {
		return nil, err
	}
	records, err := a.control.AuditRecords(ctx, filter)
	if err != nil {
		return nil, err
	}
	return paginate(query, records, func(r control.AuditRecord) v4.AuditRecord {
		return v4.AuditRecord{When: r.Time, Actor: r.Actor, Action: r.Action, Target: r.Target, Outcome: r.Outcome,
			Reason: r.Reason, PolicyID: r.Policy, Remote: r.Remote}
	})
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
