package gateway

import (
	"context"

	"gatehouse/internal/platform"
)

// delivery looks at what a reply delivers while it is passed on.
type delivery struct {
	ctx        context.Context // of the call: an io.Writer is given none
	references *platform.References
	record     func(context.Context, []platform.Reference) error
}

// delivery returns what has to look at this call's reply, or nil.
func (c *call) delivery(ctx context.Context) *delivery {
	record := c.gateway.config.Delivered[c.handle.App]
	if record == nil || c.at.platform != platform.X {
		return nil
	}
	return &delivery{ctx, platform.NewReferences(c.class.Operation), record}
}

// pass is called with every byte before it is sent, in order. When it has
// returned nil, whatever is named in what was passed so far is on record.
func (d *delivery) pass(p []byte) error {
	if d == nil {
		return nil
	}
	_, _ = d.references.Write(p) // never fails
	found := d.references.Take()
	if len(found) == 0 {
		return nil
	}
	return d.record(d.ctx, found)
}
