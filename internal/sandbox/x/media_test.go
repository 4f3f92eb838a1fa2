package x_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/png"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/sandbox/x"
)

func picture(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewGray(image.Rect(0, 0, 7, 5))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// multipartOf builds an upload request.
func (d *desk) multipartOf(path, bearer string, fields map[string]string, media []byte) *http.Request {
	d.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range fields {
		_ = w.WriteField(name, value)
	}
	part, _ := w.CreateFormFile("media", "blob")
	_, _ = part.Write(media)
	_ = w.Close()
	req := d.request(http.MethodPost, path, bearer, body.String())
	req.Header.Set("Content-Type", w.FormDataContentType())
	return req
}

func TestSimpleUpload(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(0), everything)
	image := picture(t)
	for name, req := range map[string]*http.Request{
		"multipart": d.multipartOf("/2/media/upload", access, map[string]string{"media_category": "tweet_image"}, image),
		"JSON": d.request(http.MethodPost, "/2/media/upload", access, map[string]string{
			"media_category": "tweet_image", "media": base64.StdEncoding.EncodeToString(image),
		}),
	} {
		up := d.do(req).expect(t, http.StatusOK)
		id := up.at(t, "data", "id").(string)
		if up.at(t, "data", "media_key") != "3_"+id || up.at(t, "data", "size") != float64(len(image)) || up.at(t, "data", "image", "w") != 7.0 {
			t.Errorf("%s: %s", name, up.body)
		}
		d.call(http.MethodPost, "/2/media/metadata", access, map[string]any{"id": id, "metadata": map[string]any{"alt_text": map[string]string{"text": "eine graue Fläche"}}}).expect(t, http.StatusOK)
		made := d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": name, "media": map[string]any{"media_ids": []string{id}}}).expect(t, http.StatusCreated)
		shown := d.call(http.MethodGet, "/2/tweets/"+made.at(t, "data", "id").(string)+"?expansions=attachments.media_keys&media.fields=url,alt_text,width,height", access, nil)
		if shown.at(t, "includes", "media", 0, "alt_text") != "eine graue Fläche" || shown.at(t, "includes", "media", 0, "height") != 5.0 {
			t.Errorf("%s: %s", name, shown.body)
		}
		if got := d.call(http.MethodGet, "/media/"+id, "", nil).expect(t, http.StatusOK); got.body != string(image) {
			t.Errorf("%s: the bytes changed", name)
		}
		if reply := d.call(http.MethodGet, "/2/media/3_"+id+"?media.fields=width", access, nil).expect(t, http.StatusOK); reply.at(t, "data", "width") != 7.0 {
			t.Errorf("%s: %s", name, reply.body)
		}
	}
	other, _ := d.login(person(1), everything)
	up := d.do(d.multipartOf("/2/media/upload", access, map[string]string{"media_category": "tweet_image"}, image))
	d.call(http.MethodPost, "/2/tweets", other, map[string]any{"text": "theft", "media": map[string]any{"media_ids": []string{up.at(t, "data", "id").(string)}}}).expect(t, http.StatusBadRequest)
	for name, req := range map[string]*http.Request{
		"no category":  d.multipartOf("/2/media/upload", access, nil, image),
		"no media":     d.multipartOf("/2/media/upload", access, map[string]string{"media_category": "tweet_image"}, nil),
		"not base64":   d.request(http.MethodPost, "/2/media/upload", access, map[string]string{"media_category": "tweet_image", "media": "***"}),
		"cut in half":  cut(d.multipartOf("/2/media/upload", access, map[string]string{"media_category": "tweet_image"}, image)),
		"not a form":   d.request(http.MethodPost, "/2/media/upload", access, `[`),
		"another type": typed(d.request(http.MethodPost, "/2/media/upload", access, `x`), "text/plain"),
	} {
		if reply := d.do(req); reply.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, reply.status, reply.body)
		}
	}
	d.call(http.MethodGet, "/media/1", "", nil).expect(t, http.StatusNotFound)
}

func cut(req *http.Request) *http.Request {
	body, _ := req.GetBody()
	half := make([]byte, req.ContentLength/2)
	_, _ = body.Read(half)
	req.Body, req.ContentLength = http.NoBody, 0
	again, _ := http.NewRequestWithContext(req.Context(), req.Method, req.URL.String(), bytes.NewReader(half))
	again.Header = req.Header
	return again
}

func typed(req *http.Request, contentType string) *http.Request {
	req.Header.Set("Content-Type", contentType)
	return req
}

func TestChunkedUpload(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(0), everything)
	video := bytes.Repeat([]byte("moving pictures "), 100_000)
	begin := func(total int) string {
		reply := d.call(http.MethodPost, "/2/media/upload/initialize", access, map[string]any{"media_category": "tweet_video", "media_type": "video/mp4", "total_bytes": total})
		return "/2/media/upload/" + reply.expect(t, http.StatusOK).at(t, "data", "id").(string)
	}
	path := begin(len(video))
	id := strings.TrimPrefix(path, "/2/media/upload/")
	half := len(video) / 2
	// Segments may come in any order.
	d.do(d.multipartOf(path+"/append", access, map[string]string{"segment_index": "1"}, video[half:])).expect(t, http.StatusOK)
	if reply := d.call(http.MethodPost, path+"/finalize", access, nil).expect(t, http.StatusBadRequest); !strings.Contains(reply.body, "segment 0 is missing") {
		t.Errorf("early finalize: %s", reply.body)
	}
	d.call(http.MethodPost, path+"/append", access, map[string]any{"segment_index": 0, "media": base64.StdEncoding.EncodeToString(video[:half])}).expect(t, http.StatusOK)
	done := d.call(http.MethodPost, path+"/finalize", access, nil).expect(t, http.StatusOK)
	if done.at(t, "data", "processing_info", "state") != "pending" {
		t.Errorf("finalize = %s", done.body)
	}
	d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": "too early", "media": map[string]any{"media_ids": []string{id}}}).expect(t, http.StatusBadRequest)
	for _, want := range []string{"in_progress", "succeeded"} {
		if reply := d.call(http.MethodGet, "/2/media/upload?command=STATUS&media_id="+id, access, nil).expect(t, http.StatusOK); reply.at(t, "data", "processing_info", "state") != want {
			t.Errorf("status = %s, want %s", reply.body, want)
		}
	}
	d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": "ready", "media": map[string]any{"media_ids": []string{id}}}).expect(t, http.StatusCreated)
	if got := d.call(http.MethodGet, "/media/"+id, "", nil); got.body != string(video) {
		t.Error("the bytes changed")
	}
	d.call(http.MethodPost, path+"/finalize", access, nil).expect(t, http.StatusBadRequest)
	d.do(d.multipartOf(path+"/append", access, map[string]string{"segment_index": "2"}, video)).expect(t, http.StatusBadRequest)

	short := begin(10)
	d.do(d.multipartOf(short+"/append", access, map[string]string{"segment_index": "0"}, []byte("nine byte"))).expect(t, http.StatusOK)
	if reply := d.call(http.MethodPost, short+"/finalize", access, nil).expect(t, http.StatusBadRequest); !strings.Contains(reply.body, "9 of 10 bytes") {
		t.Errorf("short upload: %s", reply.body)
	}
	d.do(d.multipartOf(short+"/append", access, map[string]string{"segment_index": "1000"}, []byte("x"))).expect(t, http.StatusBadRequest)
	other, _ := d.login(person(1), everything)
	if reply := d.do(d.multipartOf(short+"/append", other, map[string]string{"segment_index": "0"}, []byte("x"))); !strings.Contains(reply.body, "Not Found Error") {
		t.Errorf("another's upload: %s", reply.body)
	}
	for _, body := range []any{map[string]any{}, map[string]any{"total_bytes": -1}, map[string]any{"total_bytes": 1 << 40}, map[string]any{"total_bytes": 1, "media_category": "painting"}} {
		d.call(http.MethodPost, "/2/media/upload/initialize", access, body).expect(t, http.StatusBadRequest)
	}
	d.call(http.MethodGet, "/2/media/upload?command=GUESS&media_id="+id, access, nil).expect(t, http.StatusBadRequest)
}

func TestComplianceJobs(t *testing.T) {
	d := newDesk(t, x.Config{})
	app := d.x.AppBearer()
	access, _ := d.login(person(0), everything)
	made := d.call(http.MethodPost, "/2/tweets", access, map[string]string{"text": "soon gone"}).expect(t, http.StatusCreated)
	gone := made.at(t, "data", "id").(string)
	kept := d.call(http.MethodGet, "/2/users/"+d.id(1)+"/tweets", app, nil).at(t, "data", 0, "id").(string)
	suspended := d.call(http.MethodGet, "/2/users/"+d.id(2)+"/tweets", app, nil).at(t, "data", 0, "id").(string)
	suspendedUser := d.id(2)
	d.call(http.MethodDelete, "/2/tweets/"+gone, access, nil).expect(t, http.StatusOK)
	d.x.SetStanding(person(2), "suspended")

	run := func(kind, ids string) string {
		job := d.call(http.MethodPost, "/2/compliance/jobs", app, map[string]any{"type": kind, "name": "nightly"}).expect(t, http.StatusOK)
		id := job.at(t, "data", "id").(string)
		up, _ := url.Parse(job.at(t, "data", "upload_url").(string))
		down, _ := url.Parse(job.at(t, "data", "download_url").(string))
		d.call(http.MethodGet, down.RequestURI(), "", nil).expect(t, http.StatusNotFound)
		put := func(target, bearer, contentType string) answer {
			req := d.request(http.MethodPut, target, bearer, ids)
			req.Header.Set("Content-Type", contentType)
			return d.do(req)
		}
		put(up.RequestURI(), app, "text/plain").expect(t, http.StatusBadRequest)
		put(up.RequestURI()+"x", "", "text/plain").expect(t, http.StatusForbidden)
		put(up.RequestURI(), "", "application/json").expect(t, http.StatusForbidden)
		put(up.RequestURI(), "", "text/plain").expect(t, http.StatusOK)
		put(up.RequestURI(), "", "text/plain").expect(t, http.StatusForbidden)
		for _, want := range []string{"in_progress", "complete"} {
			if reply := d.call(http.MethodGet, "/2/compliance/jobs/"+id, app, nil).expect(t, http.StatusOK); reply.at(t, "data", "status") != want {
				t.Errorf("job = %s, want %s", reply.body, want)
			}
		}
		d.call(http.MethodGet, down.RequestURI(), app, nil).expect(t, http.StatusBadRequest)
		return d.call(http.MethodGet, down.RequestURI(), "", nil).expect(t, http.StatusOK).body
	}
	posts := run("tweets", gone+"\n"+kept+"\r\n\n"+suspended+"\n")
	lines := strings.Split(strings.TrimSpace(posts), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"id":"`+gone+`"`) || !strings.Contains(lines[0], `"reason":"deleted"`) || !strings.Contains(lines[1], `"reason":"suspended"`) {
		t.Errorf("posts that must go:\n%s", posts)
	}
	users := run("users", suspendedUser+"\n"+d.id(3)+"\n")
	if strings.Count(users, "\n") != 1 || !strings.Contains(users, `"action":"delete"`) || !strings.Contains(users, suspendedUser) {
		t.Errorf("people who must go:\n%s", users)
	}
	if list := d.call(http.MethodGet, "/2/compliance/jobs?type=tweets&status=complete,created", app, nil).expect(t, http.StatusOK); list.at(t, "meta", "result_count") != 1.0 {
		t.Errorf("list = %s", list.body)
	}
	d.call(http.MethodGet, "/2/compliance/jobs?type=planets", app, nil).expect(t, http.StatusBadRequest)
	d.call(http.MethodPost, "/2/compliance/jobs", app, map[string]any{"type": "planets"}).expect(t, http.StatusBadRequest)
	if reply := d.call(http.MethodGet, "/2/compliance/jobs/5", app, nil); !strings.Contains(reply.body, "Not Found Error") {
		t.Errorf("unknown job = %s", reply.body)
	}
	d.call(http.MethodGet, "/2/compliance/jobs?type=users", access, nil).expect(t, http.StatusForbidden)
}
