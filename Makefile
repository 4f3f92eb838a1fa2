# make demo and make test do their own set-up on a machine with Go and a package manager.

.PHONY: demo test test-vault test-rules test-otlp test-pkcs11 race fuzz lint gen bench release docs setup clean

demo: ## two sandboxed platforms, connected people, an app that calls both
	@scripts/setup go
	@mkdir -p dist
	go build -trimpath -o dist/gatehouse ./cmd/gatehouse
	./dist/gatehouse demo $(ARGS)

test: setup ## vet and every test
	go vet ./...
	go test -timeout 30m ./...

test-vault: ## root keys against a real Vault server; builds it first (5 to 15 minutes, once)
	@scripts/setup go
	@mkdir -p dist
	cd tools/vaultserver && CGO_ENABLED=0 go build -tags minimal -ldflags '-s -w' -o ../../dist/vaultserver .
	GATEHOUSE_VAULT_SERVER=$(CURDIR)/dist/vaultserver go test -tags vaultserver ./internal/vault/kms -run '^TestRealVault$$' -count=1 -v

test-otlp: ## the log's export, figures and traces against the OpenTelemetry Collector's receiver; builds it first (a minute, once)
	@scripts/setup go
	@mkdir -p dist
	cd tools/otlpserver && CGO_ENABLED=0 go build -ldflags '-s -w' -o ../../dist/otlpserver .
	GATEHOUSE_OTLP_SERVER=$(CURDIR)/dist/otlpserver go test -tags otlpserver ./internal/export ./internal/metrics/otlp -run '^TestCollector$$' -count=1 -v

test-rules: ## the alert rules and the dashboard, read by Prometheus' own parsers; builds them first (a minute, once)
	@scripts/setup go
	@mkdir -p dist
	cd tools/rulecheck && CGO_ENABLED=0 go build -ldflags '-s -w' -o ../../dist/rulecheck .
	./dist/rulecheck docs/prometheus-alerts.yaml docs/grafana-dashboard.json

test-pkcs11: ## root keys against SoftHSM2; needs cgo
	@scripts/setup pkcs11
	CGO_ENABLED=1 go test -tags pkcs11 ./internal/vault/kms -count=1

race: setup ## every test under the race detector
	CGO_ENABLED=1 go test -race -timeout 30m ./...

fuzz: ## every fuzz target; FUZZTIME=5m for longer
	scripts/fuzz $(or $(FUZZTIME),30s)

lint: ## gofmt and golangci-lint
	scripts/lint

gen: ## deps.txt and the documents that are made from the code
	go test . ./cmd/gatehouse -run '^TestGenerated' -update

bench: ## calls and tunnels beside other proxies, the log beside Tessera, a million connections, keys, people, flows, searches of the log, pages of the console, as ratios
	@scripts/setup go
	cd bench && go run . $(ARGS)
	$(if $(ARGS),,go test ./internal/vault -run '^$$' -bench 'Vault|Batch|Erasure' -timeout 30m)
	$(if $(ARGS),,go test ./internal/policy ./internal/platform ./internal/observe ./internal/gateway ./internal/metrics -run '^$$' -cpu 1 -bench 'Decide500|XSearch|See|ObservedCall|MeasuredCall')
	$(if $(ARGS),,go test ./internal/fingerprint -run '^$$' -bench 'Search10M|Scan|Memory' -timeout 30m)
	$(if $(ARGS),,go test ./internal/store -run '^$$' -bench Lineage -benchtime 50x -timeout 60m -args -lineage.flows=10000000)
	$(if $(ARGS),,go test ./internal/store -run '^$$' -bench AuditSearch -benchtime 50x -timeout 120m -args -audit.entries=10000000)
	$(if $(ARGS),,go test ./internal/store -run '^$$' -bench AuditLog -benchtime 3x -timeout 60m -args -audit.entries=10000000)
	$(if $(ARGS),,go test ./cmd/gatehouse -run '^$$' -bench Console -benchtime 200x -timeout 120m -args -console.connections=1000000 -console.entries=10000000)
	$(if $(ARGS),,go test ./cmd/gatehouse -run '^$$' -bench Console -benchtime 30x -timeout 120m -args -console.connections=1000000 -console.entries=10000000 -console.database=postgres)

release: ## the release binary, in dist/
	scripts/release

docs: ## what the program says about itself
	@scripts/setup go
	go run ./cmd/gatehouse --help
	go run ./cmd/gatehouse config example

setup:
	@scripts/setup

clean:
	rm -rf dist
