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

// Waiting is how many requests wait for the log.
func Waiting(a *API) int64 { return a.waiting.Load() }

// Wait stands for requests that wait, until they leave.
func Wait(a *API, n int64) (leave func(int64)) {
	a.waiting.Add(n)
	return func(n int64) { a.waiting.Add(-n) }
}
