package control

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"testing"

	"github.com/sluicedb/sluice/access"
)

// FuzzEntry gives the replica what might lie in a store: nothing may panic, and
// what was there stays.
func FuzzEntry(f *testing.F) {
	f.Add("tunnel.a", []byte(`{"id":"a","account_id":"x","name":"n","ingress":[{"hostname":"*.b.c","service":"tcp://h:1"}]}`))
	f.Add("database.d", []byte(`{"id":"d","name":"n","origin":{"password":"AAAA"},"credentials":[{}]}`))
	f.Add("servicetoken.s", []byte(`{"client_id":"c","secrets":[{"hash":"00"}]}`))
	f.Add("application.p", []byte(`{"domain":"b.c","policies":[{"include":[{"ip":{"ip":"::1"}}]}]}`))
	f.Add("claim.hostname.Ki5iLmM", []byte("a"))
	f.Add("seen.s", []byte("2026-01-01T00:00:00Z"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		r := newReplica(quiet())
		keep, err := json.Marshal(Account{ID: "k"})
		if err != nil {
			t.Fatal(err)
		}
		r.watched([]entry{{key: "account.k", value: keep, rev: 1}}, 1)
		r.watched([]entry{{key: key, value: value, rev: 2}}, 2)
		r.wrote([]entry{{key: key, value: value, rev: 3}})
		snap := r.snap.Load()
		for _, name := range []string{"x.b.c", "*.b.c", "b.c", "", ".", string(value)} {
			snap.TunnelByHostname(name)
			access.Decide(snap, access.Request{Hostname: name, ClientID: name, Time: now})
			snap.Database(name)
		}
		if _, ok := snap.Account("k"); !ok && key != "account.k" {
			t.Fatal("another key's state is gone")
		}
		r.watched([]entry{{key: key, rev: 4, deleted: true}}, 4)
		if after := r.snap.Load(); after.routes.size != 0 || after.databaseByName.size != 0 || after.tunnelByName.size != 0 ||
			after.serviceTokenByClient.size != 0 || after.applicationByHost.size != 0 || after.apiTokenByHash.size != 0 {
			t.Fatal("a deleted key left an index behind")
		}
	})
}

func FuzzDatabase(f *testing.F) {
	f.Add([]byte(`{"name":"a","origin":{"scheme":"postgres","host":"h","port":1,"database":"d","user":"u","password":"AAAA"},"mtls":{"sslmode":"require"},"origin_connection_limit":5}`))
	f.Add([]byte(`{"origin":{"access_client_id":"x","access_client_secret":""},"mtls":{"ca_certificate":"-----BEGIN X-----"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Database
		if json.Unmarshal(b, &d) != nil || d.Validate() != nil {
			return
		}
		if len(d.Name) > maxNounName || len(d.Origin.User) > maxIdentifier || d.Caching.MaxAge > MaxCacheAge ||
			(d.Origin.Port != 0) == (d.Origin.AccessClientID != "") {
			t.Fatalf("passes: %+v", d)
		}
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Database
		if err := json.Unmarshal(text, &back); err != nil || back.Validate() != nil {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func FuzzTunnel(f *testing.F) {
	f.Add("db.example", "tcp://10.0.0.1:5432")
	f.Add("*.example.com", "unix:/run/postgresql/.s.PGSQL.5432")
	f.Add("a:1", "tcp://[::1%25eth0]:1")
	f.Fuzz(func(t *testing.T, hostname, service string) {
		tun := Tunnel{Name: "t", Ingress: []Ingress{{Hostname: hostname, Service: service}}}
		if tun.Validate() != nil {
			localService(service)
			return
		}
		if i, ok := tun.rule(hostname); !ok || i != 0 {
			t.Fatalf("a valid hostname does not lead anywhere: %q", hostname)
		}
		key := claimKey(claimHostname, hostname)
		if kind, name, ok := splitClaim(key[len(kindClaim)+1:]); !ok || kind != claimHostname || name != hostname {
			t.Fatalf("claim %s gives %q", key, name)
		}
	})
}

func FuzzSealed(f *testing.F) {
	f.Add([]byte(`"AAAA"`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Sealed
		if json.Unmarshal(b, &s) != nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Sealed
		if err := json.Unmarshal(text, &back); err != nil || !bytes.Equal(back.ciphertext, s.ciphertext) {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func FuzzAcknowledgement(f *testing.F) {
	f.Add([]byte(`{"stream":"KV_sluice","seq":7,"batch":"b","count":2}`))
	f.Add([]byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if seq, err := sequenceOf(b); err != nil && seq != 0 {
			t.Fatalf("a sequence with an error: %d, %v", seq, err)
		}
	})
}

// FuzzCertificate gives the certificate reader what might be uploaded: what it accepts has a certificate and a key that belong together.
func FuzzCertificate(f *testing.F) {
	cert, key := testPair(f, "one", now.AddDate(100, 0, 0))
	other, _ := testPair(f, "two", now.AddDate(100, 0, 0))
	f.Add(cert, key)
	f.Add(other+cert, key)
	f.Add(cert+cert, "")
	f.Add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\nDEK-Info: x\n\nAAAA\n-----END PRIVATE KEY-----\n")
	f.Fuzz(func(t *testing.T, cert, key string) {
		c := Certificate{CA: key == "", PEM: cert, PrivateKey: Plaintext(Secret(key))}
		if c.fill(now) != nil {
			return
		}
		if c.Serial == "" || !c.ExpiresOn.After(now) {
			t.Fatalf("passes: %+v", c)
		}
		if _, err := tls.X509KeyPair([]byte(cert), []byte(key)); !c.CA && err != nil {
			t.Fatalf("does not go together: %v", err)
		}
	})
}
