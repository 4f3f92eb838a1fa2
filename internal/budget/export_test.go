package budget

// CountTestOnly returns how many pools are remembered.
func CountTestOnly(b *Budgets) int {
	n := 0
	for i := range b.shards {
		b.shards[i].mu.Lock()
		n += len(b.shards[i].pools)
		b.shards[i].mu.Unlock()
	}
	return n
}
