//go:build !linux

package main

import "syscall"

// guardMemory forbids core dumps; other systems have no more that is the same.
func guardMemory() (locked bool) {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	return false
}
