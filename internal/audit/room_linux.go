package audit

import "syscall"

// room returns how many bytes may be written below a directory, if the system says so.
func room(dir string) (bytes uint64, known bool) {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil || fs.Blocks == 0 || fs.Bsize <= 0 {
		return 0, false
	}
	return fs.Bavail * uint64(fs.Bsize), true
}
