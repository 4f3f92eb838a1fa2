package factor

// HoldTurn takes a stranger's turn of p until what it returns is called.
func HoldTurn(p *Passwords) func() {
	p.strangers <- struct{}{}
	p.turns <- struct{}{}
	p.queue <- struct{}{}
	return func() { <-p.queue; <-p.turns; <-p.strangers }
}
