// Package lineage knows whose data went where: it owns the flows (person, kind of
// data, call and purpose that it came by, destination, service, time, count), the
// people's numbers in the index of fingerprints, and the questions about both.
//
// It promises that a flow is durable before the bytes that make it have all been
// passed on; that a value of a person is never stored, only its fingerprint; that
// nobody learns from a refusal what was recognised; and that an erased person's
// flows lead to nobody.
package lineage
