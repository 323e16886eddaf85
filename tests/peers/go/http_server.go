package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

type connectionKey struct{}

// serveHTTP answers as ../README.md says, HTTP/1.1 and HTTP/2 without TLS on one port.
func serveHTTP(address string) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	var connections atomic.Int64
	server := &http.Server{
		Protocols: protocols,
		Handler:   http.HandlerFunc(answer),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, connections.Add(1))
		},
	}
	listener, err := net.Listen("tcp", address)
	must(err)
	say(facts{"listening": address})
	must(server.Serve(listener))
}

// values shows what is long by its length only.
func values(header http.Header) map[string]string {
	fields := lower(header)
	for name, value := range fields {
		if len(value) > 200 {
			fields[name] = "(" + strconv.Itoa(len(value)) + ")"
		}
	}
	return fields
}

func answer(w http.ResponseWriter, r *http.Request) {
	seen := facts{
		"method": r.Method, "target": r.RequestURI, "proto": version(r.ProtoMajor), "host": r.Host,
		"headers": values(r.Header), "connection": r.Context().Value(connectionKey{}), "end": "complete",
	}
	// Cut connections and streams are told by a panic that net/http knows.
	defer func() {
		problem := recover()
		if problem != nil {
			seen["end"] = "cut"
		}
		say(seen)
		if problem != nil {
			panic(problem)
		}
	}()
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	number := func(at int) int {
		if at >= len(parts) {
			return 0
		}
		n, _ := strconv.Atoi(parts[at])
		return n
	}
	read := func() []byte {
		body, err := io.ReadAll(r.Body)
		seen["length"], seen["sha256"] = len(body), sum(body)
		if err != nil {
			seen["end"] = "gone"
		}
		seen["trailers"] = lower(r.Trailer)
		return body
	}
	switch parts[0] {
	case "echo":
		body := read()
		w.Header().Set("Trailer", "X-Sha256, X-Trailer-Seen")
		w.WriteHeader(200)
		_, _ = w.Write(body)
		w.Header().Set("X-Sha256", sum(body))
		w.Header().Set("X-Trailer-Seen", r.Trailer.Get("X-Checksum"))
	case "bytes":
		w.Header().Set("Content-Length", strconv.Itoa(number(1)))
		if r.Method != http.MethodHead {
			if _, err := w.Write(pattern(number(1))); err != nil {
				seen["end"] = "gone"
			}
		}
	case "stream":
		w.Header().Set("Trailer", "X-Sha256")
		hash, piece := sha256.New(), pattern(number(2))
		for range number(1) {
			hash.Write(piece)
			_, _ = w.Write(piece)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("X-Sha256", hex.EncodeToString(hash.Sum(nil)))
	case "status":
		read()
		w.WriteHeader(number(1))
	case "hints":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "after hints")
	case "hold":
		_, _ = io.WriteString(w, "first piece")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		if errors.Is(r.Context().Err(), context.Canceled) {
			seen["end"] = "gone"
		}
	case "die":
		w.Header().Set("Content-Length", "10000000")
		_, _ = w.Write(pattern(number(1)))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "refuse":
		panic(http.ErrAbortHandler)
	case "goaway":
		// net/http answers this with GOAWAY on HTTP/2, with a close on HTTP/1.
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "the last one")
	case "early":
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "too much")
	default:
		w.WriteHeader(404)
	}
}
