package query

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// Texts that differ in nothing but the contents of constants have one skeleton, and one
// verdict: a text that is new costs a pass of the lexer then, not of the parser. The verdict
// is known before the text is sent, as it must be: what a read writes by a function, a view
// or an operator may be visible to others before the origin has answered.

// maxSkeletons bounds the skeletons that are kept, as maxVerdicts does texts.
const maxSkeletons = maxVerdicts / 8

// sightings is how many texts that were seen once are remembered: several times the texts
// that clients of one database send between two of the same.
const sightings = 4096

// skeletons are what an era knows of texts that it has not seen before.
type skeletons struct {
	verdicts *otter.Cache[string, *Verdict]
	seed     maphash.Seed
	seen     [sightings]atomic.Uint32 // hashes of texts that were seen once
}

func newSkeletons() *skeletons {
	return &skeletons{seed: maphash.MakeSeed(), verdicts: otter.Must(&otter.Options[string, *Verdict]{
		MaximumWeight: maxSkeletons,
		Executor:      atOnce,
		Weigher:       func(skeleton string, v *Verdict) uint32 { return uint32(len(skeleton)+len(v.Text)) + otherVerdict },
	})}
}

// sighted reports whether a text was seen not long ago. Another may be taken for it.
func (k *skeletons) sighted(text []byte) bool {
	h := maphash.Bytes(k.seed, text)
	at, mark := &k.seen[h%sightings], uint32(h>>32)
	if at.Load() == mark { // which many may read at once
		return true
	}
	at.Store(mark)
	return false
}

// of returns a verdict on a text of the same skeleton with the text's own normal form, in s
// unless that is nil; nil where there is none.
func (k *skeletons) of(s *Scratch, source Source, text []byte) *Verdict {
	buf := bones.Get().(*[]byte)
	defer bones.Put(buf)
	normal, skeleton, ok := source.Skeleton((*buf)[:0], text)
	if !ok {
		return nil
	}
	*buf = skeleton
	like, ok := k.verdicts.GetIfPresent(unsafeString(skeleton))
	if !ok {
		return nil
	}
	if s == nil {
		v := *like
		v.Text = string(normal)
		return &v
	}
	s.text = append(s.text[:0], normal...)
	s.verdict = *like
	s.verdict.Text = unsafeString(s.text)
	return &s.verdict
}

// put keeps a verdict for the texts of its own text's skeleton, where constants have no part
// in it: of reads that may be cached, and of writes whose tables are known.
func (k *skeletons) put(source Source, v *Verdict, text []byte) {
	if v.Status != StatusMiss && v.Status != StatusNotAQuery || v.Effect.All || v.Effect.DDL {
		return
	}
	if _, skeleton, ok := source.Skeleton(nil, text); ok {
		k.verdicts.Set(string(skeleton), v)
	}
}

var bones = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Skeleton returns the normal form of a text, and in dst that with the contents of its plain
// constants left out: of strings in quotes without a backslash, and of numbers without an
// exponent. It reports false of texts with other constants, with a word of time in one, or
// with strings that may be one in two pieces: what the parser makes of those is not for the
// lexer to say. All else is as it stands, so that texts of one skeleton have the same tokens.
func Skeleton(dst, text []byte) (normal, skeleton []byte, ok bool) {
	if len(text) > MaxText {
		return nil, dst, false
	}
	normal = Normalise(nil, text)
	if bytes.IndexByte(normal, '\\') >= 0 || unicodeEscapes(unsafeString(normal)) {
		return normal, dst, false
	}
	l := lexer{sql: normal}
	from := 0 // of normal, what is not in dst yet
	var prev token
	for {
		t := l.next()
		if t.kind == tokenEOF {
			return normal, append(dst, normal[from:]...), true
		}
		is := normal[t.start:t.end]
		like := ""
		switch {
		case t.kind == tokenString:
			if is[0] != '\'' || len(is) < 2 || is[len(is)-1] != '\'' || prev.kind == tokenString || TimeWord(is) {
				return normal, dst, false
			}
			like = "''"
		case t.kind == tokenPunct && is[0] >= '0' && is[0] <= '9' && !(prev.end == t.start && t.start > 0 && normal[t.start-1] == '$'):
			if like, ok = numberLike(is); !ok {
				return normal, dst, false
			}
		}
		if like != "" {
			dst = append(append(dst, normal[from:t.start]...), like...)
			from = t.end
		}
		prev = t
	}
}

// numberLike is the number that stands for those like b: integers that the grammar takes for
// one (32 bits, process_integer_literal in scan.l), and all others, of digits with or without some behind a point.
func numberLike(b []byte) (string, bool) {
	point := 0
	for i, c := range b {
		switch {
		case c >= '0' && c <= '9':
		case c == '.' && point == 0 && i+1 < len(b):
			point = i
		default:
			return "", false
		}
	}
	if digits := bytes.TrimLeft(b, "0"); point > 0 || len(digits) > len(maxInt32) || len(digits) == len(maxInt32) && string(digits) > maxInt32 {
		return "0.0", true
	}
	return "0", true
}

const maxInt32 = "2147483647"
