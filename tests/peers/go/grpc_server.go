package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // to answer compressed what came compressed
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// raw is a codec of messages that are just bytes: no schema is needed, and every language does the same.
type raw struct{}

var _ encoding.Codec = raw{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

const service = "/weft.test.Peer/"

// What fails says this, with what must be escaped in a header.
const failure = "not here: 100 % grün\n"

type grpcServer struct{ calls atomic.Int64 }

// serveGRPC answers as ../README.md says.
func serveGRPC(address string) {
	listener, err := net.Listen("tcp", address)
	must(err)
	s := &grpcServer{}
	server := grpc.NewServer(
		grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(s.call), grpc.MaxRecvMsgSize(8<<20),
	)
	say(facts{"listening": address})
	must(server.Serve(listener))
}

func (s *grpcServer) call(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	arrived, _ := metadata.FromIncomingContext(stream.Context())
	seen := facts{"method": method, "headers": metadataFacts(arrived)}
	_, seen["deadline"] = stream.Context().Deadline()
	err := s.answer(method, arrived, stream, seen)
	seen["end"] = status.Code(err).String()
	if stream.Context().Err() == context.Canceled || stream.Context().Err() == context.DeadlineExceeded {
		seen["end"] = "gone"
	}
	say(seen)
	return err
}

func (s *grpcServer) answer(method string, arrived metadata.MD, stream grpc.ServerStream, seen facts) error {
	received := 0
	defer func() { seen["messages"] = received }()
	receive := func() ([]byte, error) {
		var message []byte
		err := stream.RecvMsg(&message)
		if err == nil {
			received++
		}
		return message, err
	}
	send := func(message []byte) error { return stream.SendMsg(&message) }
	switch method {
	case service + "Unary":
		message, err := receive()
		if err != nil {
			return err
		}
		must(stream.SetHeader(metadata.Pairs("x-head", "of the answer", "x-seen-bin", first(arrived, "x-some-bin"))))
		stream.SetTrailer(metadata.Pairs("x-tail", "after it", "x-tail-bin", "\x00\xff\x10"))
		return send(message)
	case service + "Collect":
		var all []byte
		for {
			message, err := receive()
			if err == io.EOF {
				return send([]byte(fmt.Sprintf("%d %s", len(all), sum(all))))
			}
			if err != nil {
				return err
			}
			all = append(all, message...)
		}
	case service + "Spread":
		if _, err := receive(); err != nil {
			return err
		}
		for n := range 1000 {
			if err := send(pattern(n)); err != nil {
				return err
			}
		}
		return nil
	case service + "Talk":
		for {
			message, err := receive()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := send(message); err != nil {
				return err
			}
		}
	case service + "Fail":
		return status.Error(codes.NotFound, failure)
	case service + "Break":
		if err := send([]byte("one")); err != nil {
			return err
		}
		stream.SetTrailer(metadata.Pairs("x-tail", "after it"))
		return status.Error(codes.DataLoss, failure)
	case service + "Hold":
		if err := send([]byte("first")); err != nil {
			return err
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	case service + "Die":
		if err := send([]byte("first")); err != nil {
			return err
		}
		// The client says when it has it.
		if _, err := receive(); err == nil {
			say(facts{"method": method, "end": "dies"})
			os.Exit(1)
		}
		return nil
	default:
		return status.Error(codes.Unimplemented, method)
	}
}

func first(md metadata.MD, name string) string {
	if values := md.Get(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// metadataFacts gives binary values in hexadecimal digits.
func metadataFacts(md metadata.MD) map[string]string {
	fields := map[string]string{}
	for name, values := range md {
		value := values[0]
		if len(name) > 4 && name[len(name)-4:] == "-bin" {
			value = hex.EncodeToString([]byte(value))
		}
		fields[name] = value
	}
	return fields
}
