package review

import (
	"gatehouse"
	"gatehouse/internal/wire"
)

// ErrMeanwhile means that somebody else has decided about a right since it was looked at.
// Nothing of it was written.
var ErrMeanwhile = wire.Refuse(gatehouse.ErrConflict, "review/meanwhile", "Somebody else has decided about this right meanwhile. Look at what they decided.")
