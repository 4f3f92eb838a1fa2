// Command bench measures Gatehouse's whole journey (TLS in, handle, policy,
// durable intent, opened token, TLS out, outcome) beside a bare
// httputil.ReverseProxy and Caddy, against the same TLS upstream, in interleaved
// rounds on the same machine. It prints a Markdown table of ratios.
//
//	cd bench && go run . [-seconds 4] [-rounds 3] [-only calls]
//	cd bench && go run . -only tunnels
//	cd bench && go run . -only grants [-connections 1000000] [-postgres DSN]
//	cd bench && go run . -only log [-postgres DSN]
//	cd bench && go run . -only nodes
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(ctx, os.Args[2:]); err != nil {
			log.Fatal(err)
		}
		return
	}
	seconds := flag.Int("seconds", 4, "length of one measurement")
	rounds := flag.Int("rounds", 3, "rounds; the peers take turns within each")
	only := flag.String("only", "all", "calls, tunnels, grants, log, nodes or all")
	most := flag.Int("connections", 1_000_000, "how many connections grants are measured with; 1000 at least")
	postgres := flag.String("postgres", "", "address of an empty PostgreSQL database for grants or log; one is started if this is empty")
	flag.Parse()
	d := time.Duration(*seconds) * time.Second
	var err error
	if !slices.Contains([]string{"calls", "tunnels", "grants", "log", "nodes", "all"}, *only) {
		err = fmt.Errorf("-only %s: it is calls, tunnels, grants, log, nodes or all", *only)
	}
	does := func(part string) bool { return err == nil && (*only == part || *only == "all") }
	if does("calls") {
		err = run(ctx, d, *rounds)
	}
	if does("tunnels") {
		err = tunnels(ctx, d, *rounds)
	}
	if does("grants") {
		err = grants(ctx, d, *rounds, *most, *postgres)
	}
	if does("log") {
		if *only == "all" {
			*postgres = "" // the grants have filled it
		}
		err = logs(ctx, d, *rounds, *postgres)
	}
	if does("nodes") {
		err = nodes(ctx, d, *rounds)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// connections are the levels of concurrency measured.
var connections = []int{1, 16, 64}

func run(ctx context.Context, d time.Duration, rounds int) error {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log.Print("building gatehouse and caddy …")
	gatehouse, caddy := filepath.Join(dir, "gatehouse"), filepath.Join(dir, "caddy")
	if err := build(ctx, "..", gatehouse, "./cmd/gatehouse"); err != nil {
		return err
	}
	if err := build(ctx, ".", caddy, "./caddy"); err != nil {
		return err
	}
	s, err := newStage(ctx, dir, gatehouse)
	defer s.close()
	if err == nil {
		err = s.startPeers(ctx, caddy)
	}
	if err != nil {
		return err
	}
	// What the call waits for the disk that its log entry needs: the same without one.
	if memory, err := os.MkdirTemp("/dev/shm", "gatehouse-bench-"); err == nil {
		defer os.RemoveAll(memory)
		if err := s.startInMemory(ctx, memory); err != nil {
			return err
		}
	}

	if err := printMachine(dir); err != nil {
		return err
	}

	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| connections\t| peer\t| requests/s, ratio to bare\t| requests/s\t| p50\t| p99\t| added p50\t| added p99\t| CPU/request\t|")
	fmt.Fprintln(out, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, conns := range connections {
		seen := map[string][]result{}
		for range rounds {
			for _, p := range s.peers {
				r, err := load(ctx, p.url, p.bearer, s.roots, conns, d, func() time.Duration { return processCPU(p.pid) })
				if err != nil {
					return fmt.Errorf("measuring %s at %d connections: %w", p.name, conns, err)
				}
				seen[p.name] = append(seen[p.name], r)
			}
		}
		for _, p := range s.peers {
			report(out, conns, p.name, seen[p.name], seen[s.peers[0].name])
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := s.size(os.Stdout); err != nil {
		return err
	}
	s.close()
	if err := allocations(ctx); err != nil {
		return err
	}
	return sealing(ctx)
}

// allocations prints what one call allocates: the same journey inside one
// process, with the load and the upstream, by Go's own benchmark.
func allocations(ctx context.Context) error {
	c := exec.CommandContext(ctx, "go", "test", "./internal/gateway", "-run", "^$", "-bench", "^BenchmarkCall$", "-benchmem", "-benchtime", "3s")
	c.Dir = ".."
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("measuring allocations: %w: %s", err, out)
	}
	fmt.Println("\nOne call within one process, client and upstream included:")
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.HasPrefix(line, "Benchmark") {
			fmt.Println("   ", line)
		}
	}
	return nil
}

// sealing prints how fast 100 values of one person are sealed and opened, the
// person's key fetched for each batch, beside the bare cipher on the same values,
// by Go's own benchmark.
func sealing(ctx context.Context) error {
	c := exec.CommandContext(ctx, "go", "test", "./internal/vault", "-run", "^$", "-bench", "^BenchmarkBatch$", "-count", "3")
	c.Dir = ".."
	text, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("measuring sealing: %w: %s", err, text)
	}
	// BenchmarkBatch/seal/bare/1024-2   5490   128121 ns/op …
	line := regexp.MustCompile(`(?m)^BenchmarkBatch/(seal|open)/(bare|batch)/(\d+)\S*\s+\d+\s+([\d.]+) ns/op`)
	seen := map[string][]float64{}
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		ns, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			return err
		}
		seen[m[1]+" "+m[2]+" "+m[3]] = append(seen[m[1]+" "+m[2]+" "+m[3]], ns)
	}
	fmt.Println("\n100 values of one person, beside AES-256-GCM with its cipher made beforehand:")
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| value\t| what\t| speed, ratio to bare\t| bare\t| vault\t|\n| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, size := range []string{"100", "1024", "65536"} {
		for _, what := range []string{"seal", "open"} {
			bare, batch := seen[what+" bare "+size], seen[what+" batch "+size]
			if len(bare) == 0 || len(batch) == 0 {
				return fmt.Errorf("measuring sealing: no figures for %s of %s bytes", what, size)
			}
			us := func(ns float64) time.Duration { return time.Duration(ns).Round(time.Microsecond) }
			fmt.Fprintf(out, "| %s B\t| %s\t| %.2f\t| %s\t| %s\t|\n", size, what, median(bare)/median(batch), us(median(bare)), us(median(batch)))
		}
	}
	return out.Flush()
}

// report prints a peer's line: medians over the rounds, ratios taken within
// each round, so that a drift of the machine's speed falls out.
func report(out *tabwriter.Writer, conns int, name string, mine, bare []result) {
	var ratio, rate []float64
	var p50, p99, add50, add99, cpu []time.Duration
	for i, r := range mine {
		ratio = append(ratio, r.perSecond/bare[i].perSecond)
		rate = append(rate, r.perSecond)
		p50, p99, cpu = append(p50, r.p50), append(p99, r.p99), append(cpu, r.cpu)
		add50, add99 = append(add50, r.p50-bare[i].p50), append(add99, r.p99-bare[i].p99)
	}
	us := func(d []time.Duration) string { return median(d).Round(10 * time.Microsecond).String() }
	fmt.Fprintf(out, "| %d\t| %s\t| %.2f\t| %.0f\t| %s\t| %s\t| %s\t| %s\t| %s\t|\n",
		conns, name, median(ratio), median(rate), us(p50), us(p99), us(add50), us(add99), median(cpu).Round(time.Microsecond))
}

func median[T int | float64 | time.Duration](v []T) T {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}

func build(ctx context.Context, dir, out, pkg string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", pkg, err, b)
	}
	return nil
}
