package tunnel

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func testToken() Token {
	return Token{Account: "acc", Tunnel: "0af1c2d4", Secret: "s3cr3t-value", Relays: []string{"relay:7844"}, CA: "-----BEGIN CERTIFICATE-----"}
}

func TestToken(t *testing.T) {
	want := testToken()
	for _, text := range []string{want.Encode(), " " + want.Encode() + "\n", want.Encode() + "=="} {
		got, err := ParseToken(text)
		if err != nil {
			t.Fatalf("ParseToken: %v", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("token = %#v", got)
		}
	}
}

func TestTokenRejected(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	for name, text := range map[string]string{
		"empty":          "",
		"not base64":     "s3cr3t-value!",
		"not JSON":       encode([]byte("s3cr3t-value")),
		"text follows":   encode([]byte(`{"t":"x","s":"s3cr3t-value","r":["r:1"]} s3cr3t-value`)),
		"no tunnel":      Token{Secret: "s3cr3t-value", Relays: []string{"r:1"}}.Encode(),
		"no secret":      Token{Tunnel: "x", Relays: []string{"r:1"}}.Encode(),
		"no relay":       Token{Tunnel: "x", Secret: "s3cr3t-value"}.Encode(),
		"too long":       strings.Repeat("A", maxToken+1),
		"another's JSON": encode([]byte(`[1,2]`)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseToken(text)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

// TestTokenHidesSecret prints a token in the ways of a log.
func TestTokenHidesSecret(t *testing.T) {
	tok := testToken()
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, tok); strings.Contains(got, tok.Secret) {
			t.Errorf("%s shows the secret: %s", format, got)
		}
		if got := fmt.Sprintf(format, &tok); strings.Contains(got, tok.Secret) {
			t.Errorf("%s of a pointer shows the secret: %s", format, got)
		}
	}
}

// FuzzToken parses texts. What is accepted must survive Encode.
func FuzzToken(f *testing.F) {
	f.Add(testToken().Encode())
	f.Add("eyJ0IjoieCJ9")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseToken(text)
		if err != nil {
			return
		}
		again, err := ParseToken(tok.Encode())
		if len(tok.Encode()) <= maxToken && (err != nil || !reflect.DeepEqual(tok, again)) {
			t.Errorf("%#v became %#v, %v", tok, again, err)
		}
	})
}
