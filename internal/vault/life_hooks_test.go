package vault

// HookTestOnlyStep has f called between two writes of the work on keys.
func (k *Keys) HookTestOnlyStep(f func(name string)) { k.step = f }

// HookTestOnlyParseKeyringPlace parses one place of a keyring file.
func HookTestOnlyParseKeyringPlace(content []byte) (uint32, []byte) {
	return parseKeyringPlace(content)
}

// HookTestOnlyParseKeyset parses a keyset that is to be imported.
func HookTestOnlyParseKeyset(content []byte) error {
	_, err := parseKeyset(content)
	return err
}
