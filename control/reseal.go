package control

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// A noun's sealed secrets are found in its JSON, so that a kind of noun that is
// yet to come, or a field that a newer version has, is sealed anew like the
// rest: a base64 text that begins as Tink's ciphertexts do, with a version byte
// and the ID of a key of the keyset.

const (
	tinkPrefix  = 5  // bytes: version 1 and the key's ID (tink core/cryptofmt)
	tinkVersion = 1  // of the prefix
	tinkLeast   = 33 // bytes: prefix, 12 of nonce and 16 of tag of AES-GCM (RFC 5116 section 5.1)
)

// sealedFields are the field names of associated data that are not the path of
// the field in the noun's JSON.
var sealedFields = []string{"signing", "origin.password", "origin.access_client_secret"}

// places are the nouns, IDs and fields that a secret may be bound to: where it
// is found, most of all, and else what nouns that hold others bind it to.
func places(kind string, ids []string, field string) (all [][3]string) {
	for _, kind := range []string{kind, kindDatabase} {
		for _, id := range ids {
			for _, field := range append([]string{field}, sealedFields...) {
				all = append(all, [3]string{kind, id, field})
			}
		}
	}
	return all
}

// keyOf returns the ID of the key that sealed a text, if the keyset has it.
func (k sealer) keyOf(text string) (ciphertext []byte, id uint32, ok bool) {
	if len(text) < base64.StdEncoding.EncodedLen(tinkLeast) {
		return nil, 0, false
	}
	ciphertext, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(ciphertext) < tinkLeast || ciphertext[0] != tinkVersion {
		return nil, 0, false
	}
	id = binary.BigEndian.Uint32(ciphertext[1:tinkPrefix])
	return ciphertext, id, k.ring.Load().has(id)
}

// foreign reports whether value has anything that another key than primary
// sealed.
func (k sealer) foreign(value []byte, primary uint32) (bool, error) {
	found := false
	_, err := walkJSON(value, func(_ []string, text string) (string, error) {
		_, id, ok := k.keyOf(text)
		found = found || (ok && id != primary)
		return text, nil
	})
	return found, err
}

// resealed returns value with everything that another key than primary sealed
// sealed anew, and whether there was any.
func (k sealer) resealed(key string, value []byte, primary uint32) ([]byte, bool, error) {
	kind, id, _ := strings.Cut(key, ".")
	changed := false
	next, err := walkJSON(value, func(path []string, text string) (string, error) {
		ciphertext, by, ok := k.keyOf(text)
		if !ok || by == primary {
			return text, nil
		}
		// The path begins with the ids of the objects around the field.
		ids, field := []string{id}, []string{}
		for _, part := range path {
			if of, isID := strings.CutPrefix(part, "id="); isID {
				ids = append(ids, of)
			} else {
				field = append(field, part)
			}
		}
		for _, at := range places(kind, ids, strings.Join(field, ".")) {
			plain, err := k.open(Sealed{ciphertext: ciphertext}, at[0], at[1], at[2])
			if errors.Is(err, errSealed) {
				continue
			}
			fresh := Plaintext(plain)
			if err := k.seal(&fresh, at[0], at[1], at[2]); err != nil {
				return "", err
			}
			changed = true
			return base64.StdEncoding.EncodeToString(fresh.ciphertext), nil
		}
		return "", fmt.Errorf("%s of %s %s does not open with what it is bound to", strings.Join(field, "."), kind, id)
	})
	return next, changed, err
}

// walkJSON calls visit for every text in a JSON value, with the names that lead
// to it, and returns the value with what visit returned instead. An object of a
// list adds "id=" and its id to the names. A value that is no JSON, such as the
// owner in a claim, holds nothing that is sealed.
func walkJSON(value []byte, visit func(path []string, text string) (string, error)) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber() // numbers stay as they were written
	var root any
	if err := decoder.Decode(&root); err != nil || decoder.More() {
		return value, nil
	}
	root, err := walkNode(nil, root, visit)
	if err != nil {
		return nil, err
	}
	return json.Marshal(root)
}

func walkNode(path []string, node any, visit func([]string, string) (string, error)) (_ any, err error) {
	switch node := node.(type) {
	case string:
		return visit(path, node)
	case map[string]any:
		for name, child := range node {
			if node[name], err = walkNode(append(path[:len(path):len(path)], name), child, visit); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, child := range node {
			at := path[:len(path):len(path)]
			if object, ok := child.(map[string]any); ok {
				if id, ok := object["id"].(string); ok {
					at = append(at, "id="+id)
				}
			}
			if node[i], err = walkNode(at, child, visit); err != nil {
				return nil, err
			}
		}
	}
	return node, nil
}
