package api

// Routes lists what is served, for the comparison with the document.
func Routes() []string {
	var list []string
	for _, r := range routes {
		list = append(list, r.method+" "+r.path)
	}
	return list
}

// Decode is the strict reader of bodies.
var Decode = decode
