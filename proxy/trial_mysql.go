package proxy

import (
	"errors"
	"fmt"

	"github.com/sluicedb/sluice/control"
	"github.com/sluicedb/sluice/protocol/mywire"
)

// mysqlFailure is what an origin of MySQL said to a login; nil where it said nothing.
func mysqlFailure(of *control.Database, err error) error {
	if plugin, ok := errors.AsType[*mywire.UnknownPluginError](err); ok {
		if plugin.Plugin == "sha256_password" { // among what MySQL asks of those that it does not know (decoy_user, sql_authentication.cc)
			return &control.TestFailure{Code: control.TestBadCredentials, Message: fmt.Sprintf(
				"The origin does not know the user, or wants it to log in by sha256_password: check the user, or give it %s or %s.",
				mywire.PluginSHA2, mywire.PluginNative)}
		}
		return &control.TestFailure{Code: control.TestFailed, Message: fmt.Sprintf(
			"The origin wants the user to log in by %q: make one that has %s or %s.", safe(plugin.Plugin), mywire.PluginSHA2, mywire.PluginNative)}
	}
	e, ok := errors.AsType[*mywire.Error](err)
	if !ok {
		return nil
	}
	f := &control.TestFailure{Code: control.TestFailed}
	mend := "see the origin's log."
	switch e.Code {
	case mywire.CodeAccessDenied, mywire.CodeAccessDeniedNoPass:
		f.Code, mend = control.TestBadCredentials, "check user and password, and the hosts that the user may come from."
		if of.MTLS.ClientCertificateID == "" {
			mend += " If the user must have a client certificate (REQUIRE X509), upload one, and give the database its id."
		}
	case mywire.CodeHostNotPrivileged:
		f.Code, mend = control.TestBadCredentials, "let the user come from this host: CREATE USER 'name'@'host', where % is any host."
	case mywire.CodeAccountLocked, mywire.CodePasswordExpired, mywire.CodeMustChangePassword:
		f.Code, mend = control.TestBadCredentials, "unlock the account, or give it a new password, at the origin."
	case mywire.CodeBadDB:
		f.Code, mend = control.TestNoDatabase, "check the database's name at the origin."
	case mywire.CodeDBAccessDenied:
		f.Code, mend = control.TestNoDatabase, "check the database's name at the origin, and that the user may use it."
	case mywire.CodeConCount, mywire.CodeUserConnections, mywire.CodeUserLimitReached:
		mend = "raise its connection limit, or end connections that it has."
	case mywire.CodeHostBlocked:
		mend = "run FLUSH HOSTS at the origin."
	}
	f.Message = fmt.Sprintf("The origin refused the login (%s, error %d): %s", safe(e.Message), e.Code, mend)
	return f
}
