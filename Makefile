# Every target works from a fresh clone. The targets that need programs beyond Go and git
# install them first, with apt, when run as root; otherwise they say what is missing.

GO        ?= go
FUZZTIME  ?= 10s
# A checkout that git cannot read (another owner, no .git) builds without a commit in its version.
BUILDVCS  := $(shell git rev-parse --verify -q HEAD >/dev/null 2>&1 && echo true || echo false)
BUILD     := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(BUILDVCS)
UNIT       = $$($(GO) list ./... | grep -v /integration) ./integration/structure

# What the oldest and the newest PostgreSQL are tried with each time; the machine's own has everything.
ACROSS     = Pooling(01|02|08|10|13|2[0-9]|3[0-2]|39|4[0-3]|70)|TestOrigin|TestFailover

.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: build test unit integration test-versions lint fmt demo bench soak fuzz generate install clean help

build: ## build bin/sluice and bin/sluice-connector, static, with the commit in their version
	$(BUILD) -o bin/ ./cmd/sluice ./cmd/sluice-connector

test: install lint unit integration ## everything: install what is missing, lint, unit tests, integration tests

unit: ## unit tests with the race detector, no servers needed
	$(GO) test -race -timeout 15m $(UNIT)

integration: ## end-to-end tests on real servers and drivers
	$(GO) test -race -count=1 -p 2 -timeout 30m $$($(GO) list ./integration/... | grep -v /structure$$)
	@$(MAKE) --no-print-directory test-versions VERSIONS="12 18" RUN='$(ACROSS)'

test-versions: ## the PostgreSQL suite on every release from 12 to 18 (VERSIONS="12 18", RUN=Pooling70)
	@scripts/install.sh postgres node
	@for v in $(or $(VERSIONS),$$(scripts/postgres.sh list)); do \
	  bin=$$(scripts/postgres.sh $$v) && echo "PostgreSQL $$v" && \
	  SLUICE_POSTGRES_BIN=$$bin $(GO) test -count=1 -timeout 10m -run '$(RUN)' ./integration/pooling || exit 1; done

lint: ## gofmt, go vet and staticcheck, the version pinned in go.mod
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

fmt: ## format every Go file
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')

demo: ## show the whole path on this machine (KEEP=1 leaves it running)
	@scripts/install.sh postgres net
	@$(MAKE) --no-print-directory build >/dev/null
	@$(GO) run ./integration/cmd/demo $(if $(KEEP),-keep)

bench: ## pgbench direct, through PgBouncer and through Sluice; the control plane with 10,000 databases (DATABASES=0 without, ROUNDS=3, LENGTH=2 seconds, BENCH_SID=1)
	@scripts/install.sh postgres pgbouncer $(if $(BENCH_SID),sid)
	@$(MAKE) --no-print-directory build >/dev/null
	@$(GO) run ./integration/cmd/bench $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(LENGTH),-seconds $(LENGTH)) $(if $(DATABASES),-databases $(DATABASES)) $(if $(BENCH_SID),-sid)

soak: ## random readers and writers on the query cache for SOAK (10m); SEED repeats a run
	@scripts/install.sh race postgres
	SLUICE_SOAK=$(or $(SOAK),10m) SLUICE_SEED=$(SEED) $(GO) test -race -count=1 -v -timeout 2h -run Torture ./integration/caching

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

generate: ## regenerate what is generated (installs protoc when missing)
	@scripts/install.sh protoc
	$(GO) generate ./...

install: ## install what the tests need and this machine has not
	@scripts/install.sh race postgres net node python java pgbouncer

clean: ## remove what was built and cached in the checkout
	rm -rf bin .cache

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
