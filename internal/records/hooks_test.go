package records

// Hooks into the form of texts.
var (
	HookTestOnlyParseText  = parseText
	HookTestOnlyFormatText = formatText
)
