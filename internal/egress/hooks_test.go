package egress

import (
	"io"
	"net"
	"net/http"
	"time"
)

// HookTestOnlyJoin joins two connections.
func HookTestOnlyJoin(client, upstream net.Conn, idle time.Duration, carried *Carried) error {
	return join(client, upstream, idle, carried)
}

// HookTestOnlyReadHello reads a ClientHello.
func HookTestOnlyReadHello(r io.Reader) (read []byte, name string, err error) { return readHello(r) }

// HookTestOnlyCredentials reads a header's user name.
func HookTestOnlyCredentials(h http.Header) (string, error) {
	user, _, err := credentials(h)
	return user, err
}
