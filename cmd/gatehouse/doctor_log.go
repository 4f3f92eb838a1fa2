package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gatehouse"
	"gatehouse/internal/audit"
)

// checkLog says whether the log can be written, whether somebody wrote into what
// lies beside it, and whether anything can be kept there.
func checkLog(p *parts) error {
	var errs []error
	if s := p.log.State(); s.Condition != audit.Writable {
		errs = append(errs, fmt.Errorf("%s: %w", s.Condition, s.Cause))
	}
	if alert, err := audit.ReadAlert(p.aside); err == nil {
		errs = append(errs, fmt.Errorf("tampering was noticed at %s and is not accepted: %s", when(alert.Time), alert.What))
	}
	changed, err := filepath.Glob(filepath.Join(p.aside, "changed-*"))
	if err == nil && len(changed) > 0 {
		errs = append(errs, fmt.Errorf("somebody wrote in %s; remove it when you have looked: %w", changed[0], gatehouse.ErrConflict))
	}
	// What is kept beside the log is for the day when the log cannot be written.
	f, err := os.CreateTemp(p.aside, ".new-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	return errors.Join(append(errs, err)...)
}
