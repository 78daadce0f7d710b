package apiclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// Accounts lists every account of the installation, oldest first; with a name, those of that name.
func (c *Client) Accounts(ctx context.Context, name string) ([]v4.Account, error) {
	return pages[v4.Account](ctx, c, "/installation/accounts", nameQuery(name))
}

// CreateAccount makes an account; the answer has its first API token, this once.
func (c *Client) CreateAccount(ctx context.Context, body v4.AccountCreate) (v4.AccountCreated, error) {
	var made v4.AccountCreated
	_, err := c.Do(ctx, http.MethodPost, "/installation/accounts", body, &made)
	return made, err
}

// DeleteAccount deletes an account that has nothing but API tokens.
func (c *Client) DeleteAccount(ctx context.Context, id string) error {
	_, err := c.Do(ctx, http.MethodDelete, "/installation/accounts/"+url.PathEscape(id), nil, nil)
	return err
}

// Keys says which key seals secrets, and how far a rotation is.
func (c *Client) Keys(ctx context.Context) (v4.KeyRotation, error) {
	var keys v4.KeyRotation
	err := c.Get(ctx, "/installation/keys", &keys)
	return keys, err
}

// RotateKeys begins to seal everything with a new key, or goes on with it.
func (c *Client) RotateKeys(ctx context.Context) (v4.KeyRotation, error) {
	var keys v4.KeyRotation
	_, err := c.Do(ctx, http.MethodPost, "/installation/keys/rotate", nil, &keys)
	return keys, err
}

// SigningKeys says which keys sign assertions.
func (c *Client) SigningKeys(ctx context.Context) (v4.SigningKeys, error) {
	var keys v4.SigningKeys
	err := c.Get(ctx, "/installation/signing_keys", &keys)
	return keys, err
}

// RotateSigningKey has another key sign assertions in a minute.
func (c *Client) RotateSigningKey(ctx context.Context) (v4.SigningKeys, error) {
	var keys v4.SigningKeys
	_, err := c.Do(ctx, http.MethodPost, "/installation/signing_keys/rotate", nil, &keys)
	return keys, err
}

// Backup writes the installation's backup to w. What w got is whole when it returns nil.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	resp, err := c.request(ctx, http.MethodGet, "/client/v4/installation/backup", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if _, err := io.Copy(w, resp.Body); err != nil {
			return fmt.Errorf("read backup: %w", err)
		}
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, responseMax))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	var envelope v4.Envelope[json.RawMessage]
	if err := json.Unmarshal(data, &envelope); err != nil || len(envelope.Errors) == 0 {
		return fmt.Errorf("HTTP %d: is this address a Sluice server's API?", resp.StatusCode)
	}
	return &Error{Status: resp.StatusCode, Errors: envelope.Errors}
}
