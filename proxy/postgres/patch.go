package postgres

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/sluicedb/sluice/protocol/pgwire"
	"github.com/sluicedb/sluice/proxy/query"
)

// A patch is how the text of a simple Query that the origin gets differs from the
// driver's: what a RESET in it undoes is put in force again right behind. The driver
// gets no answer to that, and positions in errors are those of its own text.
type patch struct {
	text  []byte
	ours  []span // commands that were inserted
	edits []edit
	done  int // commands that are complete
}

// A span is of commands of a text, from the one up to but without the other.
type span struct{ from, to int }

// An edit is where a text was changed, in characters.
type edit struct {
	at   int // before the change, of the driver's text
	was  int // of the driver's text that were replaced
	size int // that came in their place
}

// patch makes the patch that a text needs which resets what the start-up packet has
// set, or nil.
func (c *client) patch(text []byte, changes []query.Change) *patch {
	if c.session.base == noState {
		return nil
	}
	var p *patch
	from, chars, added := 0, 0, 0
	for _, ch := range changes {
		put, commands := c.replaced(ch)
		if put == "" {
			continue
		}
		if p == nil {
			if bytes.IndexByte(text, 0) >= 0 { // which is no text at all
				return nil
			}
			p = &patch{}
		}
		kept := text[from:ch.Site.At]
		p.text = append(append(p.text, kept...), put...)
		chars += utf8.RuneCount(kept)
		p.edits = append(p.edits, edit{at: chars, was: ch.Site.Len, size: len(put)})
		from, chars = ch.Site.At+ch.Site.Len, chars+ch.Site.Len
		if commands > 0 {
			first := ch.Site.Command + 1 + added
			p.ours = append(p.ours, span{first, first + commands})
			added += commands
		}
	}
	if p != nil {
		p.text = append(p.text, text[from:]...)
	}
	return p
}

// replaced is what is put at the site of a change, in ASCII, with how many commands that is.
func (c *client) replaced(ch query.Change) (put string, commands int) {
	if ch.Site.At == 0 {
		return "", 0
	}
	// PostgreSQL's warning that it does nothing outside a transaction block is not lost.
	if ch.Local && ch.Site.Len == 0 && ch.Site.Only && c.status == pgwire.TxIdle && c.ledger.ready == 0 {
		return "", 0
	}
	var settings []setting
	for _, v := range c.session.base.settings {
		if v.name == ch.Name || ch.Name == "" && !v.says() {
			settings = append(settings, v)
		}
	}
	if len(settings) == 0 {
		return "", 0
	}
	if ch.Site.Len > 0 {
		return valueSQL(settings[0].value), 0
	}
	sql := restoringSQL(settings, ch.Local)
	for _, s := range sql {
		put += ";" + s
	}
	return put, len(sql)
}

// inserted reports whether the command that is being answered was inserted. A nil patch
// has none.
func (p *patch) inserted() bool {
	if p == nil {
		return false
	}
	for _, s := range p.ours {
		if p.done >= s.from && p.done < s.to {
			return true
		}
	}
	return false
}

// complete takes the CommandComplete of a text.
func (p *patch) complete(body []byte) error {
	if p == nil {
		return nil
	}
	if tag := string(bytes.TrimSuffix(body, []byte{0})); p.inserted() && tag != "SET" && tag != "SELECT 1" {
		return fmt.Errorf("%w: command of the proxy's own answered with %q", pgwire.ErrProtocol, tag)
	}
	p.done++
	return nil
}

// position is where in the driver's text a position of the patched one is; both count from 1.
func (p *patch) position(n int) int {
	for _, e := range p.edits {
		switch {
		case n <= e.at:
			return n
		case n <= e.at+e.size:
			return e.at + 1
		}
		n -= e.size - e.was
	}
	return n
}

// rewrite is an ErrorResponse or NoticeResponse with the position that it has in the
// driver's text; nil where that is the same, or the body is not whole.
func (p *patch) rewrite(typ byte, body []byte) []byte {
	var msg []byte
	i := 0
	for i < len(body) && body[i] != 0 {
		value, _, ok := pgwire.CString(body[i+1:])
		if !ok {
			return nil
		}
		if n, err := strconv.Atoi(string(value)); body[i] == 'P' && err == nil {
			if at := p.position(n); at != n {
				v := strconv.Itoa(at)
				msg = pgwire.AppendHeader(nil, typ, len(body)-len(value)+len(v))
				msg = append(append(append(msg, body[:i+1]...), v...), body[i+1+len(value):]...)
			}
		}
		i += 1 + len(value) + 1
	}
	if i != len(body)-1 {
		return nil
	}
	return msg
}

// keepsNotice decides whether the driver gets a NoticeResponse as it is.
func (c *client) keepsNotice(body []byte) bool {
	if c.ledger.n == 0 {
		return true
	}
	head := c.ledger.at(0)
	if head.flags&restoring != 0 || head.patch.inserted() {
		return false
	}
	return c.keepsPosition(head, pgwire.MsgNoticeResponse, body)
}

// keepsError decides whether the driver gets an error in answer to its Query as it is.
func (c *client) keepsError(head *entry, f pgwire.ErrorFields, body []byte) (bool, error) {
	if head.patch.inserted() && !interrupts(f.Code) {
		return false, restoreError(f)
	}
	keep := c.keepsPosition(head, pgwire.MsgErrorResponse, body)
	head.patch = nil // what follows is the end of the text
	return keep, nil
}

func (c *client) keepsPosition(head *entry, typ byte, body []byte) bool {
	if head.patch == nil {
		return true
	}
	msg := head.patch.rewrite(typ, body)
	if msg == nil {
		return true
	}
	c.replies.put(msg)
	return false
}
