package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type httpClient struct {
	http  *http.Client
	base  string
	dials atomic.Int64
}

// runHTTP makes the requests of the cases, in order, each told by a line.
func runHTTP(speak, base string, cases []string) {
	protocols := new(http.Protocols)
	if speak == "2" {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
	}
	c := &httpClient{base: base}
	dialer := &net.Dialer{}
	c.http = &http.Client{Transport: &http.Transport{
		Protocols:             protocols,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   100,
		ExpectContinueTimeout: 15 * time.Second,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c.dials.Add(1)
			return dialer.DialContext(ctx, network, address)
		},
	}}
	for _, name := range cases {
		line := c.run(name)
		line["case"] = name
		say(line)
	}
}

func (c *httpClient) request(method, path string, body io.Reader) *http.Request {
	request, err := http.NewRequest(method, c.base+path, body)
	must(err)
	return request
}

// send makes a request and tells the whole response.
func (c *httpClient) send(request *http.Request) facts {
	response, err := c.http.Do(request)
	if err != nil {
		return facts{"error": err.Error()}
	}
	defer response.Body.Close()
	line := head(response)
	body, err := io.ReadAll(response.Body)
	line["length"], line["sha256"], line["trailers"] = len(body), sum(body), lower(response.Trailer)
	if err != nil {
		line["error"] = err.Error()
	}
	return line
}

func head(response *http.Response) facts {
	return facts{
		"status": response.StatusCode, "proto": version(response.ProtoMajor), "headers": lower(response.Header),
	}
}

// piecewise is a body whose length nobody is told.
type piecewise struct {
	rest   []byte
	atEnd  func()
	pieces int
}

func (p *piecewise) Read(into []byte) (int, error) {
	if len(p.rest) == 0 {
		p.atEnd()
		return 0, io.EOF
	}
	n := copy(into, p.rest[:min(p.pieces, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

func (c *httpClient) run(name string) facts {
	switch name {
	case "get":
		request := c.request("GET", "/bytes/1000?q=%20x&y", nil)
		request.Header.Set("X-Test", "a, b")
		request.Header.Set("L5d-Client-Id", "liar")
		request.Header.Set("Cookie", "a=1; b=2; c=3")
		return c.send(request)
	case "head":
		return c.send(c.request("HEAD", "/bytes/1000", nil))
	case "empty":
		return c.send(c.request("GET", "/status/204", nil))
	case "missing":
		return c.send(c.request("GET", "/status/404", nil))
	case "post":
		return c.send(c.request("POST", "/echo", bytes.NewReader(pattern(100_000))))
	case "upload":
		body := pattern(300_000)
		request := c.request("POST", "/echo", nil)
		request.ContentLength = -1
		request.Trailer = http.Header{"X-Checksum": nil}
		request.Body = io.NopCloser(&piecewise{rest: body, pieces: 10_000, atEnd: func() {
			request.Trailer.Set("X-Checksum", sum(body))
		}})
		return c.send(request)
	case "download":
		return c.send(c.request("GET", "/bytes/20000000", nil))
	case "stream":
		return c.send(c.request("GET", "/stream/100/10000", nil))
	case "reuse":
		c.http.CloseIdleConnections()
		before, ok := c.dials.Load(), 0
		for range 50 {
			line := c.send(c.request("GET", "/bytes/10", nil))
			if line["sha256"] == sum(pattern(10)) {
				ok++
			}
		}
		return facts{"ok": ok, "connections": c.dials.Load() - before}
	case "parallel":
		return c.parallel()
	case "big-header":
		request := c.request("GET", "/bytes/1", nil)
		request.Header.Set("X-Big", string(bytes.Repeat([]byte("x"), 8000)))
		return c.send(request)
	case "hints":
		return c.hints()
	case "expect":
		continued := false
		request := c.request("POST", "/echo", bytes.NewReader(pattern(5000)))
		request.Header.Set("Expect", "100-continue")
		trace := &httptrace.ClientTrace{Got100Continue: func() { continued = true }}
		line := c.send(request.WithContext(httptrace.WithClientTrace(context.Background(), trace)))
		line["continued"] = continued
		return line
	case "early":
		return c.send(c.request("POST", "/early", bytes.NewReader(pattern(200_000))))
	case "cancel":
		ctx, cancel := context.WithCancel(context.Background())
		response, err := c.http.Do(c.request("GET", "/hold", nil).WithContext(ctx))
		if err != nil {
			cancel()
			return facts{"error": err.Error()}
		}
		first := make([]byte, len("first piece"))
		_, err = io.ReadFull(response.Body, first)
		cancel()
		must(err)
		line := head(response)
		line["first"] = string(first)
		return line
	case "die":
		return c.send(c.request("GET", "/die/50000", nil))
	case "refuse":
		return c.send(c.request("GET", "/refuse", nil))
	case "refuse-post":
		return c.send(c.request("POST", "/refuse", bytes.NewReader(pattern(10))))
	case "goaway":
		first := c.send(c.request("GET", "/goaway", nil))
		line := c.send(c.request("GET", "/bytes/10", nil))
		line["first_status"] = first["status"]
		return line
	case "slow":
		return c.slow()
	default:
		return facts{"unknown": true}
	}
}

func (c *httpClient) parallel() facts {
	var ok atomic.Int64
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			body := pattern(1000 * (n + 1))
			line := c.send(c.request("POST", "/echo", bytes.NewReader(body)))
			if line["sha256"] == sum(body) {
				ok.Add(1)
			} else {
				fmt.Fprintln(os.Stderr, "parallel", n, line)
			}
		})
	}
	all.Wait()
	return facts{"ok": ok.Load()}
}

func (c *httpClient) hints() facts {
	hints := []string{}
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, " ", header.Get("Link")))
		return nil
	}}
	request := c.request("GET", "/hints", nil)
	line := c.send(request.WithContext(httptrace.WithClientTrace(context.Background(), trace)))
	line["hints"] = hints
	return line
}

// slow reads the beginning of something big, waits until the test has looked, and reads the rest.
func (c *httpClient) slow() facts {
	response, err := c.http.Do(c.request("GET", "/bytes/60000000", nil))
	must(err)
	defer response.Body.Close()
	first := make([]byte, 10_000)
	_, err = io.ReadFull(response.Body, first)
	must(err)
	say(facts{"paused": true})
	for gate := os.Getenv("GATE"); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(gate); err == nil {
			break
		}
	}
	line := head(response)
	rest, err := io.ReadAll(response.Body)
	body := append(first, rest...)
	line["length"], line["sha256"] = len(body), sum(body)
	if err != nil {
		line["error"] = err.Error()
	}
	return line
}
