package connect

// LineText is a line as Export writes it.
func LineText(l ImportLine) ([]byte, error) { return l.text() }
