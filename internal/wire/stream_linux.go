package wire

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"
)

// closedState is TCP_CLOSE, the first byte of struct tcp_info: both sides' last bytes
// have arrived, or there was a reset.
const closedState = 7

// awaitAcknowledged waits until the other side's system has said that it has all that
// was written to a connection whose both directions are closed.
func awaitAcknowledged(ctx context.Context, conn net.Conn) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var state, failed int
		var looked error
		if err := raw.Control(func(fd uintptr) {
			if state, looked = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO); looked == nil && state&0xff == closedState {
				failed, looked = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
			}
		}); err != nil {
			return err
		}
		switch {
		case looked != nil:
			return os.NewSyscallError("getsockopt", looked)
		case failed != 0:
			return syscall.Errno(failed)
		case state&0xff == closedState:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
