package x_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/x"
)

// tail opens a stream and yields its lines; the channel closes when the stream
// ends.
func (d *desk) tail(path, bearer string) (<-chan string, func()) {
	d.t.Helper()
	res, err := d.client.Do(d.request(http.MethodGet, path, bearer, nil))
	if err != nil {
		d.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		d.t.Fatalf("stream %s = %d", path, res.StatusCode)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		defer res.Body.Close()
		scanner := bufio.NewScanner(res.Body)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	return lines, func() { res.Body.Close() }
}

// next returns the next line that satisfies want, or fails after a while.
func next(t *testing.T, lines <-chan string, what string, want func(string) bool) string {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("the stream ended before %s", what)
			}
			if want(line) {
				return line
			}
		case <-deadline:
			t.Fatalf("no %s", what)
		}
	}
}

// ended waits for the end of a stream.
func ended(t *testing.T, lines <-chan string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case _, open := <-lines:
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("the stream did not end")
		}
	}
}

const rules = "/2/tweets/search/stream/rules"

func TestFilteredStream(t *testing.T) {
	d := newDesk(t, x.Config{Heartbeat: 30 * time.Millisecond})
	app := d.x.AppBearer()
	access, _ := d.login(person(0), everything)
	unruled := d.call(http.MethodGet, "/2/tweets/search/stream", app, nil).expect(t, http.StatusConflict)
	if !strings.Contains(unruled.body, "RuleConfigurationIssue") {
		t.Errorf("stream without rules: %s", unruled.body)
	}
	d.call(http.MethodPost, rules, app, map[string]any{"add": []any{map[string]string{"value": "zebra -quagga", "tag": "stripes"}}}).expect(t, http.StatusOK)
	lines, _ := d.tail("/2/tweets/search/stream?tweet.fields=created_at&expansions=author_id", app)
	next(t, lines, "heartbeat", func(line string) bool { return line == "" })
	busy := d.call(http.MethodGet, "/2/tweets/search/stream", app, nil).expect(t, http.StatusTooManyRequests)
	if !strings.Contains(busy.body, "TooManyConnections") {
		t.Errorf("second connection: %s", busy.body)
	}
	for _, text := range []string{"zebra and quagga", "nothing of the kind", "a zebra 🦓 at last"} {
		d.call(http.MethodPost, "/2/tweets", access, map[string]string{"text": text}).expect(t, http.StatusCreated)
	}
	line := next(t, lines, "post", func(line string) bool { return line != "" })
	var got struct {
		Data     struct{ Text string }
		Includes struct{ Users []struct{ Username string } }
		Rules    []struct{ Tag string } `json:"matching_rules"`
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil || got.Data.Text != "a zebra 🦓 at last" || got.Rules[0].Tag != "stripes" || got.Includes.Users[0].Username != person(0) {
		t.Errorf("streamed %s, %v", line, err)
	}
	d.x.Revoke(app)
	ended(t, lines)
	d.call(http.MethodGet, rules, app, nil).expect(t, http.StatusUnauthorized)
}

func TestSampledStream(t *testing.T) {
	d := newDesk(t, x.Config{SampleEvery: 10 * time.Millisecond})
	access, _ := d.login(person(0), everything)
	lines, stop := d.tail("/2/tweets/sample/stream?tweet.fields=created_at", d.x.AppBearer())
	next(t, lines, "sampled post", func(line string) bool { return strings.Contains(line, `"created_at"`) })
	d.call(http.MethodPost, "/2/tweets", access, map[string]string{"text": "fresh from the press"}).expect(t, http.StatusCreated)
	next(t, lines, "new post", func(line string) bool { return strings.Contains(line, "fresh from the press") })
	// A place becomes free when a reader leaves.
	d.tail("/2/tweets/sample/stream", d.x.AppBearer())
	d.call(http.MethodGet, "/2/tweets/sample/stream", d.x.AppBearer(), nil).expect(t, http.StatusTooManyRequests)
	stop()
	deadline := time.Now().Add(time.Minute)
	for {
		res, err := d.client.Do(d.request(http.MethodGet, "/2/tweets/sample/stream", d.x.AppBearer(), nil))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of a reader who left was not given away")
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.call(http.MethodGet, "/2/tweets/sample/stream", access, nil).expect(t, http.StatusForbidden)
	d.call(http.MethodGet, "/2/tweets/sample/stream?tweet.fields=nose", d.x.AppBearer(), nil).expect(t, http.StatusBadRequest)
}

func TestStreamsEndWithThePlatform(t *testing.T) {
	d := newDesk(t, x.Config{Heartbeat: 10 * time.Millisecond})
	lines, _ := d.tail("/2/tweets/sample/stream", d.x.AppBearer())
	next(t, lines, "heartbeat", func(line string) bool { return line == "" })
	d.x.Close()
	ended(t, lines)
}

func TestStreamRules(t *testing.T) {
	d := newDesk(t, x.Config{})
	app := d.x.AppBearer()
	add := func(path string, values ...string) answer {
		var all []any
		for _, value := range values {
			all = append(all, map[string]string{"value": value})
		}
		return d.call(http.MethodPost, path, app, map[string]any{"add": all})
	}
	dry := add(rules+"?dry_run=true", "cats").expect(t, http.StatusOK)
	if dry.at(t, "meta", "summary", "valid") != 1.0 {
		t.Errorf("dry run = %s", dry.body)
	}
	if reply := d.call(http.MethodGet, rules, app, nil).expect(t, http.StatusOK); reply.at(t, "meta", "result_count") != 0.0 {
		t.Errorf("a dry run left rules: %s", reply.body)
	}
	made := add(rules, "cats", "dogs").expect(t, http.StatusOK)
	id := made.at(t, "data", 0, "id").(string)
	if reply := add(rules, "birds", "cats").expect(t, http.StatusOK); reply.at(t, "errors", 0, "title") != "DuplicateRule" {
		t.Errorf("duplicate = %s", reply.body)
	}
	if reply := add(rules, "(broken").expect(t, http.StatusOK); !strings.HasSuffix(reply.at(t, "errors", 0, "type").(string), "invalid-rules") {
		t.Errorf("invalid = %s", reply.body)
	}
	if reply := d.call(http.MethodGet, rules, app, nil); reply.at(t, "meta", "result_count") != 2.0 {
		t.Errorf("a refused set left rules: %s", reply.body)
	}
	if reply := d.call(http.MethodGet, rules+"?ids="+id, app, nil); reply.at(t, "data", 0, "value") != "cats" || reply.at(t, "meta", "result_count") != 1.0 {
		t.Errorf("one rule = %s", reply.body)
	}
	if reply := d.call(http.MethodGet, rules+"/counts", app, nil).expect(t, http.StatusOK); reply.at(t, "data", "project_rules_count") != "2" {
		t.Errorf("counts = %s", reply.body)
	}
	removed := d.call(http.MethodPost, rules, app, map[string]any{"delete": map[string]any{"ids": []string{id, "77"}, "values": []string{"dogs"}}}).expect(t, http.StatusOK)
	if removed.at(t, "meta", "summary", "deleted") != 2.0 || removed.at(t, "meta", "summary", "not_deleted") != 1.0 {
		t.Errorf("deleted = %s", removed.body)
	}
	d.call(http.MethodPost, rules, app, map[string]any{}).expect(t, http.StatusBadRequest)
	many := make([]string, 1001)
	for i := range many {
		many[i] = "word" + strings.Repeat("x", i%10) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
	}
	if reply := add(rules, many...); reply.status != 422 {
		t.Errorf("1001 rules = %d %.200s", reply.status, reply.body)
	}
}

func FuzzRule(f *testing.F) {
	for _, seed := range []string{"cats", `"a b" -c (d OR e) from:x`, "has:links is:reply", "((((", "OR", "- -a", `"`, "#é @x", "a:b:c", "url:http://x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_ = x.ExportTestOnlyParseRule(text) // must return
	})
}

func FuzzPageToken(f *testing.F) {
	f.Add("/2/users/1/followers", "7140dibdnow9c7btw424")
	f.Fuzz(func(t *testing.T, path, token string) {
		if _, offset, _, ok := x.ExportTestOnlyReadToken(path, token); ok && offset < 0 {
			t.Errorf("token %q leads to %d", token, offset)
		}
	})
}
