package wire

import (
	"net"
	"os"
)

// sameUserListener closes connections of other users before a byte is read.
type sameUserListener struct{ net.Listener }

func (l *sameUserListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		user, known, err := peerUser(conn)
		if err == nil && (!known || peerTrusted(user, os.Geteuid())) {
			return conn, nil
		}
		conn.Close()
	}
}

// peerTrusted reports whether a process of this user may speak: root could read
// our memory anyway.
func peerTrusted(user uint32, euid int) bool {
	return user == 0 || int64(user) == int64(euid)
}
