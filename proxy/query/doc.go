// Package query looks at SQL text, without a socket: which statement of the pooler's
// own concern it is, whether it may leave something behind in the session that runs
// it, whether its result may be cached and what it may change.
//
//	text ──> Analyze ──> Statement ──> Catalog.Judge ──> Verdict
//	         parser, and tokens        what names
//	         against the parser        stand for
//
// A verdict allows caching only where every node of the syntax tree, every function,
// operator, type and relation is known to be safe. The catalog is data: whoever has a
// connection runs CatalogSQL and gives the rows to NewCatalog.
package query
