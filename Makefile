# Every target works from a fresh clone. The targets that need programs beyond Go and git
# install them first, with apt, when run as root; otherwise they say what is missing.

GO        ?= go
FUZZTIME  ?= 10s
# A checkout that git cannot read (another owner, no .git) builds without a commit in its version.
BUILDVCS  := $(shell git rev-parse --verify -q HEAD >/dev/null 2>&1 && echo true || echo false)
# Whatever needs no race detector is compiled in one way, and so once.
PLAIN     := CGO_ENABLED=0 GOFLAGS=-trimpath
BUILD     := $(PLAIN) $(GO) build -buildvcs=$(BUILDVCS)
# The race detector would have each program wait a second at its end. What lint has vetted is not vetted again.
RACE      := GORACE=atexit_sleep_ms=0 $(GO) test -race -vet=off
# Packages wait much, and some last for a set time: three at once are done sooner, on two cores too.
ATONCE    := $(shell n=$$(nproc); echo $$((n > 3 ? n : 3)))
UNIT       = $$($(GO) list ./... | grep -v /integration) ./integration/structure

# What the oldest and the newest PostgreSQL are tried with each time; the machine's own has everything.
ACROSS     = Pooling(01|02|08|10|13|2[0-9]|3[0-2]|39|4[0-3]|70)|TestOrigin|TestFailover

.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: build test unit integration test-versions test-rust lint fmt demo bench bench-mysql bench-tunnel bench-cache soak chaos fuzz oracle generate install clean help

build: ## build bin/sluice and bin/sluice-connector, static, with the commit in their version
	$(BUILD) -o bin/ ./cmd/sluice ./cmd/sluice-connector

test: ## everything: install what is missing, lint meanwhile, unit tests, integration tests
	@$(MAKE) --no-print-directory install & installs=$$!; \
	  $(MAKE) --no-print-directory lint; linted=$$?; wait $$installs && exit $$linted
	@$(MAKE) --no-print-directory unit integration

unit: ## unit tests with the race detector, no servers needed
	$(RACE) -p $(ATONCE) -timeout 15m $(UNIT)
	$(PLAIN) $(GO) test -timeout 5m ./protocol/stream/... # whose system calls are others without it

integration: ## end-to-end tests on real servers and drivers
	$(RACE) -count=1 -p 3 -timeout 30m $$($(GO) list ./integration/... | grep -v /structure$$)
	@$(MAKE) --no-print-directory test-versions VERSIONS="12 18" RUN='$(ACROSS)'

test-versions: ## the PostgreSQL suite on every release from 12 to 18 (VERSIONS="12 18", RUN=Pooling70)
	@scripts/install.sh postgres node
	@for v in $(or $(VERSIONS),$$(scripts/postgres.sh list)); do \
	  bin=$$(scripts/postgres.sh $$v) && echo "PostgreSQL $$v" && \
	  SLUICE_POSTGRES_BIN=$$bin $(PLAIN) $(GO) test -count=1 -timeout 10m -run '$(RUN)' ./integration/pooling || exit 1; done

test-rust: ## tokio-postgres, with Debian's compiler and crates (minutes to install and to compile)
	@scripts/install.sh postgres rust
	$(GO) test -tags rust -count=1 -v -timeout 30m -run TokioPostgres ./integration/pooling

lint: ## gofmt, go vet and staticcheck, the version pinned in go.mod
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	$(PLAIN) $(GO) vet ./...
	$(PLAIN) GOGC=400 $(GO) tool staticcheck ./... # a fifth less processor time, for memory

fmt: ## format every Go file
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')

demo: ## show the whole path on this machine (KEEP=1 leaves it running)
	@scripts/install.sh postgres net
	@$(MAKE) --no-print-directory build >/dev/null
	@$(GO) run ./integration/cmd/demo $(if $(KEEP),-keep)

bench: bench-tunnel bench-cache ## pgbench, sysbench, logins, memory, system calls and distance: direct, through PgBouncer, MySQL Router, HAProxy and Sluice; the control plane with 10,000 databases (ONLY=prepared,idle ROUNDS=5, LENGTH=2 seconds, DATABASES=10000, BENCH_SID=1)
	@scripts/install.sh postgres pgbouncer net strace mysql mysqlrouter sysbench relays $(if $(BENCH_SID),sid)
	@$(MAKE) --no-print-directory build >/dev/null
	@$(GO) run ./integration/cmd/bench $(if $(ONLY),-only $(ONLY)) $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(LENGTH),-seconds $(LENGTH)) $(if $(DATABASES),-databases $(DATABASES)) $(if $(BENCH_SID),-sid)

bench-mysql: ## the part of bench that is MySQL's: sysbench direct, through HAProxy, MySQL Router and Sluice; system calls, memory (ROUNDS=5, LENGTH=2 seconds)
	@scripts/install.sh postgres mysql mysqlrouter sysbench relays strace
	@$(GO) run ./integration/cmd/bench -only mysql $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(LENGTH),-seconds $(LENGTH))

bench-tunnel: ## the tunnel beside plain relays: loopback, distance, memory (PARTS=loopback,fetch WAYS=quic WHAT=open/16 ROUNDS=3)
	@scripts/install.sh net relays
	@$(GO) run ./integration/cmd/tunnelbench $(if $(PARTS),-parts $(PARTS)) $(if $(WAYS),-ways '$(WAYS)') $(if $(WHAT),-what '$(WHAT)') $(if $(ROUNDS),-rounds $(ROUNDS))

bench-cache: ## hits of the query cache beside an echo server, Redis, pgpool-II, PgBouncer and the origin; misses; memory; hits of MySQL (PARTS=hits WAYS=echo CLIENTS=1,8 ROUNDS=3 LENGTH=500ms)
	@scripts/install.sh postgres pgbouncer caches mysql
	@CGO_ENABLED=0 $(GO) run ./integration/cmd/cachebench $(if $(PARTS),-parts $(PARTS)) $(if $(WAYS),-ways '$(WAYS)') $(if $(CLIENTS),-clients $(CLIENTS)) $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(findstring s,$(LENGTH)),-length $(LENGTH))

soak: ## random clients of the two proxies and of the query cache for SOAK (10m) each; SEED repeats a run
	@scripts/install.sh race postgres mariadb mysql
	SLUICE_SOAK=$(or $(SOAK),10m) SLUICE_SEED=$(SEED) $(GO) test -race -count=1 -v -timeout 2h -run Torture ./integration/caching ./integration/pooling ./integration/mysql

chaos: ## break a whole fleet at random under load for CHAOS (10m); SEED repeats a run's choices
	@scripts/install.sh race postgres net
	SLUICE_CHAOS=$(or $(CHAOS),10m) SLUICE_SEED=$(SEED) $(GO) test -race -count=1 -v -timeout 2h ./integration/chaos

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

oracle: ## compare what is taken for cacheable with PostgreSQL's own parser (needs a C compiler)
	@scripts/install.sh race
	$(GO) test -tags oracle -count=1 -v -run Oracle ./proxy/query

generate: ## regenerate what is generated (installs protoc when missing)
	@scripts/install.sh protoc
	$(GO) generate ./...

install: ## install what the tests need and this machine has not
	@scripts/install.sh race postgres mariadb mysql net systemd node python java pgbouncer mysqlrouter sysbench relays strace

clean: ## remove what was built and cached in the checkout
	rm -rf bin .cache

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
