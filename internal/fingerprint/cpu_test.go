//go:build unix

package fingerprint_test

import (
	"syscall"
	"testing"
	"time"
)

// reportCPU reports the speed by the processor time that this process took, which
// says more than the wall clock on a machine that has other things to do.
func reportCPU(b *testing.B, bytes int64) func() {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() {
		b.ReportMetric(float64(bytes)*float64(b.N)/(used()-before).Seconds()/1e6, "cpu-MB/s")
	}
}
