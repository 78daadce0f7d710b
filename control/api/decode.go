package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sluicedb/sluice/access"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

const (
	// bodyMax bounds a request's body in bytes. The largest that makes sense, a tunnel with a thousand hostnames, is 300 KB.
	bodyMax = 1 << 20

	// perPageMax is the most items in one answer, and perPageDefault what is given when per_page is absent (Cloudflare's
	// Hyperdrive and tunnel lists: 20 and 100).
	perPageMax     = 100
	perPageDefault = 20

	// pageMax bounds page, so that page*per_page cannot overflow.
	pageMax = 1 << 20
)

// decodeBody reads a body of at most bodyMax bytes as JSON. The content type is not looked at: wrangler sends JSON as text/plain.
// Unknown fields are ignored, as Cloudflare's API does.
func decodeBody(w http.ResponseWriter, r *http.Request, into any) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return fail(http.StatusRequestEntityTooLarge, codeTooLarge, fmt.Sprintf("the request body is longer than %d bytes", bodyMax))
		}
		return fail(http.StatusBadRequest, codeMalformed, "the request body ended early")
	}
	return decodeJSON(data, into)
}

// decodeJSON decodes one JSON object. Its errors say where the mistake is and never what the body holds, which may be a secret.
func decodeJSON(data []byte, into any) error {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return fail(http.StatusBadRequest, codeMalformed, "the request body is empty; it must be a JSON object")
	}
	if data[0] != '{' {
		return fail(http.StatusBadRequest, codeMalformed, "the request body must be a JSON object")
	}
	err := json.Unmarshal(data, into)
	if err == nil {
		return nil
	}
	var (
		syntax *json.SyntaxError
		typed  *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &typed):
		// Value may be "number 12345": its first word only.
		got, _, _ := strings.Cut(typed.Value, " ")
		field := typed.Field
		if field == "" {
			field = "the request body"
		}
		return fail(http.StatusBadRequest, codeMalformed, fmt.Sprintf("%s: must be %s, not %s", field, jsonKind(typed), got))
	case errors.As(err, &syntax):
		return fail(http.StatusBadRequest, codeMalformed, fmt.Sprintf("malformed JSON in the request body at byte %d", syntax.Offset))
	}
	if errors.Is(err, access.ErrRule) {
		return fail(http.StatusBadRequest, codeMalformed, bounded(err.Error()))
	}
	return fail(http.StatusBadRequest, codeMalformed, "the request body does not have the shape of this resource")
}

// jsonKind names what JSON would have been right.
func jsonKind(err *json.UnmarshalTypeError) string {
	switch kind := err.Type.Kind().String(); {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "bool":
		return "true or false"
	case kind == "slice":
		return "an array"
	case kind == "string":
		return "a string"
	}
	return "an object"
}

// page is the part of a list that a request asks for.
type page struct{ number, size int }

// decodePage reads page and per_page. per_page is cut to perPageMax, as Cloudflare does, since clients ask for 1000.
func decodePage(query url.Values) (page, error) {
	number, err := queryInt(query, "page", 1, pageMax)
	if err != nil {
		return page{}, err
	}
	size, err := queryInt(query, "per_page", perPageDefault, 1<<31-1)
	if err != nil {
		return page{}, err
	}
	return page{number: number, size: min(size, perPageMax)}, nil
}

func queryInt(query url.Values, name string, absent, most int) (int, error) {
	text := query.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, fail(http.StatusBadRequest, codeQuery, fmt.Sprintf("%s: must be a whole number from 1 to %d", name, most))
	}
	return n, nil
}

// listing is a list's page, ready for the envelope.
type listing struct {
	items any
	info  v4.ResultInfo
}

// whole is a list in one page.
func whole[T, V any](items []T, convert func(T) V) listing {
	converted := make([]V, 0, len(items))
	for _, item := range items {
		converted = append(converted, convert(item))
	}
	n := len(converted)
	return listing{items: converted, info: v4.ResultInfo{Page: 1, PerPage: n, Count: n, TotalCount: n, TotalPages: min(n, 1)}}
}

// paginate cuts the page that the request asks for out of items and converts it.
func paginate[T, V any](query url.Values, items []T, convert func(T) V) (any, error) {
	p, err := decodePage(query)
	if err != nil {
		return nil, err
	}
	first := min((p.number-1)*p.size, len(items))
	last := min(first+p.size, len(items))
	converted := make([]V, 0, last-first)
	for _, item := range items[first:last] {
		converted = append(converted, convert(item))
	}
	return listing{items: converted, info: v4.ResultInfo{
		Page: p.number, PerPage: p.size, Count: len(converted), TotalCount: len(items), TotalPages: (len(items) + p.size - 1) / p.size,
	}}, nil
}
