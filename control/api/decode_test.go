package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/sluicedb/sluice/access"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func TestDecodeJSON(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"empty", "", "the request body is empty; it must be a JSON object"},
		{"only space", " \n", "the request body is empty; it must be a JSON object"},
		{"array", "[]", "the request body must be a JSON object"},
		{"null", "null", "the request body must be a JSON object"},
		{"cut off", `{"name": "app"`, "malformed JSON in the request body at byte 14"},
		{"second object", `{"name": "app"} {}`, "malformed JSON in the request body at byte 17"},
		{"number for a name", `{"name": 5432}`, "name: must be a string, not number"},
		{"string for a port", `{"origin": {"port": "5432"}}`, "origin.port: must be a whole number, not string"},
		{"fraction for a port", `{"origin": {"port": 54.5}}`, "origin.port: must be a whole number, not number"},
		{"huge port", `{"origin": {"port": 99999999999999999999}}`, "origin.port: must be a whole number, not number"},
		{"string for a bool", `{"caching": {"disabled": "yes"}}`, "caching.disabled: must be true or false, not string"},
		{"string for an object", `{"origin": "postgres://u:hunter2@h/d"}`, "origin: must be an object, not string"},
		{"secret of the wrong type", `{"origin": {"password": 31337}}`, "origin.password: must be a string, not number"},
		{"unknown fields", `{"name": "app", "session_affinity": true}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := decodeJSON([]byte(tt.body), &v4.DatabaseWrite{}); err != nil {
				got = err.Error()
				var f *failure
				if !errors.As(err, &f) || f.status != 400 || f.errors[0].Code != codeMalformed {
					t.Errorf("error %#v is not a 400 with code %d", err, codeMalformed)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDecodeBodyIsBounded(t *testing.T) {
	body := `{"name": "` + strings.Repeat("a", bodyMax) + `"}`
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	err := decodeBody(httptest.NewRecorder(), r, &v4.DatabaseWrite{})
	var f *failure
	if !errors.As(err, &f) || f.status != 413 || f.errors[0].Code != codeTooLarge {
		t.Errorf("got %v, want 413 with code %d", err, codeTooLarge)
	}
}

func TestDecodePage(t *testing.T) {
	for _, tt := range []struct {
		query string
		want  page
		err   string
	}{
		{"", page{1, perPageDefault}, ""},
		{"page=3&per_page=50", page{3, 50}, ""},
		{"per_page=1000", page{1, perPageMax}, ""},
		{"page=0", page{}, "page: must be a whole number from 1 to 1048576"},
		{"page=-1", page{}, "page: must be a whole number from 1 to 1048576"},
		{"page=9999999999", page{}, "page: must be a whole number from 1 to 1048576"},
		{"per_page=all", page{}, "per_page: must be a whole number from 1 to 2147483647"},
	} {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodePage(query)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.err {
			t.Errorf("decodePage(%q) = %v, %q; want %v, %q", tt.query, got, text, tt.want, tt.err)
		}
	}
}

func TestPaginate(t *testing.T) {
	items := []int{1, 2, 3, 4, 5}
	for _, tt := range []struct {
		query string
		want  []int
		info  v4.ResultInfo
	}{
		{"per_page=2", []int{1, 2}, v4.ResultInfo{Page: 1, PerPage: 2, Count: 2, TotalCount: 5, TotalPages: 3}},
		{"per_page=2&page=3", []int{5}, v4.ResultInfo{Page: 3, PerPage: 2, Count: 1, TotalCount: 5, TotalPages: 3}},
		{"per_page=2&page=4", []int{}, v4.ResultInfo{Page: 4, PerPage: 2, Count: 0, TotalCount: 5, TotalPages: 3}},
		{"page=1048576", []int{}, v4.ResultInfo{Page: 1 << 20, PerPage: 20, Count: 0, TotalCount: 5, TotalPages: 1}},
	} {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := paginate(query, items, func(i int) int { return i })
		if err != nil {
			t.Fatal(err)
		}
		list := got.(listing)
		if list.info != tt.info || len(list.items.([]int)) != len(tt.want) {
			t.Errorf("paginate(%q) = %v %+v, want %v %+v", tt.query, list.items, list.info, tt.want, tt.info)
		}
	}
}

// FuzzDecodeDatabase: whatever the body, decoding ends, and its error never quotes the secret in it.
func FuzzDecodeDatabase(f *testing.F) {
	const secret = "hunter2hunter2"
	for _, seed := range []string{
		`{"name":"app","origin":{"scheme":"postgres","host":"db.internal.example","access_client_id":"a","password":"p"}}`,
		`{"origin":{"port":"5432"}}`, `{"caching":{"max_age":1e3}}`, `[`, ``, `{"a":{"a":{"a":`, "{\"name\":\"\\ud800\"}", `{"NAME":1}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, body := range []string{body, strings.ReplaceAll(body, "p", secret)} {
			var write v4.DatabaseWrite
			if err := decodeJSON([]byte(body), &write); err != nil {
				var known *failure
				if !errors.As(err, &known) {
					t.Fatalf("error without a place in the table: %v", err)
				}
				if strings.Contains(err.Error(), secret) {
					t.Fatalf("the error quotes the body: %v", err)
				}
			}
		}
	})
}

// FuzzDecodePolicy: rules decode themselves; what they refuse is the client's error, not the server's.
func FuzzDecodePolicy(f *testing.F) {
	for _, seed := range []string{
		`{"name":"p","decision":"non_identity","include":[{"service_token":{"token_id":"a"}},{"ip":{"ip":"10.0.0.0/8"}}]}`,
		`{"include":[{"everyone":{}}],"exclude":[{}]}`, `{"include":[null]}`, `{"include":[{"geo":{"country_code":"X"}}]}`, `{"include":{}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var write v4.PolicyWrite
		var known *failure
		if err := decodeJSON([]byte(body), &write); err != nil && !errors.As(err, &known) {
			t.Fatalf("error without a place in the table: %v", err)
		}
	})
}

// FuzzDecodeApplication: policies are taken over, linked or refused, and none is lost or comes from nowhere.
func FuzzDecodeApplication(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a","domain":"a.example","policies":["own",{"id":"shared","precedence":1},{"name":"p","decision":"allow","include":[{"everyone":{}}]}]}`,
		`{"policies":[{"id":"own","name":"x","decision":"bypass","include":[{"everyone":{}}],"approval_required":true}]}`,
		`{"policies":[null,"",{"id":""}],"destinations":[{"uri":"a"}],"self_hosted_domains":[""]}`, `{"policies":{}}`, `{"policies":[["x"]]}`,
	} {
		f.Add(seed)
	}
	had := []access.Policy{{ID: "own", Name: "own", Decision: access.Block}, {ID: "linked", Reusable: true}}
	f.Fuzz(func(t *testing.T, body string) {
		var write v4.ApplicationWrite
		var known *failure
		if err := decodeJSON([]byte(body), &write); err != nil {
			if !errors.As(err, &known) {
				t.Fatalf("error without a place in the table: %v", err)
			}
			return
		}
		if write.Policies == nil {
			return
		}
		policies, err := decodePolicies(*write.Policies, had)
		if err != nil {
			return
		}
		if len(policies) != len(*write.Policies) {
			t.Fatalf("%d policies of %d", len(policies), len(*write.Policies))
		}
		for _, p := range policies {
			if p.Reusable && (p.ID == "" || p.ID == "own" || p.Decision != "" || p.Include != nil) {
				t.Fatalf("a link is %+v", p)
			}
			if !p.Reusable && p.ID != "" && p.ID != "own" {
				t.Fatalf("a policy from nowhere: %+v", p)
			}
		}
	})
}

// FuzzDecodeIngress: the catch-all rule comes off, everything else is left for control.
func FuzzDecodeIngress(f *testing.F) {
	for _, seed := range []string{
		`{"config":{"ingress":[{"hostname":"a.example","service":"tcp://h:1"},{"service":"http_status:404"}]},"version":1}`,
		`{"config":{"ingress":[]}}`, `{"config":null}`, `{"config":{"ingress":[{"hostname":"a","path":"/x"}]}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var write v4.TunnelConfigurationUpdate
		if err := decodeJSON([]byte(body), &write); err != nil {
			return
		}
		ingress, err := decodeIngress(write.Config)
		if err == nil && len(ingress) > len(write.Config.Ingress) {
			t.Fatalf("%d rules of %d", len(ingress), len(write.Config.Ingress))
		}
	})
}

// FuzzDecodeEveryBody: whatever is sent to whatever operation, it decodes and encodes again, or is refused as the request's fault.
func FuzzDecodeEveryBody(f *testing.F) {
	var bodies []reflect.Type
	for _, op := range New(Config{}).operations {
		if op.request != nil {
			bodies = append(bodies, op.request)
		}
	}
	for i := range bodies {
		f.Add(i, []byte(`{"name":"app","origin":{"password":"hunter2-secret","port":5432},"config":{"ingress":[{"hostname":"a","service":"b"}]},"expires_on":"2026-01-01T00:00:00Z"}`))
		f.Add(i, []byte(`{"name":["hunter2-secret"],"include":[{"ip":{"ip":"10.0.0.0/8"}}]}`))
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		body := reflect.New(bodies[uint(i)%uint(len(bodies))])
		err := decodeJSON(data, body.Interface())
		if err == nil {
			if _, err := json.Marshal(body.Interface()); err != nil {
				t.Errorf("%v decodes and does not encode: %v", body.Type(), err)
			}
			return
		}
		known, expected := asFailure(err, "thing")
		if !expected || known.status != http.StatusBadRequest {
			t.Errorf("%v: %v is not the request's fault", body.Type(), err)
		}
	})
}
