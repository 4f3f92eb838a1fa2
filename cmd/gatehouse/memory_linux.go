package main

import "syscall"

// Of prctl(2), setrlimit(2) and mlockall(2).
const (
	prSetDumpable = 4
	mclOnFault    = 4
)

// guardMemory keeps what is in this process's memory from reaching a disk or a
// neighbour where the system allows it: no core dumps, no reading by other processes
// of the same user (ptrace, /proc), no swap. It returns whether the memory is locked;
// repeating it changes nothing.
//
// Locking everything that will ever be mapped under a small limit would let an
// allocation fail and end the process, so it is done only where there is no limit.
// docs/threat-model.md says what all this does not protect against.
func guardMemory() (locked bool) {
	// A failure leaves things as they were. Neither call fails for a process that lowers
	// its own rights.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	const rlimitMemlock = 8
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(rlimitMemlock, &limit); err != nil || limit.Cur != ^uint64(0) {
		return false
	}
	return syscall.Mlockall(syscall.MCL_CURRENT|syscall.MCL_FUTURE|mclOnFault) == nil
}
