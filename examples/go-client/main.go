// Go through Gatehouse, with the two OAuth libraries that Go programs use:
// golang.org/x/oauth2 for OAuth 2.0 and dghubble/oauth1 for OAuth 1.0a. Only the
// address and the token differ from a program that talks to X.
//
// Environment: GATEHOUSE_URL, X_HANDLE, X_OAUTH1 (the JSON object that
// `gatehouse demo --json` prints), SSL_CERT_FILE (the local CA's file).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/dghubble/oauth1"
	"golang.org/x/oauth2"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	base := os.Getenv("GATEHOUSE_URL") + "/x"

	// The library refreshes like it does at X: the handle is its refresh token,
	// Gatehouse answers, and the real refresh token never leaves the vault.
	config := &oauth2.Config{
		ClientID: "gatehouse",
		Endpoint: oauth2.Endpoint{TokenURL: base + "/2/oauth2/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	expired := &oauth2.Token{AccessToken: "spent", RefreshToken: os.Getenv("X_HANDLE"), Expiry: time.Now().Add(-time.Hour)}
	client := config.Client(ctx, expired)

	var me struct {
		Data struct{ ID, Username string }
	}
	if err := call(client, http.MethodGet, base+"/2/users/me", nil, &me); err != nil {
		return err
	}
	fmt.Printf("me: @%s\n", me.Data.Username)

	text := "Go through Gatehouse " + time.Now().Format(time.RFC3339Nano)
	var post struct{ Data struct{ ID string } }
	if err := call(client, http.MethodPost, base+"/2/tweets", map[string]string{"text": text}, &post); err != nil {
		return err
	}
	fmt.Printf("post: %s\n", post.Data.ID)

	var found struct{ Data []struct{ ID, Text string } }
	if err := call(client, http.MethodGet, base+"/2/tweets/search/recent?query="+url.QueryEscape("gatehouse"), nil, &found); err != nil {
		return err
	}
	fmt.Printf("search: %d found\n", len(found.Data))

	pages, token := 0, ""
	for pages < 3 {
		var page struct {
			Data []struct{ ID string }
			Meta struct {
				NextToken string `json:"next_token"`
			}
		}
		u := base + "/2/users/" + me.Data.ID + "/followers?max_results=20"
		if token != "" {
			u += "&pagination_token=" + url.QueryEscape(token)
		}
		if err := call(client, http.MethodGet, u, nil, &page); err != nil {
			return err
		}
		pages++
		if token = page.Meta.NextToken; token == "" {
			break
		}
	}
	if pages < 2 {
		return fmt.Errorf("the followers did not page")
	}
	fmt.Printf("followers: %d pages\n", pages)

	var set struct {
		ConsumerKey    string `json:"consumer_key"`
		ConsumerSecret string `json:"consumer_secret"`
		Token          string `json:"token"`
		TokenSecret    string `json:"token_secret"`
	}
	if err := json.Unmarshal([]byte(os.Getenv("X_OAUTH1")), &set); err != nil {
		return fmt.Errorf("X_OAUTH1: %w", err)
	}
	signed := oauth1.NewConfig(set.ConsumerKey, set.ConsumerSecret).Client(ctx, oauth1.NewToken(set.Token, set.TokenSecret))
	var again struct{ Data struct{ ID, Username string } }
	if err := call(signed, http.MethodGet, base+"/2/users/me?user.fields=username", nil, &again); err != nil {
		return err
	}
	fmt.Printf("oauth1: @%s\n", again.Data.Username)
	return nil
}

// call sends body as JSON and decodes the reply into out.
func call(client *http.Client, method, u string, body, out any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, u, r)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, u, res.Status, b)
	}
	return json.Unmarshal(b, out)
}
