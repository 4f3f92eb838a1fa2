package atrest

import (
	"context"
	"io"
)

// Database is the store as somebody sees it who reads all of it. It changes
// nothing.
type Database interface {
	// EachTable calls visit for every table that the store's own user can name, with
	// those of the app if they lie in the same database. read writes every row, each
	// value as its bytes, with a zero byte behind it; its error says why the table
	// cannot be read. An error of visit ends the walk.
	EachTable(ctx context.Context, visit func(table string, read func(w io.Writer) error) error) error
	// Server says how the database stands. What cannot be told is left empty, with
	// the reason in Why.
	Server(ctx context.Context) (Server, error)
	// Settle asks the engine to write its memory into its files. Its error says that
	// it would not; then files may lag behind, while its log does not.
	Settle(ctx context.Context) error
}

// Server is what a database says about itself.
type Server struct {
	Engine string // "sqlite" or "postgres"
	// Directory is where the server's files are, as it calls it; "" when it does not
	// say, for the reason in Why.
	Directory, Why string
	// Local means that the connection does not leave this machine.
	Local bool
	// TLS is the version of TLS of the store's own connection, "" without.
	TLS string
}
