package connector

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// named are the addresses of the names that tests have made up: [][4]byte by dnsmessage.Name. One resolver serves all tests, as
// what one test has begun may still look up a name when the next begins.
var named sync.Map

func TestMain(m *testing.M) {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go answerName(far)
		return near, nil
	}}
	os.Exit(m.Run())
}

// resolveTo makes a name lead to these addresses, until the test ends.
func resolveTo(t *testing.T, name string, addrs ...[4]byte) {
	t.Helper()
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		t.Fatal(err)
	}
	named.Store(n, addrs)
	t.Cleanup(func() { named.Delete(n) })
}

// answerName answers one question, as over TCP (RFC 1035 section 4.2.2).
func answerName(c net.Conn) {
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
		return // which fails the look-up
	}
	addrs, ok := named.Load(m.Questions[0].Name)
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if ok && m.Questions[0].Type == dnsmessage.TypeA {
		for _, a := range addrs.([][4]byte) {
			header := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a}})
		}
	}
	answer, err := m.Pack()
	if err != nil {
		return
	}
	_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)) // it gave up
}
