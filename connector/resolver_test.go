package connector

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// resolveTo makes every name that no hosts file has lead to these addresses, until the test ends.
func resolveTo(t *testing.T, addrs ...[4]byte) {
	t.Helper()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go answerName(t, far, addrs)
		return near, nil
	}}
	t.Cleanup(func() { net.DefaultResolver = before })
}

// answerName answers one question, as over TCP (RFC 1035 section 4.2.2).
func answerName(t *testing.T, c net.Conn, addrs [][4]byte) {
	defer c.Close()
	length := make([]byte, 2)
	if _, err := io.ReadFull(c, length); err != nil {
		return // the resolver gave up
	}
	asked := make([]byte, binary.BigEndian.Uint16(length))
	if _, err := io.ReadFull(c, asked); err != nil {
		return
	}
	var m dnsmessage.Message
	if err := m.Unpack(asked); err != nil {
		t.Errorf("question: %v", err)
		return
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if m.Questions[0].Type == dnsmessage.TypeA {
		for _, a := range addrs {
			header := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a}})
		}
	}
	answer, err := m.Pack()
	if err != nil {
		t.Errorf("answer: %v", err)
		return
	}
	_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)) // it gave up
}
