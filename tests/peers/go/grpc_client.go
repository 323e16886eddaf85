package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type grpcClient struct{ conn *grpc.ClientConn }

// runGRPC makes the calls of the cases, in order, each told by a line.
func runGRPC(address string, cases []string) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithAuthority("server.default.svc.cluster.local"),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(8<<20)))
	must(err)
	c := &grpcClient{conn}
	for _, name := range cases {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		line := c.run(ctx, name)
		cancel()
		line["case"] = name
		say(line)
	}
}

var both = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func (c *grpcClient) unary(ctx context.Context, message []byte, options ...grpc.CallOption) facts {
	var head, tail metadata.MD
	var answer []byte
	options = append(options, grpc.Header(&head), grpc.Trailer(&tail))
	err := c.conn.Invoke(ctx, service+"Unary", &message, &answer, options...)
	return ended(facts{
		"sha256": sum(answer), "length": len(answer), "head": metadataFacts(head), "tail": metadataFacts(tail),
	}, err)
}

func ended(line facts, err error) facts {
	end := status.Convert(err)
	line["status"], line["message"] = int(end.Code()), end.Message()
	return line
}

func (c *grpcClient) open(ctx context.Context, method string) grpc.ClientStream {
	stream, err := c.conn.NewStream(ctx, both, service+method)
	must(err)
	return stream
}

func receive(stream grpc.ClientStream) ([]byte, error) {
	var message []byte
	err := stream.RecvMsg(&message)
	return message, err
}

// finish receives the rest and tells how it ended.
func finish(line facts, stream grpc.ClientStream) facts {
	count := 0
	for {
		_, err := receive(stream)
		if err == nil {
			count++
			continue
		}
		if err == io.EOF {
			err = nil
		}
		line["messages"], line["tail"] = count, metadataFacts(stream.Trailer())
		return ended(line, err)
	}
}

func (c *grpcClient) run(ctx context.Context, name string) facts {
	switch name {
	case "unary":
		ctx = metadata.AppendToOutgoingContext(ctx, "x-some", "text", "x-some-bin", "\x00\x01\xfe\xff")
		return c.unary(ctx, []byte("hello"))
	case "empty":
		return c.unary(ctx, nil)
	case "big":
		return c.unary(ctx, pattern(3_000_000))
	case "gzip":
		return c.unary(ctx, bytes.Repeat([]byte("again "), 100_000), grpc.UseCompressor(gzip.Name))
	case "collect":
		stream := c.open(ctx, "Collect")
		for n := range 500 {
			message := pattern(n * 3)
			must(stream.SendMsg(&message))
		}
		must(stream.CloseSend())
		answer, err := receive(stream)
		return ended(facts{"answer": string(answer)}, err)
	case "spread":
		stream := c.open(ctx, "Spread")
		var nothing []byte
		must(stream.SendMsg(&nothing))
		must(stream.CloseSend())
		right := 0
		for n := range 1000 {
			message, err := receive(stream)
			if err != nil {
				return ended(facts{"right": right}, err)
			}
			if bytes.Equal(message, pattern(n)) {
				right++
			}
		}
		return finish(facts{"right": right}, stream)
	case "talk":
		stream := c.open(ctx, "Talk")
		right := 0
		for n := range 200 {
			message := pattern(n * 11)
			must(stream.SendMsg(&message))
			answer, err := receive(stream)
			if err != nil {
				return ended(facts{"right": right}, err)
			}
			if bytes.Equal(message, answer) {
				right++
			}
		}
		must(stream.CloseSend())
		return finish(facts{"right": right}, stream)
	case "parallel":
		var ok atomic.Int64
		var all sync.WaitGroup
		for n := range 100 {
			all.Go(func() {
				message := []byte(fmt.Sprint("message ", n))
				if line := c.unary(ctx, message); line["sha256"] == sum(message) {
					ok.Add(1)
				}
			})
		}
		all.Wait()
		return facts{"ok": ok.Load()}
	case "fail":
		stream := c.open(ctx, "Fail")
		must(stream.CloseSend())
		return finish(facts{}, stream)
	case "break":
		stream := c.open(ctx, "Break")
		must(stream.CloseSend())
		return finish(facts{}, stream)
	case "unimplemented":
		stream := c.open(ctx, "Nothing")
		_ = stream.CloseSend()
		return finish(facts{}, stream)
	case "deadline":
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return finish(facts{}, c.open(ctx, "Hold"))
	case "cancel":
		ctx, cancel := context.WithCancel(ctx)
		stream := c.open(ctx, "Hold")
		message, err := receive(stream)
		must(err)
		cancel()
		return finish(facts{"first": string(message)}, stream)
	case "die":
		stream := c.open(ctx, "Die")
		message, err := receive(stream)
		must(err)
		must(stream.SendMsg(&message))
		return finish(facts{"first": string(message)}, stream)
	default:
		return facts{"unknown": true}
	}
}
