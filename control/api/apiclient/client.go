package apiclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	// responseMax bounds an answer in bytes. A page of 100 databases, each with a CA certificate of 64 KiB, is 6.5 MB.
	responseMax = 16 << 20

	// pageSize is the number of items asked for at once: the most the server gives (control/api, perPageMax).
	pageSize = 100

	// pagesMax bounds what All collects: 100,000 items, ten times what issue-sized accounts hold.
	pagesMax = 1000

	// defaultTimeout bounds one request when Config.Timeout is zero. It is longer than the server's own write timeout, a minute.
	defaultTimeout = 90 * time.Second
)

// Config says where the API is and who asks. Every field but URL is optional.
type Config struct {
	// URL of the server, such as https://localhost:8443. A path is kept as a prefix.
	URL string
	// Token is the API token. Without it only CA and Health work.
	Token string
	// CA holds PEM certificates that the server's certificate may descend from; nil for the system's.
	CA []byte
	// Account is the account id in paths; empty for the first account that the token may see.
	Account string
	// UserAgent identifies the program, such as "sluice/1.2.3".
	UserAgent string
	// Timeout bounds one request; 0 for 90 seconds.
	Timeout time.Duration
}

// Client talks to one server. It may be used concurrently; Close frees its idle connections.
type Client struct {
	base      *url.URL
	token     string
	userAgent string
	http      *http.Client

	mu      sync.Mutex // held while the server is asked for the account, so that it is asked once
	account string
}

// New makes a client; it does not dial.
func New(config Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(config.URL, "/"))
	if err != nil {
		return nil, fmt.Errorf("API URL: %w", err)
	}
	if base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("API URL %q is not of the form https://host:port", base.Redacted())
	}
	if base.User != nil || base.RawQuery != "" {
		return nil, errors.New("API URL carries a user or a query; the token belongs in its own setting")
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if config.CA != nil {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(config.CA) {
			return nil, errors.New("CA: no PEM certificate in it")
		}
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tlsConfig
	return &Client{
		base:      base,
		token:     config.Token,
		account:   config.Account,
		userAgent: config.UserAgent,
		http: &http.Client{
			Transport: transport,
			Timeout:   config.Timeout,
			// A redirect would carry the token to another server.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close frees idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error is an answer of the API that says no.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Errors are the API's codes and sentences; at least one.
	Errors []v4.Message
}

// Error joins the API's sentences.
func (e *Error) Error() string {
	var b strings.Builder
	for i, m := range e.Errors {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s (code %d)", m.Message, m.Code)
	}
	return b.String()
}

// HasCode reports whether one of the API's codes is code.
func (e *Error) HasCode(code int) bool {
	for _, m := range e.Errors {
		if m.Code == code {
			return true
		}
	}
	return false
}

// Get asks for a resource; path begins with / and is below /client/v4. The result is decoded into out when that is not nil.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	_, err := c.Do(ctx, http.MethodGet, path, nil, out)
	return err
}

// Do sends one request. body, when not nil, is sent as JSON; out, when not nil, receives the result. The error is *Error when
// the API refused.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) (*v4.ResultInfo, error) {
	data, status, err := c.send(ctx, method, "/client/v4"+path, body)
	if err != nil {
		return nil, err
	}
	var envelope v4.Envelope[json.RawMessage]
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, fmt.Errorf("%s %s: the answer (HTTP %d) is not the API's: is this address a Sluice server's API?", method, path, status)
	}
	if !envelope.Success || status >= 300 {
		if len(envelope.Errors) == 0 {
			envelope.Errors = []v4.Message{{Message: "HTTP " + strconv.Itoa(status)}}
		}
		return nil, &Error{Status: status, Errors: envelope.Errors}
	}
	if out != nil {
		if err := json.Unmarshal(envelope.Result, out); err != nil {
			return nil, fmt.Errorf("%s %s: decode result: %w", method, path, err)
		}
	}
	return envelope.ResultInfo, nil
}

// CA fetches the server's CA certificates in PEM. It needs no token.
func (c *Client) CA(ctx context.Context) ([]byte, error) {
	data, status, err := c.send(ctx, http.MethodGet, "/ca.pem", nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, &Error{Status: status, Errors: []v4.Message{{Message: "no CA certificate at this address: HTTP " + strconv.Itoa(status)}}}
	}
	return data, nil
}

func (c *Client) send(ctx context.Context, method, path string, body any) ([]byte, int, error) {
	resp, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, responseMax+1))
	if err != nil {
		return nil, 0, fmt.Errorf("%s %s: read answer: %w", method, path, err)
	}
	if len(data) > responseMax {
		return nil, 0, fmt.Errorf("%s %s: answer is longer than %d bytes", method, path, responseMax)
	}
	return data, resp.StatusCode, nil
}

// request sends a request; the caller closes the answer's body.
func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: encode: %w", method, path, err)
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, reader)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.userAgent != "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	return c.http.Do(req)
}

// Account returns the account id that paths carry, asking the server once when Config did not name it.
func (c *Client) Account(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.account != "" {
		return c.account, nil
	}
	var accounts []v4.Account
	if err := c.Get(ctx, "/accounts", &accounts); err != nil {
		return "", err
	}
	if len(accounts) == 0 {
		return "", errors.New("the API token may see no account")
	}
	c.account = accounts[0].ID
	return c.account, nil
}

// path joins the account and escaped segments.
func (c *Client) path(ctx context.Context, segments ...string) (string, error) {
	account, err := c.Account(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("/accounts/")
	b.WriteString(url.PathEscape(account))
	for _, segment := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(segment))
	}
	return b.String(), nil
}

// all reads every page of a list.
func all[T any](ctx context.Context, c *Client, query url.Values, segments ...string) ([]T, error) {
	path, err := c.path(ctx, segments...)
	if err != nil {
		return nil, err
	}
	return pages[T](ctx, c, path, query)
}

// pages reads every page of a list at a path below /client/v4.
func pages[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("per_page", strconv.Itoa(pageSize))
	items := []T{}
	for page := 1; page <= pagesMax; page++ {
		query.Set("page", strconv.Itoa(page))
		var part []T
		info, err := c.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &part)
		if err != nil {
			return nil, err
		}
		items = append(items, part...)
		if info == nil || page >= info.TotalPages {
			return items, nil
		}
	}
	return nil, fmt.Errorf("list %s: more than %d pages", path, pagesMax)
}

func do[T any](ctx context.Context, c *Client, method string, body any, segments ...string) (T, error) {
	var out T
	path, err := c.path(ctx, segments...)
	if err != nil {
		return out, err
	}
	_, err = c.Do(ctx, method, path, body, &out)
	return out, err
}
