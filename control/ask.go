package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Nodes of one store ask each other through it. A question is about what only
// the node that does something can know, and nothing of it is stored. It is sent
// to all that answer its kind, or to one of them.
const (
	askAll = "sluice.ask.all."
	askOne = "sluice.ask.one."
	// askQueue makes one of several subscribers answer.
	askQueue = "sluice"
	// askHeader has the reason that a question was not answered.
	askHeader = "Sluice-Refused"
	// askLimit bounds the questions of one kind that a node works on. A test
	// connection, the longest, holds a socket and some 100 KB for 15 s at most.
	askLimit = 32
	// askQuiet is how long another answer to a question for all is waited for,
	// after the last: far above a round trip across a region's cluster.
	askQuiet = 250 * time.Millisecond
	askMax   = 1000 // answers to one question
)

var (
	errNobody = errors.New("nobody answers this kind of question")
	errBusy   = errors.New("too many questions at once")
)

// answer answers questions of a kind until ctx ends, and returns nil when those
// under way have been answered. handle runs concurrently; its error is logged.
func (c *Control) answer(ctx context.Context, kind string, handle func(context.Context, []byte) ([]byte, error)) error {
	var working sync.WaitGroup
	slots := make(chan struct{}, askLimit)
	respond := func(m *nats.Msg) {
		defer func() { <-slots }()
		data, err := handle(ctx, m.Data)
		reply := nats.NewMsg(m.Reply)
		reply.Data = data
		if err != nil {
			c.logger.Error("question not answered", "kind", kind, "err", err)
			reply.Header.Set(askHeader, "failed")
		}
		if err := m.RespondMsg(reply); err != nil && ctx.Err() == nil {
			c.logger.Warn("answer not sent", "kind", kind, "err", err)
		}
	}
	receive := func(m *nats.Msg) {
		if m.Reply == "" {
			return
		}
		select {
		case slots <- struct{}{}:
			working.Go(func() { respond(m) })
		default:
			reply := nats.NewMsg(m.Reply)
			reply.Header.Set(askHeader, "busy")
			_ = m.RespondMsg(reply) // who asks has a deadline
		}
	}
	one, err := c.store.nc.QueueSubscribe(askOne+kind, askQueue, receive)
	if err != nil {
		return fmt.Errorf("answer %s: %w", kind, err)
	}
	all, err := c.store.nc.Subscribe(askAll+kind, receive)
	if err != nil {
		return errors.Join(fmt.Errorf("answer %s: %w", kind, err), one.Unsubscribe())
	}
	<-ctx.Done()
	err = errors.Join(one.Unsubscribe(), all.Unsubscribe())
	working.Wait()
	if errors.Is(err, nats.ErrConnectionClosed) {
		return nil
	}
	return err
}

// askOne asks one node that answers questions of a kind. It returns errNobody
// when there is none, and errBusy.
func (c *Control) askOne(ctx context.Context, kind string, question []byte) ([]byte, error) {
	m, err := c.store.nc.RequestWithContext(ctx, askOne+kind, question)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errNobody
	case err != nil && ctx.Err() == nil:
		return nil, fmt.Errorf("ask %s: %w: %w", kind, ErrUnavailable, err)
	case err != nil:
		return nil, fmt.Errorf("ask %s: %w", kind, err)
	}
	return answerOf(kind, m)
}

func answerOf(kind string, m *nats.Msg) ([]byte, error) {
	switch m.Header.Get(askHeader) {
	case "":
		return m.Data, nil
	case "busy":
		return nil, errBusy
	}
	return nil, fmt.Errorf("ask %s: the node's log says why it did not answer", kind)
}

// askAll asks every node that answers questions of a kind, and returns what
// they say: none where there is nobody. Where the store is embedded there is one
// node, this; else it takes askQuiet longer than the last answer.
func (c *Control) askAll(ctx context.Context, kind string, question []byte) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	inbox := nats.NewInbox()
	sub, err := c.store.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w: %w", kind, ErrUnavailable, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.store.nc.PublishRequest(askAll+kind, inbox, question); err != nil {
		return nil, fmt.Errorf("ask %s: %w: %w", kind, ErrUnavailable, err)
	}
	var answers [][]byte
	for len(answers) < askMax {
		wait := askQuiet
		if len(answers) == 0 {
			wait = requestWait // where there is nobody, the store says so
		}
		once, stop := context.WithTimeout(ctx, wait)
		m, err := sub.NextMsgWithContext(once)
		stop()
		if err != nil || m.Header.Get("Status") == "503" { // nobody, or nobody else
			return answers, nil
		}
		data, err := answerOf(kind, m)
		if err != nil {
			return nil, err
		}
		answers = append(answers, data)
		if c.embedded != nil {
			return answers, nil
		}
	}
	return answers, nil
}
