package tunnel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluicedb/sluice/protocol/stream"
	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

// Open asks the peer for a stream and waits for its answer: one round trip, and at most 15 seconds unless ctx allows less. It
// returns a *Refusal when the peer said no, a *SessionError when the session has ended, ctx's error, or a *stream.ResetError
// when the peer dropped the request; the stream is gone then. Open does not change open; it sends the time that ctx leaves when
// DeadlineMs is zero. EarlyData must not exceed MaxEarlyData.
func (s *Session) Open(ctx context.Context, open *tunnelpb.Open) (*Stream, error) {
	if n := len(open.GetEarlyData()); n > MaxEarlyData {
		return nil, fmt.Errorf("open %s: %d bytes of early data, limit %d", open.GetHostname(), n, MaxEarlyData)
	}
	ctx, cancel := within(ctx)
	defer cancel()
	if open.GetDeadlineMs() == 0 {
		deadline, _ := ctx.Deadline()
		open = shallow(open)
		open.DeadlineMs = uint64(max(1, time.Until(deadline).Milliseconds()))
	}
	return s.request(ctx, &tunnelpb.Header{Kind: &tunnelpb.Header_Open{Open: open}})
}

// within bounds ctx by openTimeout. One that has a deadline before that is bounded already.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= openTimeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, openTimeout)
}

// shallow copies an Open without copying its early data.
func shallow(o *tunnelpb.Open) *tunnelpb.Open {
	c := &tunnelpb.Open{
		Hostname: o.GetHostname(), ClientId: o.GetClientId(), ClientSecret: o.GetClientSecret(),
		Assertion: o.GetAssertion(), DeadlineMs: o.GetDeadlineMs(), EarlyData: o.GetEarlyData(), Remote: o.GetRemote(),
		Source: o.GetSource(),
	}
	c.ProtoReflect().SetUnknown(o.ProtoReflect().GetUnknown())
	return c
}

// request opens a stream with a header and waits for the Answer.
func (s *Session) request(ctx context.Context, h *tunnelpb.Header) (*Stream, error) {
	if n := proto.Size(h); n > maxHeader+MaxEarlyData {
		return nil, fmt.Errorf("the header of a stream has %d bytes, limit %d", n, maxHeader+MaxEarlyData)
	}
	b, err := encode(h)
	if err != nil {
		return nil, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	ls, err := s.link.open(ctx, b)
	if err != nil {
		return nil, err
	}
	count := &s.ours
	if h.GetProbe() != nil {
		count = &s.probes
	}
	st := newStream(s, ls, count)

	var answer tunnelpb.Answer
	stop := context.AfterFunc(ctx, func() { _ = ls.SetReadDeadline(past) })
	err = readMessage(ls, &answer, maxHeader)
	if !stop() {
		err = ctx.Err()
	}
	if err == nil {
		s.health.pass(time.Now(), 0)
		switch k := answer.Kind.(type) {
		case *tunnelpb.Answer_Opened:
			st.via = k.Opened.GetVia()
			return st, nil
		case *tunnelpb.Answer_Refused:
			_ = st.Close()
			return nil, refusalFrom(k.Refused)
		}
		err = &Refusal{Code: tunnelpb.Code_INTERNAL, Message: "the peer's answer is of an unknown kind"}
	}
	_ = st.Reset(stream.CodeCancelled)
	return nil, openError(err)
}

// openError names the wait in the errors that do not name it themselves. A stream that was joined, and whose other end broke at once, may
// be reset before its answer has arrived, which the reset overtakes: to ask another session would be to ask the origin again.
func openError(err error) error {
	var session *SessionError
	var refusal *Refusal
	var reset *stream.ResetError
	if errors.As(err, &reset) && reset.Remote && reset.Code == stream.CodeAborted {
		return &Refusal{Code: tunnelpb.Code_ORIGIN_REFUSED, Message: "the origin broke the connection"}
	}
	if errors.As(err, &session) || errors.As(err, &refusal) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("wait for the answer to an open: %w", noEOF(err))
}
