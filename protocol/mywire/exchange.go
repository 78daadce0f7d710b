package mywire

import (
	"errors"
	"io"
)

// An exchange is the server's side of an authentication, between a driver's first
// answer and OK.
type exchange struct {
	a        *Acceptor
	rw       io.ReadWriter
	secure   bool // rw is TLS
	switches bool // the driver can be asked for another plugin
	again    bool // a wrong answer may be one to another salt: COM_CHANGE_USER's
	seq      byte // of the next packet that is written
}

// run checks who a driver is. answer is its answer to salt by plugin. A user who
// does not exist goes through the same exchange as a wrong password.
func (x *exchange) run(user, schema string, lookup Lookup, plugin string, salt Salt, answer []byte) error {
	v, err := lookup(user, schema)
	if err != nil {
		return err
	}
	found := v != nil
	if !found {
		v = MockVerifier()
	}
	ok, err := x.check(v, plugin, salt, answer)
	if err == nil && (!ok || !found) || errors.Is(err, ErrPassword) {
		err = Errorf(CodeAccessDenied, "Access denied for user '%s' (using password: YES)", user)
	}
	return err
}

// errNoNative is of a user whose verifier mysql_native_password cannot use.
var errNoNative = Errorf(CodeNotSupportedAuth,
	"This credential is older than support of mysql_native_password here: make a new one, or connect with caching_sha2_password")

var errOldClient = Errorf(CodeNotSupportedAuth,
	"Client does not support authentication protocol requested by server; consider upgrading MySQL client")

// check reports whether the password is right.
func (x *exchange) check(v *Verifier, plugin string, salt Salt, answer []byte) (bool, error) {
	usable := plugin == PluginSHA2 || plugin == PluginNative && v.Check == nil
	if usable && (!x.again || v.proves(plugin, salt, answer)) {
		return x.finish(v, plugin, salt, answer)
	}
	if !x.switches {
		switch {
		case usable:
			return false, nil
		case plugin == PluginNative:
			return false, errNoNative
		}
		return false, errOldClient
	}
	next := AuthSwitch{Plugin: PluginSHA2, Salt: NewSalt()}
	if usable {
		next.Plugin = plugin
	} else if v.Check == nil && x.a.Plugin == PluginNative {
		next.Plugin = PluginNative
	}
	answer, err := x.ask(next.Append(nil))
	if err != nil {
		return false, err
	}
	return x.finish(v, next.Plugin, next.Salt, answer)
}

// finish checks an answer to salt, and asks for the password itself where no
// answer can be checked.
func (x *exchange) finish(v *Verifier, plugin string, salt Salt, answer []byte) (bool, error) {
	if v.Check == nil {
		ok := v.proves(plugin, salt, answer)
		if !ok || plugin != PluginSHA2 {
			return ok, nil
		}
		return true, x.send([]byte{headerMoreData, sha2Fast})
	}
	if len(answer) <= 1 { // an empty password: the driver says no more
		return false, nil
	}
	password, err := x.ask([]byte{headerMoreData, sha2Full})
	if err != nil {
		return false, err
	}
	if x.secure {
		password, err = withoutNUL(password)
		return err == nil && v.is(password), err
	}
	key, public, err := x.a.rsaKey()
	if err != nil {
		return false, err
	}
	if len(password) == 1 && password[0] == sha2Key {
		if password, err = x.ask(append([]byte{headerMoreData}, public...)); err != nil {
			return false, err
		}
	}
	password, err = decryptPassword(key, salt, password)
	return err == nil && v.is(password), err
}

// ask sends a packet and reads the answer.
func (x *exchange) ask(payload []byte) ([]byte, error) {
	if err := x.send(payload); err != nil {
		return nil, err
	}
	answer, seq, err := ReadPacket(x.rw, maxPassword)
	x.seq = seq + 1
	return answer, err
}

func (x *exchange) send(payload []byte) error {
	b, seq := AppendPacket(nil, x.seq, payload)
	x.seq = seq
	_, err := x.rw.Write(b)
	return err
}
