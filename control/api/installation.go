package api

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func showRotation(r control.Rotation) v4.KeyRotation {
	shown := v4.KeyRotation{
		KeyID: fmt.Sprintf("%08x", r.KeyID), State: "none", Resealed: r.Resealed, Failure: r.Failure,
		StartedOn: timeOrNull(r.StartedAt), FinishedOn: timeOrNull(r.FinishedAt),
	}
	switch {
	case r.Failure != "":
		shown.State = "stopped"
	case !r.FinishedAt.IsZero():
		shown.State = "finished"
	case !r.StartedAt.IsZero():
		shown.State = "sealing"
	}
	return shown
}

func (a *API) getKeys(_ context.Context, _ *call) (any, error) {
	return showRotation(a.control.Rotation()), nil
}

func (a *API) rotateKeys(ctx context.Context, c *call) (any, error) {
	rotation, err := a.control.RotateKeys(ctx)
	c.target = fmt.Sprintf("%08x", rotation.KeyID)
	if err != nil {
		return nil, err
	}
	return showRotation(rotation), nil
}

// backup makes the whole file before it sends any of it: it is about as large as the state, which is in memory anyway, and an error
// is an answer like any other.
func (a *API) backup(ctx context.Context, c *call) (any, error) {
	var file bytes.Buffer
	info, err := a.control.Backup(ctx, &file)
	if err != nil {
		return nil, err
	}
	c.target = info.Installation
	return download(file.Bytes()), nil
}

func (a *API) getSigningKeys(_ context.Context, _ *call) (any, error) {
	issuer, keys := a.control.SigningKeys()
	shown := v4.SigningKeys{Issuer: issuer, Keys: []v4.SigningKey{}}
	state := "former"
	for _, k := range keys {
		if k.Signs {
			state = "signing"
		}
		shown.Keys = append(shown.Keys, v4.SigningKey{
			ID: k.ID, PublicKey: k.Public, State: state, SignsFrom: timeOrNull(k.From), AcceptedUntil: timeOrNull(k.Until),
		})
		if k.Signs {
			state = "next"
		}
	}
	return shown, nil
}

func (a *API) rotateSigningKey(ctx context.Context, c *call) (any, error) {
	if err := a.control.RotateSigningKey(ctx); err != nil {
		return nil, err
	}
	_, keys := a.control.SigningKeys()
	c.target = keys[len(keys)-1].ID
	return a.getSigningKeys(ctx, c)
}
