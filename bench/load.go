package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// result is one measured interval.
type result struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // the proxy's user and system time for each request
}

// load keeps conns connections busy against url for d, each sending its next
// request when the last was answered, and returns what was seen. A reply that is
// not 200 ends the measurement: a fast error is not a result.
func load(ctx context.Context, url, bearer string, roots *x509.CertPool, conns int, d time.Duration, cpu func() time.Duration) (result, error) {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: conns,
		MaxConnsPerHost:     conns,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}

	one := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			b, _ := io.ReadAll(io.LimitReader(res.Body, 500))
			return fmt.Errorf("%s: %s: %s", url, res.Status, b)
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	return drive(conns, d, cpu, one)
}

// drive has conns callers do one again and again for d. Its first error ends the
// measurement.
func drive(conns int, d time.Duration, cpu func() time.Duration, one func() error) (result, error) {
	for range conns { // warm every connection's handshake
		if err := one(); err != nil {
			return result{}, err
		}
	}

	var (
		mu    sync.Mutex
		all   []time.Duration
		first error
		wg    sync.WaitGroup
	)
	before, start := cpu(), time.Now()
	end := start.Add(d)
	for range conns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var mine []time.Duration
			for time.Now().Before(end) {
				t := time.Now()
				if err := one(); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
					return
				}
				mine = append(mine, time.Since(t))
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		}()
	}
	wg.Wait()
	took, used := time.Since(start), cpu()-before
	if first != nil {
		return result{}, first
	}
	slices.Sort(all)
	return result{
		perSecond: float64(len(all)) / took.Seconds(),
		p50:       all[len(all)/2],
		p99:       all[len(all)*99/100],
		cpu:       used / time.Duration(len(all)),
	}, nil
}
