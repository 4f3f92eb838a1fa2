package egress_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/egress"
	"gatehouse/internal/wire"
)

// Time is virtual here, so minutes cost nothing.
func TestSilenceEndsATunnelAndNothingElseDoes(t *testing.T) {
	const idle = 10 * time.Minute
	start := func() (near, far net.Conn, carried *egress.Carried, done chan error) {
		near, client := net.Pipe()
		far, upstream := net.Pipe()
		carried, done = new(egress.Carried), make(chan error, 1)
		go func() { done <- egress.HookTestOnlyJoin(client, upstream, idle, carried) }()
		return near, far, carried, done
	}
	ended := func(t *testing.T, done chan error, rule string) {
		t.Helper()
		if err := <-done; wire.RuleOf(err) != rule {
			t.Errorf("it ended with %v; want %s", err, rule)
		}
	}
	t.Run("silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, _, _, done := start()
			begun := time.Now()
			ended(t, done, "tunnel/idle")
			if took := time.Since(begun); took < idle || took > 2*idle {
				t.Errorf("it took %s", took)
			}
		})
	})
	t.Run("a trickle in one direction", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far, carried, done := start()
			for range 50 { // 7 hours
				time.Sleep(idle * 8 / 10)
				go func() { _, _ = far.Write([]byte{1}) }()
				if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if carried.Received.Load() == 0 || carried.Sent.Load() != 0 {
				t.Errorf("received %d, sent %d", carried.Received.Load(), carried.Sent.Load())
			}
			near.Close()
			ended(t, done, "tunnel/broken")
		})
	})
	t.Run("a reader that takes nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, far, _, done := start()
			begun := time.Now()
			go func() { _, _ = far.Write(bytes.Repeat([]byte{1}, 1<<20)) }()
			ended(t, done, "tunnel/idle")
			if took := time.Since(begun); took > 2*idle {
				t.Errorf("it took %s", took)
			}
			far.Close()
		})
	})
	t.Run("a slow reader", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far, _, done := start()
			go func() { _, _ = far.Write(bytes.Repeat([]byte{1}, 3*32<<10)) }()
			got := 0
			buffer := make([]byte, 8<<10)
			for got < 3*32<<10 { // twelve reads, each long after the one before
				time.Sleep(idle / 10)
				n, err := near.Read(buffer)
				if err != nil {
					t.Fatalf("after %d bytes: %v", got, err)
				}
				got += n
			}
			near.Close()
			ended(t, done, "tunnel/broken")
		})
	})
}

// Two connections of TCP, which the kernel joins: each direction ends by itself, and
// every byte is counted.
func TestEachDirectionEndsByItself(t *testing.T) {
	near, client := tcpPair(t)
	far, upstream := tcpPair(t)
	carried, done := new(egress.Carried), make(chan error, 1)
	go func() { done <- egress.HookTestOnlyJoin(client, upstream, time.Minute, carried) }()
	question, reply := bytes.Repeat([]byte("q"), 1<<20), bytes.Repeat([]byte("r"), 3<<20)
	go func() {
		_, _ = near.Write(question)
		_ = near.CloseWrite()
	}()
	if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, question) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	go func() {
		_, _ = far.Write(reply)
		_ = far.CloseWrite()
	}()
	if got, err := io.ReadAll(near); err != nil || !bytes.Equal(got, reply) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := <-done; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if carried.Sent.Load() != 1<<20 || carried.Received.Load() != 3<<20 {
		t.Errorf("sent %d, received %d", carried.Sent.Load(), carried.Received.Load())
	}
}

// The kernel's way bounds silence, and readers that take nothing, as well.
func TestSilenceEndsAJoinedTunnel(t *testing.T) {
	_, client := tcpPair(t)
	_, upstream := tcpPair(t)
	err := egress.HookTestOnlyJoin(client, upstream, 10*time.Millisecond, new(egress.Carried))
	if wire.RuleOf(err) != "tunnel/idle" {
		t.Errorf("it ended with %v", err)
	}
	_, client = tcpPair(t)
	far, upstream := tcpPair(t)
	go func() {
		for {
			if _, err := far.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	err = egress.HookTestOnlyJoin(client, upstream, 50*time.Millisecond, new(egress.Carried))
	if wire.RuleOf(err) != "tunnel/idle" {
		t.Errorf("it ended with %v", err)
	}
}

// tcpPair is both ends of a connection on loopback.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	one, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	two, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		one.Close()
		two.Close()
	})
	return one.(*net.TCPConn), two.(*net.TCPConn)
}
