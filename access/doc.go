// Package access decides who may reach a hostname.
//
// It is pure: it opens no socket, keeps no state and reads no clock. A caller
// brings a [Directory] of service tokens and applications, and a [Request];
// [Decide] answers with a [Decision] that says who, which policy and why.
// A relay that admitted a request signs that fact as a short-lived assertion
// with a [Signer]; a connector that requires one checks it with a [Verifier].
//
//	Request{hostname, client id, client secret, address}
//	    |
//	    v
//	Directory --> token --> application --> policies, in order --> Decision
//	                                                                  |
//	                                              Signer.Sign <-------+
//	                                                  |  (travels with the stream)
//	                                              Verifier.Verify
//
// Policies are evaluated as Cloudflare Access does: bypass and non_identity
// policies first, from the top down, then allow and block policies in order;
// the first that matches decides, and when none matches the answer is no.
package access
