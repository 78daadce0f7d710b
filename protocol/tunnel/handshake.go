package tunnel

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sluicedb/sluice/protocol/tunnel/tunnelpb"
)

var errNoHandshake = errors.New("the peer sends no Hello or Welcome")

// sayHello is the dialling side of the handshake.
func sayHello(rw io.ReadWriter, hello *tunnelpb.Hello) (*tunnelpb.Welcome, error) {
	if err := writeMessage(rw, &tunnelpb.Frame{Kind: &tunnelpb.Frame_Hello{Hello: hello}}); err != nil {
		return nil, fmt.Errorf("send hello: %w", err)
	}
	for range maxSkipped {
		var f tunnelpb.Frame
		if err := readMessage(rw, &f, maxHello); err != nil {
			return nil, fmt.Errorf("read welcome: %w", noEOF(err))
		}
		switch k := f.Kind.(type) {
		case *tunnelpb.Frame_Welcome:
			return k.Welcome, nil
		case *tunnelpb.Frame_Refused:
			return nil, refusalFrom(k.Refused)
		}
	}
	return nil, errNoHandshake
}

// hearHello is the relay's first half of the handshake.
func hearHello(r io.Reader) (*tunnelpb.Hello, error) {
	for range maxSkipped {
		var f tunnelpb.Frame
		if err := readMessage(r, &f, maxHello); err != nil {
			return nil, fmt.Errorf("read hello: %w", noEOF(err))
		}
		if k, ok := f.Kind.(*tunnelpb.Frame_Hello); ok {
			return k.Hello, nil
		}
	}
	return nil, errNoHandshake
}

// answerHello is the relay's second half: a Welcome when refusal is nil.
func answerHello(w io.Writer, welcome *tunnelpb.Welcome, refusal *Refusal) error {
	f := &tunnelpb.Frame{Kind: &tunnelpb.Frame_Welcome{Welcome: welcome}}
	if refusal != nil {
		f.Kind = &tunnelpb.Frame_Refused{Refused: refusal.proto()}
	}
	return writeMessage(w, f)
}

// noEOF turns the end of a connection inside the handshake into an error that says so.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func refusalFrom(r *tunnelpb.Refused) *Refusal {
	const maxRetry = 24 * time.Hour // a peer cannot silence this side for longer
	code := r.GetCode()
	if _, known := tunnelpb.Code_name[int32(code)]; !known || code == tunnelpb.Code_CODE_UNSPECIFIED {
		code = tunnelpb.Code_INTERNAL
	}
	retry := min(r.GetRetryAfterMs(), uint64(maxRetry/time.Millisecond))
	return &Refusal{Code: code, Message: r.GetMessage(), RetryAfter: time.Duration(retry) * time.Millisecond}
}

func (r *Refusal) proto() *tunnelpb.Refused {
	return &tunnelpb.Refused{
		Code:         r.Code,
		Message:      r.Message,
		RetryAfterMs: uint64(max(0, r.RetryAfter.Milliseconds())),
	}
}
