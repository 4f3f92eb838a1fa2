package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"gatehouse/internal/wire"
)

// The demo's third party: a name that exists nowhere, and a listener on loopback that
// the configuration leads it to.
const demoParty = "collector.example"

// demoPurpose is what the demo sends there for.
const demoPurpose = "publish"

// newDemoParty is somebody who counts events. It takes everything and keeps nothing.
func newDemoParty(addr string) (*wire.Server, error) {
	return wire.Listen(wire.ServerConfig{Addr: addr, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1<<20))
		w.WriteHeader(http.StatusNoContent)
	})})
}

// throughProxy is the app's client for everybody but the platforms. A program that
// heeds HTTP_PROXY and HTTPS_PROXY needs no line of code for it.
func throughProxy(client *http.Client, proxy, key string) (*http.Client, error) {
	u, err := url.Parse(proxy)
	if err != nil {
		return nil, err
	}
	u.User = url.UserPassword(demoPurpose, key)
	trusted := client.Transport.(*http.Transport).TLSClientConfig
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{RootCAs: trusted.RootCAs, MinVersion: tls.VersionTLS12},
	}}, nil
}

// track tells a third party about an event, as analytics libraries do.
func (t *demoTraffic) track(ctx context.Context, host string, event map[string]any) {
	body, err := json.Marshal(event)
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+host+"/track", bytes.NewReader(body))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := t.outside.Do(req)
	if err != nil {
		return // the log shows it
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
}
