package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// SyslogFormat says how entries become messages of RFC 5424.
type SyslogFormat struct {
	// Facility is 0 to 23; 13 is "log audit".
	Facility int
	// Hostname is this machine's name; empty stands for none.
	Hostname string
	// ID names the structured data: a name, "@" and a private enterprise number.
	ID string
	// MaxMessage bounds a message in bytes, from the priority to its end. Of a longer
	// entry the leaf is left out. RFC 5425 has every receiver take 2048, and asks for
	// 8192.
	MaxMessage int
}

// DefaultSyslogID is the structured data's name: 32473 is the number that RFC 5612
// sets aside for documentation, as Gatehouse has none of its own.
const DefaultSyslogID = "gatehouse@32473"

// minMessage is what every receiver takes; maxMessage is more than any entry.
const (
	minMessage = 2048
	maxMessage = 256 << 10
)

var (
	syslogID   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,16}@[1-9][0-9]{0,9}$`)
	syslogHost = regexp.MustCompile(`^[!-~]{1,255}$`)
)

// WithDefaults checks the format and fills in what is zero. A Facility of 0 (the
// kernel's) stands for 13.
func (f SyslogFormat) WithDefaults() (SyslogFormat, error) {
	orDefault(&f.Facility, 13)
	orDefault(&f.Hostname, "-")
	orDefault(&f.ID, DefaultSyslogID)
	orDefault(&f.MaxMessage, 8192)
	switch {
	case f.Facility < 1 || f.Facility > 23:
		return f, fmt.Errorf("setting up syslog: the facility is not from 1 to 23: %w", gatehouse.ErrInvalid)
	case !syslogHost.MatchString(f.Hostname):
		return f, fmt.Errorf("setting up syslog: the host name is not 1 to 255 printable letters: %w", gatehouse.ErrInvalid)
	case !syslogID.MatchString(f.ID):
		return f, fmt.Errorf("setting up syslog: %q is no name of structured data, such as %s: %w", f.ID, DefaultSyslogID, gatehouse.ErrInvalid)
	case f.MaxMessage < minMessage || f.MaxMessage > maxMessage:
		return f, fmt.Errorf("setting up syslog: the longest message is not from %d to %d bytes: %w", minMessage, maxMessage, gatehouse.ErrInvalid)
	}
	return f, nil
}

// syslogSeverity are the numbers of RFC 5424.
var syslogSeverity = map[audit.Severity]int{
	audit.SeverityAlert: 1, audit.SeverityWarning: 4, audit.SeverityNotice: 5, audit.SeverityInfo: 6,
}

// bom is what RFC 5424 has a message in UTF-8 begin with.
const bom = "\xef\xbb\xbf"

// AppendMessage appends the entry as a message of RFC 5424, without a frame:
//
//	<110>1 TIME HOST gatehouse - ACTION [ID origin="…" index="…" …] BOM{…}
//
// What the structured data holds is in the JSON as well, for receivers that read only
// one of them.
func (f SyslogFormat) AppendMessage(b []byte, e *Entry) []byte {
	start := len(b)
	b = f.appendHeader(b, e)
	header := len(b)
	b = e.appendJSON(append(b, bom...), true)
	if len(b)-start > f.MaxMessage {
		b = e.appendJSON(append(b[:header], bom...), false)
	}
	return b
}

func (f SyslogFormat) appendHeader(b []byte, e *Entry) []byte {
	b = append(b, '<')
	code := CodeOf(e)
	b = strconv.AppendInt(b, int64(f.Facility*8+syslogSeverity[code.Severity]), 10)
	b = append(b, ">1 "...)
	at := time.UnixMicro(e.when()).UTC()
	if e.Leaf == nil || at.Year() < 0 || at.Year() > 9999 {
		b = append(b, '-')
	} else {
		b = at.AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	}
	b = append(append(b, ' '), f.Hostname...)
	b = append(append(b, " gatehouse - "...), messageID(e.action())...)
	b = append(append(b, " ["...), f.ID...)
	b = appendParam(b, "origin", e.Origin)
	b = appendParam(b, "index", strconv.FormatInt(e.Index, 10))
	b = appendParam(b, "leaf_hash", e.Hash)
	b = appendParam(b, "code", code.Code)
	if l := e.Leaf; l != nil {
		b = appendParam(b, "id", l.ID)
		b = appendParam(b, "intent", l.Intent)
		b = appendParam(b, "kind", l.Kind)
		b = appendParam(b, "verdict", l.Verdict)
		b = appendParam(b, "rule", l.Rule)
		b = appendParam(b, "service", string(l.Service))
		b = appendParam(b, "purpose", string(l.Purpose))
		b = appendParam(b, "platform", string(l.Platform))
		b = appendParam(b, "operation", string(l.Operation))
	}
	return append(b, "] "...)
}

// messageID is an action as RFC 5424 takes it: 1 to 32 printable ASCII letters.
func messageID(action string) string {
	id := strings.Map(func(r rune) rune {
		if r < '!' || r > '~' {
			return '_'
		}
		return r
	}, action)
	if id == "" {
		return "-"
	}
	return id[:min(len(id), 32)]
}

// maxParam bounds a value of the structured data: together they leave room in the
// shortest message that every receiver takes.
const maxParam = 100

// appendParam appends a parameter of the structured data; an empty one is left out.
// RFC 5424 escapes '"', '\' and ']', and wants UTF-8.
func appendParam(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, ' '), name...), `="`...)
	start := len(b)
	for _, r := range value { // what is no UTF-8 comes as U+FFFD
		if len(b)-start+utf8.UTFMax > maxParam {
			break
		}
		switch {
		case r == '"', r == '\\', r == ']':
			b = append(b, '\\', byte(r))
		case r < ' ', r == 0x7f:
			b = append(b, '?') // allowed, and yet the end of a line to some
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// appendFrame appends a message behind its length (RFC 5425, "octet counting").
func appendFrame(b, message []byte) []byte {
	b = strconv.AppendInt(b, int64(len(message)), 10)
	return append(append(b, ' '), message...)
}

// SyslogConfig says where messages go.
type SyslogConfig struct {
	Format SyslogFormat
	// Dial connects and greets by TLS.
	Dial func(ctx context.Context) (*wire.StreamConn, error)
	// Unconfirmed is for receivers that do not answer our close_notify as RFC 5425
	// demands: that TCP ends without a reset is enough.
	Unconfirmed bool
}

// Syslog is a sink that speaks RFC 5424 over TLS (RFC 5425).
//
// The protocol has no acknowledgement. What comes nearest is the end of a connection:
// a receiver has to answer our close_notify, which it gets behind all that we wrote,
// with its own, and TCP tells an end after everything was read from one before. So each
// batch has a connection of its own, and counts as accepted when it ended so. What a receiver does afterwards with
// what it read, it does not say.
type Syslog struct{ config SyslogConfig }

// NewSyslog returns the sink. Nothing is connected yet.
func NewSyslog(c SyslogConfig) (*Syslog, error) {
	format, err := c.Format.WithDefaults()
	if err != nil {
		return nil, err
	}
	if c.Dial == nil {
		return nil, fmt.Errorf("setting up syslog: a way to connect is needed: %w", gatehouse.ErrInvalid)
	}
	c.Format = format
	return &Syslog{c}, nil
}

// Send implements Sink.
func (s *Syslog) Send(ctx context.Context, entries []Entry) (Accepted, error) {
	conn, err := s.config.Dial(ctx)
	if err != nil {
		return Accepted{}, err
	}
	// Whatever it waits for ends with ctx.
	stop := context.AfterFunc(ctx, conn.Cut)
	defer stop()
	defer conn.Cut()
	// The receiver has nothing to say; its end may come while we write. The reader
	// ends with the connection.
	ended := make(chan error, 1)
	go func() { ended <- conn.AwaitNotify() }()
	if err := s.write(conn, entries); err != nil {
		conn.Cut()
		return Accepted{}, broken(ctx, Unreachable, "the connection to the sink broke while it was written", errors.Join(<-ended, err))
	}
	select {
	case err := <-ended:
		return Accepted{}, broken(ctx, Unacknowledged, "the sink ended the connection before we did", err)
	default:
	}
	if err := conn.Finish(); err != nil {
		return Accepted{}, broken(ctx, Unreachable, "the connection to the sink broke at its end", err)
	}
	if err := s.end(conn, ended); err != nil {
		return Accepted{}, broken(ctx, Unacknowledged, "the sink did not end the connection as RFC 5425 demands; if it never does, set unconfirmed", err)
	}
	if err := conn.AwaitRead(ctx); err != nil {
		return Accepted{}, broken(ctx, Unacknowledged, "the sink did not read all that it was sent", err)
	}
	return Accepted{Entries: len(entries)}, nil
}

// end waits for the receiver's close_notify, and ends TCP. Where there is no
// close_notify, TCP's end has to come first, and to do.
func (s *Syslog) end(conn *wire.StreamConn, ended <-chan error) error {
	if !s.config.Unconfirmed {
		if err := <-ended; err != nil {
			return err
		}
		return conn.FinishTCP()
	}
	if err := conn.FinishTCP(); err != nil {
		return err
	}
	if err := <-ended; err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return nil
}

// broken is what became of a connection. With TLS 1.3, a receiver says only now that it
// does not believe our certificate.
func broken(ctx context.Context, class, text string, err error) error {
	if ctx.Err() != nil {
		return &Failure{Class: TimedOut, Text: text + ", or not in time", Fewer: true, cause: ctx.Err()}
	}
	if told := wire.StreamError(ctx, err); wire.RuleOf(told) == "destination/tls" {
		return told
	}
	return &Failure{Class: class, Text: text, cause: err}
}

func (s *Syslog) write(w io.Writer, entries []Entry) error {
	var message, frames []byte
	for i := range entries {
		message = s.config.Format.AppendMessage(message[:0], &entries[i])
		frames = appendFrame(frames, message)
		if len(frames) < 16<<10 && i < len(entries)-1 {
			continue
		}
		if _, err := w.Write(frames); err != nil {
			return err
		}
		frames = frames[:0]
	}
	return nil
}

// Close implements Sink.
func (s *Syslog) Close() error { return nil }
