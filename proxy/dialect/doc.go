// Package dialect holds what the dialects of the proxy have in common beside the
// pool and the cache: how drivers are accepted, limits, counts, cancels, and the
// words for why an origin cannot be reached. It knows no protocol.
package dialect
