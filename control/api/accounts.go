package api

import (
	"context"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func showAccount(account *control.Account) v4.Account {
	return v4.Account{ID: account.ID, Name: account.Name}
}

func (a *API) account(c *call) v4.Account {
	account := v4.Account{ID: c.account}
	if known, ok := c.snapshot.Account(c.account); ok {
		account.Name = known.Name
	}
	return account
}

func (a *API) listAccounts(_ context.Context, c *call) (any, error) {
	return paginate(c.URL.Query(), []v4.Account{a.account(c)}, func(account v4.Account) v4.Account { return account })
}

func (a *API) getAccount(_ context.Context, c *call) (any, error) { return a.account(c), nil }

func (a *API) listEveryAccount(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	accounts := named(query.Get("name"), c.snapshot.Accounts(), func(account *control.Account) string { return account.Name })
	return paginate(query, accounts, showAccount)
}

func (a *API) createAccount(ctx context.Context, c *call) (any, error) {
	var body v4.AccountCreate
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	c.target = body.Name
	account, secret, err := a.control.CreateAccount(ctx, body.Name)
	if err != nil {
		return nil, err
	}
	c.target = account.ID
	return v4.AccountCreated{ID: account.ID, Name: account.Name, Token: secret.Reveal()}, nil
}

func (a *API) deleteAccount(ctx context.Context, c *call) (any, error) {
	c.target = c.PathValue("id")
	if err := a.control.DeleteAccount(ctx, c.target); err != nil {
		return nil, err
	}
	return v4.Deleted{ID: c.target}, nil
}
