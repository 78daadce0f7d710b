package mywire

import (
	"errors"
	"reflect"
	"testing"
)

func TestOK(t *testing.T) {
	state := AppendChange(nil, Change{Kind: ChangeVariable, Name: []byte("autocommit"), Value: []byte("OFF")})
	state = AppendChange(state, Change{Kind: ChangeSchema, Value: []byte("d")})
	state = AppendChange(state, Change{Kind: ChangeGTIDs, Value: []byte("3E11FA47-71CA-11E1-9E33-C80AA9429562:23")})
	for _, ok := range []OK{
		{},
		{AffectedRows: 300, LastInsertID: 1 << 40, Status: StatusAutocommit | StatusInTrans, Warnings: 2, Info: []byte("Rows matched: 1")},
		{EOF: true, Status: StatusAutocommit | StatusStateChanged, Info: []byte{}, State: state},
	} {
		b := ok.Append(nil, CapSessionTrack)
		got, err := ParseOK(b, CapSessionTrack)
		if err != nil || !reflect.DeepEqual(got, ok) {
			t.Errorf("%+v becomes %+v, %v", ok, got, err)
		}
		// For a client that does not know them there are no changes.
		got, err = ParseOK(ok.Append(nil, 0), 0)
		if err != nil || got.State != nil || got.Status.Has(StatusStateChanged) || string(got.Info) != string(ok.Info) {
			t.Errorf("%+v becomes %+v, %v", ok, got, err)
		}
		for i := range len(b) - 1 {
			if i < 7 || len(ok.State) > 0 && i > 7 {
				if _, err := ParseOK(b[:i], CapSessionTrack); !errors.Is(err, ErrShort) {
					t.Errorf("%+v cut to %d bytes: %v", ok, i, err)
				}
			}
		}
	}
}

func TestChanges(t *testing.T) {
	// MariaDB puts the variables of one statement into one entry.
	two := AppendLenencString(AppendLenencString(AppendLenencString(AppendLenencString(nil, "a"), "1"), "b"), "2")
	state := AppendLenencString([]byte{byte(ChangeVariable)}, two)
	state = AppendChange(state, Change{Kind: ChangeTransaction, Value: []byte("T_______")})
	state = AppendChange(state, Change{Kind: 99, Value: []byte("?")})
	var got []string
	for c, err := range Changes(state) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(c.Name)+"="+string(c.Value))
	}
	if want := []string{"a=1", "b=2", "=T_______", "=?"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	var last error
	for _, err := range Changes(state[:len(state)-1]) {
		last = err
	}
	if !errors.Is(last, ErrShort) {
		t.Errorf("cut short: %v", last)
	}
}

func TestError(t *testing.T) {
	e := Errorf(CodeAccessDenied, "Access denied for user %q", "u")
	if got, err := ParseError(e.Append(nil)); err != nil || *got != *e || e.State != "28000" {
		t.Errorf("%+v becomes %+v, %v", e, got, err)
	}
	// A server that is full says so before it knows what its client understands.
	early := &Error{Code: CodeConCount, Message: "Too many connections"}
	if got, err := ParseError(early.Append(nil)); err != nil || *got != *early {
		t.Errorf("%+v becomes %+v, %v", early, got, err)
	}
	if _, err := ParseError([]byte{0}); !errors.Is(err, ErrProtocol) {
		t.Errorf("no ERR packet: %v", err)
	}
}
