// Package verdict says of a statement of MySQL's or MariaDB's what it reads, whether its
// result may be stored, and what it may change. It opens no socket.
//
// Two readers must agree before a result may be stored: Vitess's parser, whose tree has
// to consist of nodes and functions that are known to depend on nothing but tables and
// settings, and a scan of the text's tokens, in which everything that looks like a call
// has to be known too. What is not known is refused, and taken to write to anything.
//
// A text is judged as it is read with neither ANSI_QUOTES nor NO_BACKSLASH_ESCAPES in
// sql_mode; sessions with one of them use no cache.
package verdict
