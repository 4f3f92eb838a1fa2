package gateway

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"

	"gatehouse/internal/wire"
)

// relayMedia passes a file on. What begins as JSON does is treated as that,
// whatever the platform calls it; and the credential that was sent is not passed
// on in any file.
func (c *call) relayMedia(ctx context.Context, reply *http.Response, out *replyWriter) error {
	in := bufio.NewReader(reply.Body)
	start, _ := in.Peek(512) // an error comes again when it is read
	if start = bytes.TrimSpace(start); len(start) > 0 && (start[0] == '{' || start[0] == '[') {
		out.delivery = c.delivery(ctx)
		return c.relayJSON(ctx, in, out)
	}
	if c.narrow != nil {
		return wire.BadGateway("upstream/content-type", "The call declares which fields its reply may have, and the platform answered with a file, in which there are none.", nil)
	}
	guarded := &sentGuard{r: in}
	for _, k := range c.known {
		if len(k.Value) >= shortestToken {
			guarded.sent = append(guarded.sent, []byte(k.Value))
			guarded.longest = max(guarded.longest, len(k.Value))
		}
	}
	out.length = reply.ContentLength
	_, err := io.Copy(out, guarded)
	return err
}

// sentGuard breaks a reply off in which a credential appears that was sent.
type sentGuard struct {
	r       io.Reader
	sent    [][]byte
	longest int
	tail    []byte // the end of what was passed, where a credential may begin
}

func (g *sentGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	seam := append(g.tail, p[:min(n, g.longest)]...)
	for _, s := range g.sent {
		if bytes.Contains(seam, s) || bytes.Contains(p[:n], s) {
			return 0, errToken("the reply repeats the connection's own token", nil)
		}
	}
	if n > g.longest {
		seam = p[n-g.longest : n]
	}
	g.tail = append(g.tail[:0], seam[max(0, len(seam)-g.longest):]...)
	return n, err
}
