package main

import (
	"context"
	"io"
)

func follow(ctx context.Context, w io.Writer, p *parts) error { <-ctx.Done(); return nil }
