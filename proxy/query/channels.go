package query

import "bytes"

// A Listen is one LISTEN or UNLISTEN.
type Listen struct {
	Channel string // "" with Stop: all of them
	Stop    bool   // UNLISTEN
}

// Channels names the channels of text with the bit Listens.
func Channels(sql []byte) (found []Listen) {
	r := reader{lexer: lexer{sql: sql}}
	r.advance()
	for r.tok.kind != tokenEOF {
		stop := r.word("unlisten")
		if stop || r.word("listen") {
			r.advance()
			switch {
			case r.tok.kind == tokenWord || r.tok.kind == tokenQuoted:
				found = append(found, Listen{string(cutName([]byte(identifier(r.text())))), stop})
			case stop && r.punct('*'):
				found = append(found, Listen{Stop: true})
			}
		}
		for r.tok.kind != tokenEOF && !r.punct(';') {
			r.advance()
		}
		r.advance()
	}
	return found
}

// maxName is the longest identifier in bytes (NAMEDATALEN - 1); the scanner cuts
// longer ones.
const maxName = 63

// cutName cuts a name as the scanner does, between characters.
func cutName(name []byte) []byte {
	if len(name) <= maxName {
		return name
	}
	return bytes.ToValidUTF8(name[:maxName], nil)
}
