// Command vaultserver is HashiCorp Vault's own server, built from the Go module
// proxy for `make test-vault`: the root keys' contract suite runs against it. It is
// a program for tests. Vault's licence (BUSL-1.1) does not concern Gatehouse,
// which neither links nor ships it.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
