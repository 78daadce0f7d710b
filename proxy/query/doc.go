// Package query looks at SQL text, without a socket and without a parser: which
// statement of the pooler's own concern it is, and whether it may leave
// something behind in the session that runs it.
package query
