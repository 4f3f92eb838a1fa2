package wire

import (
	"errors"
	"net"
	"syscall"
)

// peerUser asks the kernel whose process is at the other end of a Unix socket.
func peerUser(conn net.Conn) (user uint32, known bool, err error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, false, errors.New("not a Unix socket")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var peer *syscall.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) {
		peer, asked = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, false, err
	}
	if asked != nil {
		return 0, false, asked
	}
	return peer.Uid, true, nil
}
