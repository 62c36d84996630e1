//go:build peers

// Names the programs of others that are built from this module, so that `go mod tidy` keeps their hashes.
package main

import _ "github.com/stripe/stripe-mock"
