package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sluicedb/sluice/control/api/apiclient"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

// find returns what a person names: the one thing of that name, else the thing with that id.
func find[T any](noun, list, name string, byName func() ([]T, error), byID func() (T, error)) (T, error) {
	var none T
	if name == "" {
		return none, usagef("the name of the %s is empty", noun)
	}
	found, err := byName()
	switch {
	case err != nil:
		return none, err
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return none, fmt.Errorf("%d %ss are called %q: use the id, which 'sluice %s list' shows", len(found), noun, name, list)
	}
	item, err := byID()
	var refused *apiclient.Error
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return none, fmt.Errorf("no %s has the name or id %q; 'sluice %s list' shows those that there are", noun, name, list)
	}
	return item, err
}

func findTunnel(ctx context.Context, c *apiclient.Client, name string) (v4.Tunnel, error) {
	return find("tunnel", "tunnel", name,
		func() ([]v4.Tunnel, error) { return c.Tunnels(ctx, name) },
		func() (v4.Tunnel, error) { return c.Tunnel(ctx, name) })
}

func findServiceToken(ctx context.Context, c *apiclient.Client, name string) (v4.ServiceToken, error) {
	return find("service token", "access token", name,
		func() ([]v4.ServiceToken, error) { return c.ServiceTokens(ctx, name) },
		func() (v4.ServiceToken, error) { return c.ServiceToken(ctx, name) })
}

func findDatabase(ctx context.Context, c *apiclient.Client, name string) (v4.Database, error) {
	return find("database", "database", name,
		func() ([]v4.Database, error) { return c.Databases(ctx, name) },
		func() (v4.Database, error) { return c.Database(ctx, name) })
}

func findCertificate(ctx context.Context, c *apiclient.Client, name string) (v4.Certificate, error) {
	return find("certificate", "cert", name,
		func() ([]v4.Certificate, error) { return c.Certificates(ctx, name) },
		func() (v4.Certificate, error) { return c.Certificate(ctx, name) })
}

// findApplication also knows applications by their hostname, which is what people remember.
func findApplication(ctx context.Context, c *apiclient.Client, name string) (v4.Application, error) {
	return find("application", "access app", name,
		func() ([]v4.Application, error) {
			apps, err := c.Applications(ctx, url.Values{"domain": {name}})
			if err != nil || len(apps) > 0 {
				return apps, err
			}
			return c.Applications(ctx, url.Values{"name": {name}})
		},
		func() (v4.Application, error) { return c.Application(ctx, name) })
}
