package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why a test connection failed. The first nine numbers and what they stand for
// are those of Hyperdrive's documentation ("Configuration errors"); it leaves
// the others open.
const (
	TestBadHostname     = 2008 // the hostname does not resolve
	TestNotAdmitted     = 2009 // the address is not one that the server reaches directly
	TestCannotConnect   = 2010 // no answer from host and port
	TestRefused         = 2011 // the connection was refused
	TestNoTLS           = 2012 // the origin has no TLS
	TestBadCredentials  = 2013 // user and password are not the origin's
	TestNoDatabase      = 2014 // the origin has no such database
	TestFailed          = 2015 // anything else
	TestQueryFailed     = 2016 // the login worked, and the empty query did not
	TestBadCertificate  = 2017 // the origin's certificate does not verify
	TestWantsClientCert = 2018 // the origin wants a client certificate, or another
	TestNoTunnel        = 2019 // the hostname leads through no tunnel
	TestNoConnector     = 2020 // the tunnel has no connector
	TestDenied          = 2021 // no policy admits the service token
	TestUnauthenticated = 2022 // the service token is not valid
	TestNoProxy         = 2023 // no proxy runs that could make the test
)

// A TestFailure says what is wrong with a connection to an origin, and how to
// mend it. Its message is safe to show.
type TestFailure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error returns the message.
func (f *TestFailure) Error() string { return f.Message }

// Candidate is a database as it would be, its secrets sealed, and the
// certificates that it names.
type Candidate struct {
	Database     *Database      `json:"database"`
	Certificates []*Certificate `json:"certificates,omitempty"`
	// Fresh says that the way to the origin was made a moment ago, so that a relay
	// or connector may not have heard of it yet.
	Fresh bool `json:"fresh,omitempty"`
}

// Certificate returns the candidate's certificate with this ID.
func (c *Candidate) Certificate(id string) (*Certificate, bool) {
	i := slices.IndexFunc(c.Certificates, func(cert *Certificate) bool { return cert.ID == id })
	if i < 0 {
		return nil, false
	}
	return c.Certificates[i], true
}

// A Test connects to a candidate's origin and runs an empty query. A
// *TestFailure says what is wrong with the origin or the way to it.
type Test func(context.Context, *Candidate) error

// TestWait is how long a test connection may take: Hyperdrive's "initial
// connection timeout".
const TestWait = 15 * time.Second

// rehearse runs a change of one database without committing it, and returns
// what it would make.
func (c *Control) rehearse(ctx context.Context, change func(*tx) (*Database, error)) (*Candidate, error) {
	candidate := &Candidate{}
	err := c.transact(ctx, func(t *tx) (err error) {
		if candidate.Database, err = change(t); err != nil {
			return err
		}
		candidate.Certificates, err = useCertificates(t, candidate.Database)
		t.ops = nil
		return err
	})
	return candidate, err
}

// Candidate returns a database of an account for a test as it is.
func (c *Control) Candidate(ctx context.Context, accountID, id string) (*Candidate, error) {
	return c.rehearse(ctx, func(t *tx) (*Database, error) {
		return fetch(t, kindDatabase, accountID, id, (*Database).account)
	})
}

// askTest is the question that TestCandidate asks a proxy.
const askTest = "database.test"

// TestCandidate is a Test that a proxy of this store makes, whichever answers.
// It blocks for TestWait and a moment at most.
func (c *Control) TestCandidate(ctx context.Context, candidate *Candidate) error {
	ctx, cancel := context.WithTimeout(ctx, TestWait+requestWait)
	defer cancel()
	bare := *candidate
	database := *candidate.Database
	database.Credentials = nil // what drivers log in with is of no use to the test
	bare.Database = &database
	question, err := json.Marshal(bare)
	if err != nil {
		return fmt.Errorf("encode candidate: %w", err)
	}
	answer, err := c.askOne(ctx, askTest, question)
	switch {
	case errors.Is(err, errNobody):
		return &TestFailure{TestNoProxy, "No proxy runs that could make the test connection: start one, or skip the test."}
	case errors.Is(err, errBusy):
		return &TestFailure{TestFailed, "The proxy has as many test connections under way as it makes at a time: try again."}
	case errors.Is(err, context.DeadlineExceeded):
		return &TestFailure{TestFailed, fmt.Sprintf("The proxy did not answer within %v.", TestWait+requestWait)}
	case err != nil:
		return err
	}
	var failure TestFailure
	if err := json.Unmarshal(answer, &failure); err != nil {
		return fmt.Errorf("decode a proxy's answer: %w", err)
	}
	if failure.Code == 0 {
		return nil
	}
	return &failure
}

// ServeTests makes the tests that nodes of this store ask for, with test, until
// ctx ends, and returns nil then. Each proxy calls it.
func (c *Control) ServeTests(ctx context.Context, test Test) error {
	return c.answer(ctx, askTest, func(ctx context.Context, question []byte) ([]byte, error) {
		var candidate Candidate
		if err := json.Unmarshal(question, &candidate); err != nil {
			return nil, fmt.Errorf("decode candidate: %w", err)
		}
		if candidate.Database == nil {
			return nil, errors.New("a candidate without a database")
		}
		ctx, cancel := context.WithTimeout(ctx, TestWait)
		defer cancel()
		err := test(ctx, &candidate)
		failure := &TestFailure{}
		if err != nil && !errors.As(err, &failure) {
			c.logger.Error("test connection", "database", candidate.Database.Name, "err", err)
			failure = &TestFailure{TestFailed, "The proxy could not make the test connection; its log says more."}
		}
		return json.Marshal(failure)
	})
}
