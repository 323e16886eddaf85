// Command peers is Go's side of the real-peer tests: net/http and grpc-go, as a client and as a server.
//
// What it must do is told in ../README.md: every peer does the same, and prints what it saw as lines of JSON.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
)

func main() {
	args := os.Args[1:]
	if len(args) < 2 {
		fail("usage: peers http-server ADDRESS | http-client VERSION URL CASE... | grpc-server ADDRESS | grpc-client ADDRESS CASE...")
	}
	switch args[0] {
	case "http-server":
		serveHTTP(args[1])
	case "http-client":
		runHTTP(args[1], args[2], args[3:])
	case "grpc-server":
		serveGRPC(args[1])
	case "grpc-client":
		runGRPC(args[1], args[2:])
	default:
		fail("no such role: " + args[0])
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(2)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

type facts map[string]any

var printing sync.Mutex

// say prints one line that the test reads.
func say(line facts) {
	printing.Lock()
	defer printing.Unlock()
	must(json.NewEncoder(os.Stdout).Encode(line))
}

// pattern is the body that everybody can make and check.
func pattern(length int) []byte {
	bytes := make([]byte, length)
	for i := range bytes {
		bytes[i] = byte(i*7 + (i>>8)*13)
	}
	return bytes
}

func sum(bytes []byte) string {
	hash := sha256.Sum256(bytes)
	return hex.EncodeToString(hash[:])
}

// lower gives fields by their names in lower case, repeated ones joined.
func lower(header http.Header) map[string]string {
	fields := map[string]string{}
	for name, values := range header {
		fields[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return fields
}

func version(major int) string {
	if major == 2 {
		return "2"
	}
	return "1.1"
}
