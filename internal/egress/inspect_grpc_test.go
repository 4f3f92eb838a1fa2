package egress_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/egress"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // what the compressed calls use
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// text is the message of these calls.
type text = wrapperspb.StringValue

// talk describes a service by hand: one call of each kind.
var talk = grpc.ServiceDesc{
	ServiceName: "test.Talk",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(text)
		if err := decode(in); err != nil {
			return nil, err
		}
		_ = grpc.SetTrailer(ctx, metadata.Pairs("said", "yes"))
		return wrapperspb.String("you said " + in.GetValue()), nil
	}}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Collect", ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			var all []string
			for {
				in := new(text)
				err := s.RecvMsg(in)
				if errors.Is(err, io.EOF) {
					return s.SendMsg(wrapperspb.String(strings.Join(all, ",")))
				}
				if err != nil {
					return err
				}
				all = append(all, in.GetValue())
			}
		}},
		{StreamName: "Chat", ClientStreams: true, ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			for {
				in := new(text)
				err := s.RecvMsg(in)
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				if err := s.SendMsg(wrapperspb.String("echo " + in.GetValue())); err != nil {
					return err
				}
			}
		}},
	},
}

// dialGRPC connects to a gRPC server through the proxy.
func dialGRPC(t testing.TB, change func(*egress.InspectConfig)) (*inspectProxy, *grpc.ClientConn) {
	t.Helper()
	server := grpc.NewServer(grpc.MaxRecvMsgSize(16 << 20))
	server.RegisterService(&talk, nil)
	t.Cleanup(server.Stop)
	l := newLook(t, newSite(t, thirdParty, true, server), change)
	conn, err := grpc.NewClient("passthrough:///"+thirdParty,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: l.roots, ServerName: thirdParty, MinVersion: tls.VersionTLS12})),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.connect(), nil }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return l, conn
}

func TestGRPCPasses(t *testing.T) {
	l, conn := dialGRPC(t, nil)
	for _, options := range [][]grpc.CallOption{nil, {grpc.UseCompressor("gzip")}} {
		for _, message := range []string{"", "hello", strings.Repeat("large ", 500_000)} {
			var trailer metadata.MD
			out := new(text)
			if err := conn.Invoke(t.Context(), "/test.Talk/Say", wrapperspb.String(message), out, append(options, grpc.Trailer(&trailer), grpc.MaxCallRecvMsgSize(16<<20))...); err != nil {
				t.Fatal(err)
			}
			if out.GetValue() != "you said "+message || !slices.Equal(trailer["said"], []string{"yes"}) {
				t.Errorf("the answer is %.40q, with trailers %v", out.GetValue(), trailer)
			}
		}

		collect, err := conn.NewStream(t.Context(), &talk.Streams[0], "/test.Talk/Collect", options...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if err := collect.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := collect.CloseSend(); err != nil {
			t.Fatal(err)
		}
		out := new(text)
		if err := collect.RecvMsg(out); err != nil || strings.Count(out.GetValue(), ",") != 99 {
			t.Errorf("collected %q, %v", out.GetValue(), err)
		}

		// Each side waits for the other's message. The last one ends like the
		// beginning of what is looked for: it must not wait for more.
		chat, err := conn.NewStream(t.Context(), &talk.Streams[1], "/test.Talk/Chat", options...)
		if err != nil {
			t.Fatal(err)
		}
		for _, say := range []string{"one", "", "two", "from " + adasAddress[:10]} {
			if err := chat.SendMsg(wrapperspb.String(say)); err != nil {
				t.Fatal(err)
			}
			if err := chat.RecvMsg(out); err != nil || out.GetValue() != "echo "+say {
				t.Errorf("%q, %v; want the echo of %q", out.GetValue(), err, say)
			}
		}
		if err := chat.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := chat.RecvMsg(out); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	}
	if n := l.site.dials(); n != 1 {
		t.Errorf("%d connections to the destination, want 1", n)
	}
	if len(l.finder.places()) != 0 {
		t.Errorf("found %v", l.finder.places())
	}
}

func TestGRPCIsStopped(t *testing.T) {
	for name, options := range map[string][]grpc.CallOption{"plain": nil, "gzip": {grpc.UseCompressor("gzip")}} {
		t.Run(name, func(t *testing.T) {
			l, conn := dialGRPC(t, nil)
			out := new(text)
			err := conn.Invoke(t.Context(), "/test.Talk/Say", wrapperspb.String("to "+adasAddress), out, options...)
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("the call ends with %v, want PermissionDenied", err)
			}
			chat, err := conn.NewStream(t.Context(), &talk.Streams[1], "/test.Talk/Chat", options...)
			if err != nil {
				t.Fatal(err)
			}
			if err := chat.SendMsg(wrapperspb.String("first")); err != nil {
				t.Fatal(err)
			}
			if err := chat.RecvMsg(out); err != nil || out.GetValue() != "echo first" {
				t.Fatalf("%q, %v", out.GetValue(), err)
			}
			if err := chat.SendMsg(wrapperspb.String(adasAddress)); err != nil {
				t.Fatal(err)
			}
			if err := chat.RecvMsg(out); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("after what may not be sent: %q, %v", out.GetValue(), err)
			}

			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-user", adasAddress)
			if err := conn.Invoke(ctx, "/test.Talk/Say", wrapperspb.String("x"), out, options...); status.Code(err) != codes.PermissionDenied {
				t.Errorf("in metadata: %v, want PermissionDenied", err)
			}
			if got, want := l.finder.places(), []string{"body", "body", "header X-User"}; !slices.Equal(got, want) {
				t.Errorf("found in %q, want %q", got, want)
			}
			// The connection goes on.
			if err := conn.Invoke(t.Context(), "/test.Talk/Say", wrapperspb.String("x"), out, options...); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// envelope is one message with its prefix.
func envelope(flags byte, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(payload)))
	return append(b, payload...)
}

func gzipped(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Messages that cannot be looked into are refused, or noted in report mode.
func TestEnvelopesThatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		name, media, encoding string
		body                  []byte
		rule                  string // "" passes
	}{
		{"plain", "application/grpc", "", envelope(0, []byte("x")), ""},
		{"gzip", "application/grpc+proto", "gzip", envelope(1, gzipped(t, "x")), ""},
		{"Connect", "application/connect+json", "gzip", slices.Concat(envelope(1, gzipped(t, "x")), envelope(2, []byte("{}"))), ""},
		{"gRPC-Web", "application/grpc-web+proto", "identity", envelope(0, []byte("x")), ""},
		{"empty and marked as compressed", "application/grpc", "gzip", envelope(1, nil), ""},
		{"no encoding", "application/grpc", "", envelope(1, gzipped(t, "x")), "egress/content-encoding"},
		{"unknown encoding", "application/grpc", "snappy", envelope(1, []byte("x")), "egress/content-encoding"},
		{"not what it says", "application/grpc", "gzip", envelope(1, []byte("x")), "egress/encoded-body"},
		{"too large", "application/grpc", "gzip", envelope(1, make([]byte, 2000)), "egress/encoded-size"},
		{"cut prefix", "application/grpc", "", []byte{0, 0, 0}, "egress/envelope"},
		{"cut message", "application/grpc", "", envelope(0, []byte("four"))[:7], "egress/envelope"},
		{"cut compressed message", "application/grpc", "gzip", envelope(1, gzipped(t, "x"))[:20], "egress/envelope"},
		{"unknown flags", "application/grpc", "", envelope(0x40, []byte("x")), "egress/envelope"},
		{"another media type", "application/grpcx", "", []byte{0x40}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived := &reached{}
			l := newLook(t, newSite(t, thirdParty, true, arrived), func(c *egress.InspectConfig) { c.MaxEncoded = 1000 })
			send := func() (*http.Response, error) {
				r := request("POST", base, io.MultiReader(bytes.NewReader(c.body)))
				r.Header.Set("Content-Type", c.media)
				for _, name := range []string{"Grpc-Encoding", "Connect-Content-Encoding"} {
					if c.encoding != "" {
						r.Header.Set(name, c.encoding)
					}
				}
				return l.client(true).Do(r)
			}
			reply, err := send()
			if err != nil {
				t.Fatal(err)
			}
			if c.rule == "" {
				if read(t, reply); reply.StatusCode != 200 || arrived.text() != string(c.body) {
					t.Errorf("answered %d, and %q arrives", reply.StatusCode, arrived.text())
				}
				return
			}
			if got := rule(t, reply); got != c.rule {
				t.Errorf("rule %q, want %q", got, c.rule)
			}
			l.report = true
			if reply, err = send(); err != nil {
				t.Fatal(err)
			}
			if read(t, reply); reply.StatusCode != 200 || !strings.HasSuffix(arrived.text(), string(c.body)) {
				t.Errorf("in report mode: %d, and %q arrives", reply.StatusCode, arrived.text())
			}
			if !slices.ContainsFunc(l.entries(), func(e auditShown) bool { return e.Facts["unsearched"] == c.rule }) {
				t.Error("in report mode the log does not say that it was not searched")
			}
		})
	}
}
