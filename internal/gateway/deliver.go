package gateway

import (
	"context"

	"gatehouse"
	"gatehouse/internal/platform"
)

// Source is the call by which values reached the app.
type Source struct {
	Platform   gatehouse.Platform
	App        gatehouse.AppName
	Operation  gatehouse.Operation
	Purpose    gatehouse.PurposeName
	Service    gatehouse.ServiceName
	Handle     gatehouse.HandleID
	Connection gatehouse.ConnectionID
	// Person is whose grant was used, not whose values came.
	Person gatehouse.PersonID
	// Entry is the id of the call's intent in the log; "" if a call that only gives
	// up access could not be recorded.
	Entry string
}

// delivery looks at what a reply delivers while it is passed on. A nil one sees
// nothing.
type delivery struct {
	ctx context.Context // of the call: an io.Writer is given none

	references *platform.References // nil: nobody wants them
	record     func(context.Context, []platform.Reference) error

	people *platform.People // nil: nobody wants them
	source Source
	tell   func(context.Context, Source, []platform.Identity) error
}

// delivery returns what has to look at this call's reply, or nil.
func (c *call) delivery(ctx context.Context) *delivery {
	d := c.lineage(ctx)
	record := c.gateway.config.Delivered[c.handle.App]
	if record == nil || c.at.platform != platform.X {
		return d
	}
	if d == nil {
		d = &delivery{ctx: ctx}
	}
	d.references, d.record = platform.NewReferences(c.class.Operation), record
	return d
}

// lineage returns what looks for people's values in a reply to this call, or nil.
func (c *call) lineage(ctx context.Context) *delivery {
	if c.gateway.config.Lineage == nil {
		return nil
	}
	return c.lineageFor(ctx, c.owner(), c.class.Operation)
}

// lineageFor returns what looks for people's values in the reply to an operation
// that was called in the owner's name, or nil.
func (c *call) lineageFor(ctx context.Context, o owner, operation string) *delivery {
	tell := c.gateway.config.Lineage
	if tell == nil {
		return nil
	}
	h := &o.handle
	return &delivery{
		ctx: ctx, people: platform.NewPeople(c.at.platform, operation), tell: tell,
		source: Source{
			Platform: h.Platform, App: h.App, Operation: gatehouse.Operation(operation), Purpose: h.Purpose, Service: h.ServiceName,
			Handle: h.ID, Connection: h.Connection, Person: h.Person, Entry: o.receipt.ID(),
		},
	}
}

// look is called with every byte before it is sent, in order. When it has returned
// nil, whatever is named in what was seen so far is on record, but for the bytes
// that pending says.
func (d *delivery) look(p []byte) error {
	if d == nil {
		return nil
	}
	if d.references != nil {
		_, _ = d.references.Write(p) // never fails
		if found := d.references.Take(); len(found) > 0 {
			if err := d.record(d.ctx, found); err != nil {
				return err
			}
		}
	}
	if d.people == nil {
		return nil
	}
	_, _ = d.people.Write(p) // never fails
	return d.told()
}

// settle is called when no more comes, or what came must be sent: then nothing is
// pending.
func (d *delivery) settle() error {
	if d == nil || d.people == nil {
		return nil
	}
	d.people.Settle()
	return d.told()
}

func (d *delivery) told() error {
	found := d.people.Take()
	if len(found) == 0 {
		return nil
	}
	return d.tell(d.ctx, d.source, found)
}

// pending returns how many of the last bytes seen must not be sent yet.
func (d *delivery) pending() int {
	if d == nil || d.people == nil {
		return 0
	}
	return d.people.Pending()
}
