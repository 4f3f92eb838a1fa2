package backup

// SetStep has f told of each step between two writes; nil ends that.
func SetStep(f func(string)) { testOnlyStep = f }

// Due is one scheduled round of Run.
var Due = (*Backups).due

var (
	NewRowReader = newRowReader
	ParseEpoch   = parseEpochKey
	ReadManifest = readManifest
)

// Drain reads every row of a part's plaintext.
func (in *rowReader) Drain() error {
	row := make([]any, len(in.table.Columns))
	for {
		more, err := in.next(row)
		if err != nil || !more {
			return err
		}
	}
}
