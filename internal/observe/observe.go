// Package observe remembers what services really use of what they may: calls,
// parameters, body fields, reply fields and scopes, by name and shape, for each
// service and purpose. From it come the narrowest contract and the list of what
// is never used.
//
// It promises to keep names from the platform's documents and the measures of
// values (kind, length, size), never a value. What it keeps is a reviewer's help,
// not evidence: a crash may lose the last seconds of it.
package observe
