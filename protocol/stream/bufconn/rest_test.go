package bufconn

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// connected returns the two ends of a TCP connection.
func connected(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// certificate is one that signs itself.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secured speaks TLS over the two ends of a connection.
func secured(t *testing.T, near, far net.Conn) (*tls.Conn, *tls.Conn) {
	t.Helper()
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := client.Handshake(); err != nil {
			t.Error(err)
		}
	})
	if err := server.Handshake(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	return server, client
}

// eachWay runs a test with a Conn over a socket, over TLS on a socket, and over what is neither.
func eachWay(t *testing.T, test func(t *testing.T, c *Conn, far net.Conn)) {
	framing := &Framing{Header: 1, More: func([]byte) bool { return false }}
	t.Run("socket", func(t *testing.T) {
		near, far := connected(t)
		test(t, New(near, framing), far)
	})
	t.Run("TLS", func(t *testing.T) {
		near, far := connected(t)
		server, client := secured(t, near, far)
		test(t, New(server, framing), client)
	})
	t.Run("pipe", func(t *testing.T) {
		near, far := net.Pipe()
		t.Cleanup(func() { near.Close(); far.Close() })
		test(t, New(near, framing), far)
	})
}

// awaits reads in another goroutine.
func awaits(read func() error) <-chan error {
	err := make(chan error, 1)
	go func() { err <- read() }()
	return err
}

// rousing calls Rouse until what is awaited has come.
func rousing(c *Conn, ended <-chan error) error {
	for {
		select {
		case err := <-ended:
			return err
		default:
			c.Rouse()
			runtime.Gosched()
		}
	}
}

// Who has read rests when nothing comes, and reads what comes then.
func TestAwaitRests(t *testing.T) {
	eachWay(t, func(t *testing.T, c *Conn, far net.Conn) {
		for i := range 5 {
			sent := []byte{byte(i)}
			got := awaits(c.Await)
			if _, err := far.Write(sent); err != nil {
				t.Fatal(err)
			}
			if err := <-got; err != nil || !bytes.Equal(c.Bytes(), sent) {
				t.Fatalf("round %d: %v, %v", i, c.Bytes(), err)
			}
			c.Discard(1)
			c.Release()
			if err := rousing(c, awaits(c.Await)); err != ErrRest {
				t.Fatalf("round %d: Await returned %v, want ErrRest", i, err)
			}
			c.Rouse() // one that rests is left alone
			c.Rouse()
		}
	})
}

// A Fill is in the middle of something, which goes on however often its reader is told to rest.
func TestFillDoesNotRest(t *testing.T) {
	eachWay(t, func(t *testing.T, c *Conn, far net.Conn) {
		c.rest.pace.Store(moving)
		filled := awaits(c.Fill)
		for c.rest.pace.Load() != resting { // it was roused, and waits again
			c.Rouse()
			runtime.Gosched()
		}
		if _, err := far.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-filled; err != nil || string(c.Bytes()) != "x" {
			t.Errorf("Fill: %q, %v", c.Bytes(), err)
		}
	})
}

// A deadline is met by whoever rests, and by whoever was told to at the same time.
func TestDeadlineOutlivesRest(t *testing.T) {
	eachWay(t, func(t *testing.T, c *Conn, _ net.Conn) {
		c.rest.pace.Store(still)
		for range 100 {
			var wg sync.WaitGroup
			wg.Go(func() { c.Rouse(); c.Rouse() })
			wg.Go(func() {
				if err := c.SetReadDeadline(past); err != nil {
					t.Error(err)
				}
			})
			err := c.Await()
			for err == ErrRest {
				err = c.Await()
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Await returned %v, want %v", err, os.ErrDeadlineExceeded)
			}
			wg.Wait()
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			c.rest.pace.Store(still)
		}
	})
}

// To drop nothing is no use of the buffer, which another goroutine may be reading into.
func TestDiscardOfNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, c *Conn, far net.Conn) {
		filled := awaits(c.Fill)
		for range 100 {
			c.Discard(0)
			runtime.Gosched()
		}
		if _, err := far.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		for {
			select {
			case err := <-filled:
				if err != nil || string(c.Bytes()) != "x" {
					t.Errorf("Fill: %q, %v", c.Bytes(), err)
				}
				return
			default:
				c.Discard(0)
			}
		}
	})
}
