package query

// calls reads one statement for calls of set_config.
func (r *reader) calls() {
	reads := r.word("select") || r.word("with")
	creates := r.word("create")
	r.creates = r.creates || creates
	for r.tok.kind != tokenEOF && !r.punct(';') {
		switch {
		case r.tok.kind == tokenString && ambiguous(r.text(), r.standard):
			r.bad, r.torn = true, true
		case creates && (r.word("atomic") || r.word("rule")): // of several statements
			r.torn = true
		}
		if !r.skip("set_config") {
			r.advance()
			continue
		}
		if r.punct('(') {
			r.setConfig(reads)
		}
	}
}

// setConfig reads the arguments of set_config: the first must be a plain constant,
// the second is a reset if it is NULL, and the third tells whether it is for the transaction only. reads
// says that the statement, and nothing else at another time, calls it.
func (r *reader) setConfig(reads bool) {
	r.advance()
	arg := r.text()
	if r.tok.kind != tokenString || len(arg) < 2 || arg[0] != '\'' || arg[len(arg)-1] != '\'' {
		r.bad = true
		return
	}
	if ambiguous(arg, r.standard) {
		r.bad, r.torn = true, true
		return
	}
	name := lower(append([]byte(nil), arg[1:len(arg)-1]...))
	r.advance()
	comma := r.punct(',')
	depth, args := 1, 1
	var first [2]token // that the second argument begins with, and the third
	var words [2]int   // of them
	for ; depth > 0; r.advance() {
		switch {
		case r.tok.kind == tokenEOF:
			r.bad = true
			return
		case r.tok.kind == tokenString && ambiguous(r.text(), r.standard):
			r.bad, r.torn = true, true
		case r.word("set_config"):
			r.bad = true // it is called too, and nobody has read what it sets
		case r.punct('('), r.punct('['):
			depth++
		case r.punct(')'), r.punct(']'):
			depth--
		case r.punct(',') && depth == 1:
			args++
			continue
		}
		if i := args - 2; (i == 0 || i == 1) && depth > 0 {
			if words[i]++; words[i] == 1 {
				first[i] = r.tok
			}
		}
	}
	local, known := boolean(r.sql[first[1].start:first[1].end])
	null := words[0] == 1 && fold(r.sql[first[0].start:first[0].end], "null")
	switch {
	case !comma || args != 3 || words[1] != 1 || !known || len(name) > maxSetting:
		r.bad = true
	case null && reads && !r.creates:
		from := len(r.found)
		r.local = local
		r.add(name, true)
		r.local = false
		for i := from; i < len(r.found); i++ {
			r.found[i].Site = Site{At: first[0].start, Len: first[0].end - first[0].start, Command: r.command}
		}
	case !local:
		r.add(name, false)
	}
}
