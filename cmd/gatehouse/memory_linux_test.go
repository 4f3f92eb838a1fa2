package main

import (
	"syscall"
	"testing"
)

func TestMemoryIsGuarded(t *testing.T) {
	locked := guardMemory()
	if again := guardMemory(); again != locked {
		t.Errorf("the second time it is locked: %v, want %v", again, locked)
	}
	const prGetDumpable = 3
	if dumpable, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prGetDumpable, 0, 0); errno != 0 || dumpable != 0 {
		t.Errorf("dumpable is %d (%v), want 0", dumpable, errno)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("the limit of core dumps is %+v (%v), want 0", limit, err)
	}
	if err := syscall.Munlockall(); err != nil { // the other tests need no locked memory
		t.Error(err)
	}
}
