package store_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// pooler stands before a PostgreSQL as PgBouncer does: what a client asks for when it
// connects is refused or ignored, and a session at the server is a client's or, if shared,
// whosever transaction it is.
type pooler struct {
	t      *testing.T
	server string
	refuse bool
	shared *session
	mu     sync.Mutex
}

type session struct {
	net.Conn
	greeting []byte
}

// startPooler returns the address through it.
func startPooler(t *testing.T, dsn string, refuse, share bool) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &pooler{t: t, server: u.Host, refuse: refuse}
	startup := "user\x00" + u.User.Username() + "\x00database\x00" + strings.TrimPrefix(u.Path, "/") + "\x00\x00"
	if share {
		if p.shared, err = p.open(startup); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.shared.Close() })
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(c, startup); _ = c.Close() })
		}
	})
	u.Host = l.Addr().String()
	return u.String()
}

// message reads one; that of a beginning has no kind.
func message(r io.Reader, kind bool) ([]byte, error) {
	head := make([]byte, 4)
	if kind {
		head = make([]byte, 5)
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	m := append(head, make([]byte, binary.BigEndian.Uint32(head[len(head)-4:])-4)...)
	_, err := io.ReadFull(r, m[len(head):])
	return m, err
}

// open begins a session and reads up to where a question may be asked.
func (p *pooler) open(startup string) (*session, error) {
	c, err := net.Dial("tcp", p.server)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(startup)))
	b = binary.BigEndian.AppendUint32(b, 3<<16)
	if _, err := c.Write(append(b, startup...)); err != nil {
		return nil, err
	}
	s := &session{Conn: c}
	s.greeting, err = s.answer()
	return s, err
}

// answer reads up to ReadyForQuery.
func (s *session) answer() (all []byte, err error) {
	for {
		m, err := message(s, true)
		if err != nil {
			return nil, err
		}
		if all = append(all, m...); m[0] == 'Z' {
			return all, nil
		}
	}
}

func (p *pooler) serve(c net.Conn, startup string) {
	if _, err := message(c, false); err != nil {
		return
	}
	if p.refuse {
		const said = "SFATAL\x00C08P01\x00Munsupported startup parameter: synchronous_commit\x00\x00"
		_, _ = c.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(said))), said...))
		return
	}
	s := p.shared
	if s == nil {
		var err error
		if s, err = p.open(startup); err != nil {
			return
		}
		defer func() { _ = s.Close() }()
	}
	if _, err := c.Write(s.greeting); err != nil {
		return
	}
	for {
		var asked []byte
		for {
			m, err := message(c, true)
			if err != nil || m[0] == 'X' {
				return
			}
			if asked = append(asked, m...); m[0] == 'Q' || m[0] == 'S' {
				break
			}
		}
		p.mu.Lock()
		_, err := s.Write(asked)
		var answer []byte
		if err == nil {
			answer, err = s.answer()
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// What a pooler takes from Gatehouse is said when it starts, with what to do; one that
// takes nothing is not noticed.
func TestPoolers(t *testing.T) {
	dsn := storetest.Postgres(t)
	role := storetest.OpenRaw(t, dsn)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	opens := func(what, dsn, want string) {
		t.Helper()
		db, err := store.Open(t.Context(), dsn)
		if err == nil {
			err = db.Close()
		}
		if want == "" && err != nil || want != "" && (!errors.Is(err, gatehouse.ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	role.ExecUncounted(`ALTER DATABASE "` + name + `" SET synchronous_commit = off`)
	opens("no pooler", dsn, "")
	opens("one that ignores", startPooler(t, dsn, false, false), "ALTER ROLE … SET synchronous_commit = on")
	opens("one that refuses", startPooler(t, dsn, true, false), "ignore_startup_parameters")
	role.ExecUncounted(`ALTER DATABASE "` + name + `" SET synchronous_commit = on`)
	opens("one that ignores, where it is set", startPooler(t, dsn, false, false), "")
	opens("one that gives each transaction another session", startPooler(t, dsn, false, true), "pool_mode = session")
}
