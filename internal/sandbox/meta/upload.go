package meta

import (
	"io"
	"net/http"
	"strconv"
	"strings"
)

// upload is a resumable upload under way. Only its length is kept: the sandbox
// has no use for the pictures themselves.
type upload struct {
	// token is the app that began it; another app's token cannot go on.
	token     string
	received  int64
	size      int64
	video     *node
	container *node
}

func videoKind() *kind {
	return &kind{
		defaults: []string{"description", "updated_time", "id"},
		fields: with(props("description", "title", "from"), map[string]fieldFunc{
			"created_time": createdTime, "updated_time": createdTime,
			"permalink_url": func(_ *call, n *node) any { return "/" + n.root().id + "/videos/" + n.id + "/" },
			"source":        func(_ *call, n *node) any { return "https://video.xx.fbcdn.net/v/" + n.id + ".mp4" },
			"status":        func(_ *call, n *node) any { return object{{"video_status", n.text("status")}} },
		}),
		remove: removeFrom(writePage, "videos"),
		edges:  map[string]*edge{"comments": commentsEdge(), "likes": likesEdge()},
	}
}

func (c *call) newVideo(page *node, status string) *node {
	video := c.p.newNode(c.p.nextID("44"), "Video", page, c.p.now(), map[string]any{
		"description": c.params.Get("description"), "title": c.params.Get("title"), "from": page, "status": status,
	})
	page.push("videos", video)
	return video
}

// createVideo takes a whole video, an address, or the phases start, transfer and
// finish of a resumable upload.
func createVideo(c *call, page *node) *reply {
	switch phase := c.params.Get("upload_phase"); phase {
	case "":
		source, uploaded := c.files["source"]
		if (!uploaded || len(source.data) == 0) && c.params.Get("file_url") == "" {
			return (&failure{status: http.StatusBadRequest, kind: oauthException, code: 390, subcode: 1363030, message: "There was a problem uploading your video file. Please try again with another file."}).reply()
		}
		return answer(object{{"id", c.newVideo(page, "ready").id}})
	case "start":
		size, ok := c.integer("file_size")
		if !ok || size <= 0 {
			return invalid("The parameter file_size is required").reply()
		}
		video := c.newVideo(page, "uploading")
		session := c.p.nextID("88")
		c.p.uploads[session] = &upload{token: c.token.app.AppID, size: int64(size), video: video}
		return answer(object{{"video_id", video.id}, {"start_offset", "0"}, {"end_offset", strconv.Itoa(size)}, {"upload_session_id", session}})
	case "transfer", "finish":
		u := c.p.uploads[c.params.Get("upload_session_id")]
		if u == nil || u.video == nil || u.video.parent != page {
			return (&failure{status: http.StatusBadRequest, kind: oauthException, code: 6000, subcode: 1363030, message: "There was a problem uploading your video file."}).reply()
		}
		if phase == "transfer" {
			if at, ok := c.integer("start_offset"); !ok || int64(at) != u.received {
				return (&failure{status: http.StatusBadRequest, kind: oauthException, code: 6001, subcode: 1363037, message: "There was a problem uploading your video file. Please retry with the right offset.", transient: true}).reply()
			}
			u.received += int64(len(c.files["video_file_chunk"].data))
			return answer(object{{"start_offset", strconv.FormatInt(u.received, 10)}, {"end_offset", strconv.FormatInt(u.size, 10)}})
		}
		if u.received != u.size {
			return (&failure{status: http.StatusBadRequest, kind: oauthException, code: 6000, subcode: 1363036, message: "The video upload is not complete."}).reply()
		}
		u.video.props["status"] = "ready"
		return success()
	}
	return invalid("Param upload_phase must be one of {start, transfer, finish, cancel}").reply()
}

// createReel begins an upload on the upload host and publishes what arrived
// there.
func createReel(c *call, page *node) *reply {
	switch c.params.Get("upload_phase") {
	case "start":
		video := c.newVideo(page, "uploading")
		c.p.uploads["video-upload/"+video.id] = &upload{token: c.token.app.AppID, video: video}
		return answer(object{{"video_id", video.id}, {"upload_url", c.uploadURL("video-upload/" + c.version + "/" + video.id)}})
	case "finish":
		u := c.p.uploads["video-upload/"+c.params.Get("video_id")]
		if u == nil || u.received == 0 {
			return invalid("The video has not been uploaded").reply()
		}
		u.video.props["status"] = "ready"
		u.video.props["description"] = c.params.Get("description")
		return answer(object{{"success", true}, {"post_id", u.video.id}})
	}
	return invalid("Param upload_phase must be one of {START, FINISH}").reply()
}

// uploadURL is an address on the upload host: the real one when the call came to
// a real host name, otherwise our prefix.
func (c *call) uploadURL(path string) string {
	scheme, rest, _ := strings.Cut(c.base, "://")
	name, _, _ := strings.Cut(rest, "/")
	if strings.HasPrefix(name, "graph") && (strings.HasSuffix(name, ".facebook.com") || strings.HasSuffix(name, ".instagram.com")) {
		return scheme + "://rupload.facebook.com/" + path
	}
	return scheme + "://" + name + "/rupload/" + path
}

// maxUpload bounds what is read from one upload request.
const maxUpload = 1 << 30

// rupload takes the bytes of a resumable upload: token in the Authorization
// header as "OAuth …", position in offset, length in file_size. It asks for no
// proof.
func (p *Platform) rupload(c *call, r *http.Request) *reply {
	key := c.path
	if len(key) == 3 && strings.HasPrefix(key[1], "v") {
		key = []string{key[0], key[2]}
	}
	p.mu.Lock()
	u := p.uploads[joinPath(key)]
	t, failed := p.check(c.credential(), facebook)
	if failed != nil {
		t, failed = p.check(c.credential(), instagram)
	}
	p.mu.Unlock()
	switch {
	case failed != nil:
		return failed.reply()
	case u == nil || u.token != t.app.AppID:
		return missing(strings.ToLower(c.method), joinPath(key)).reply()
	case c.method == http.MethodGet:
		p.mu.Lock()
		defer p.mu.Unlock()
		return answer(object{{"offset", u.received}})
	case c.method != http.MethodPost:
		return missing(strings.ToLower(c.method), joinPath(key)).reply()
	}
	if r.Header.Get("file_url") == "" {
		if failed := p.receive(u, r); failed != nil {
			return failed.reply()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if u.container != nil {
		delete(u.container.props, "waiting")
	}
	return answer(object{{"success", true}, {"message", "Upload successful."}})
}

func (p *Platform) receive(u *upload, r *http.Request) *failure {
	wrong := func(message string) *failure {
		return &failure{status: http.StatusBadRequest, kind: "ProcessingFailedError", code: 100, message: message}
	}
	offset, err := strconv.ParseInt(r.Header.Get("offset"), 10, 64)
	if err != nil {
		return wrong("The offset header is missing.")
	}
	size, err := strconv.ParseInt(r.Header.Get("file_size"), 10, 64)
	if err != nil || size <= 0 {
		return wrong("The file_size header is missing.")
	}
	p.mu.Lock()
	at := u.received
	p.mu.Unlock()
	if offset != at {
		return wrong("The offset does not match what was received.")
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxUpload))
	p.mu.Lock()
	u.received += n
	u.size = size
	whole := u.received == size
	p.mu.Unlock()
	if err != nil || !whole {
		return &failure{status: http.StatusBadRequest, kind: "PartialRequestError", code: 100, message: "Partial request (did not match length of file)", transient: true}
	}
	return nil
}
