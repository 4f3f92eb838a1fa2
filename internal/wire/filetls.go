package wire

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"gatehouse"
)

// fileCheck is how often the files are looked at, at most. Renewal tools keep
// the old certificate valid for days after they wrote the new one.
const fileCheck = 10 * time.Second

// FileTLS returns a listener's configuration with the operator's own certificate
// and key, TLS 1.2 or newer. The files are read again when they change; a pair
// that does not fit (a renewal half written) leaves the one in use, is told to
// the report functions, and is tried again.
func FileTLS(certFile, keyFile string, report ...func(error)) (*tls.Config, error) {
	f := &fileCertificate{certFile: certFile, keyFile: keyFile, report: report}
	if err := f.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: f.certificate}, nil
}

// ClientCertificate returns what a client shows of itself to a server that asks: the
// certificate and key of two files, read again as those of [FileTLS] are.
func ClientCertificate(certFile, keyFile string, report ...func(error)) (func(*tls.CertificateRequestInfo) (*tls.Certificate, error), error) {
	f := &fileCertificate{certFile: certFile, keyFile: keyFile, report: report}
	if err := f.load(); err != nil {
		return nil, err
	}
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.certificate(nil) }, nil
}

// fileCertificate keeps the newest pair that was read whole.
type fileCertificate struct {
	certFile, keyFile string
	report            []func(error)

	mu      sync.Mutex // guards what follows
	cert    *tls.Certificate
	seen    [2]fileState // of the pair in use, or of the last one that did not fit
	checked time.Time
}

// fileState tells two contents of one path apart without reading them.
type fileState struct {
	modified time.Time
	size     int64
}

func (f *fileCertificate) stat() (states [2]fileState, err error) {
	for i, path := range []string{f.certFile, f.keyFile} {
		info, err := os.Stat(path)
		if err != nil {
			return states, fmt.Errorf("looking at the certificate: %w", err)
		}
		if i == 1 && info.Mode().Perm()&0o007 != 0 {
			return states, fmt.Errorf("the key file %s is open to every user (mode %04o); restrict it with chmod o-rwx: %w",
				path, info.Mode().Perm()&fs.ModePerm, gatehouse.ErrInvalid)
		}
		states[i] = fileState{info.ModTime(), info.Size()}
	}
	return states, nil
}

// load reads the pair if it changed. The caller holds mu, or is the constructor.
func (f *fileCertificate) load() error {
	f.checked = time.Now()
	states, err := f.stat()
	if err != nil {
		return err
	}
	if f.cert != nil && states == f.seen {
		return nil
	}
	f.seen = states
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		f.seen = [2]fileState{} // half written: look again, even if nothing else changes
		return fmt.Errorf("reading the certificate %s and its key: %w", f.certFile, err)
	}
	f.cert = &cert
	return nil
}

func (f *fileCertificate) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) >= fileCheck {
		if err := f.load(); err != nil {
			for _, report := range f.report {
				report(err)
			}
		}
	}
	return f.cert, nil
}
