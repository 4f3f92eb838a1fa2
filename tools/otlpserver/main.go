// Command otlpserver is the OpenTelemetry Collector's own OTLP receiver, built from the
// Go module proxy for `make test-otlp`: what packages export and metrics/otlp send has to be
// what others read. It listens with TLS on a free port of loopback, prints its address, and then
// prints each request that it took as one line of OTLP's JSON. It is a program for tests.
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run takes the files of a certificate, its key, and the authority of clients.
func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: otlpserver CERT KEY CLIENT_CA")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{"http": map[string]any{
		"endpoint": addr, "tls": map[string]any{"cert_file": args[0], "key_file": args[1], "client_ca_file": args[2]},
	}}}).Unmarshal(config); err != nil {
		return err
	}
	tell := func(line []byte, err error) error {
		if err == nil {
			_, err = fmt.Printf("%s\n", line)
		}
		return err
	}
	sink, err := consumer.NewLogs(func(_ context.Context, taken plog.Logs) error {
		return tell((&plog.JSONMarshaler{}).MarshalLogs(taken))
	})
	if err != nil {
		return err
	}
	figures, err := consumer.NewMetrics(func(_ context.Context, taken pmetric.Metrics) error {
		return tell((&pmetric.JSONMarshaler{}).MarshalMetrics(taken))
	})
	if err != nil {
		return err
	}
	traces, err := consumer.NewTraces(func(_ context.Context, taken ptrace.Traces) error {
		return tell((&ptrace.JSONMarshaler{}).MarshalTraces(taken))
	})
	if err != nil {
		return err
	}
	ctx := context.Background()
	settings := receivertest.NewNopSettings(factory.Type())
	// One receiver for all three: the factory knows it by its configuration.
	receiver, err := factory.CreateLogs(ctx, settings, config, sink)
	if err != nil {
		return err
	}
	if _, err := factory.CreateMetrics(ctx, settings, config, figures); err != nil {
		return err
	}
	if _, err := factory.CreateTraces(ctx, settings, config, traces); err != nil {
		return err
	}
	if err := receiver.Start(ctx, componenttest.NewNopHost()); err != nil {
		return err
	}
	fmt.Println(addr)
	select {}
}
