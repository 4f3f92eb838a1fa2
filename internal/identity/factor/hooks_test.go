package factor

// HoldTurn takes a turn of p until what it returns is called.
func HoldTurn(p *Passwords) func() {
	p.turns <- struct{}{}
	p.queue <- struct{}{}
	return func() { <-p.queue; <-p.turns }
}
