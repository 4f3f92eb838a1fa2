package x

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // to tell the size of an upload
	_ "image/jpeg" // to tell the size of an upload
	_ "image/png"  // to tell the size of an upload
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// media is one upload. Its bytes are kept, so that what was sent can be fetched
// again and compared.
type media struct {
	id       string
	owner    *user
	category string
	kind     string // MIME type
	declared int    // total_bytes of a chunked upload; -1 otherwise
	segments map[int][]byte
	body     []byte
	status   string // pending, in_progress, succeeded or failed
	polls    int
	expires  time.Time
	alt      string
}

const mediaTTL = 24 * time.Hour

var mediaCategories = strings.Fields("amplify_video tweet_gif tweet_image tweet_video dm_gif dm_image dm_video subtitles")

var mediaOperations = []operation{
	{id: "mediaUpload", route: "POST /2/media/upload", auth: userAuth, scopes: "media.write", appLimit: "50000/24h", userLimit: "500/15m", handle: (*Platform).uploadMedia},
	{id: "getMediaUploadStatus", route: "GET /2/media/upload", auth: userAuth, scopes: "media.write", appLimit: "100000/24h", userLimit: "1000/15m", query: []string{"media_id", "command"}, handle: (*Platform).mediaStatus},
	{id: "initializeMediaUpload", route: "POST /2/media/upload/initialize", auth: userAuth, scopes: "media.write", appLimit: "180000/24h", userLimit: "1875/15m", handle: (*Platform).initializeMedia},
	{id: "appendMediaUpload", route: "POST /2/media/upload/{id}/append", auth: userAuth, scopes: "media.write", appLimit: "180000/24h", userLimit: "1875/15m", handle: (*Platform).appendMedia},
	{id: "finalizeMediaUpload", route: "POST /2/media/upload/{id}/finalize", auth: userAuth, scopes: "media.write", appLimit: "180000/24h", userLimit: "1875/15m", handle: (*Platform).finalizeMedia},
	{id: "createMediaMetadata", route: "POST /2/media/metadata", auth: userAuth, scopes: "media.write", appLimit: "50000/24h", userLimit: "500/15m", handle: (*Platform).describeMedia},
	{id: "getMediaByMediaKey", route: "GET /2/media/{media_key}", auth: anyAuth, scopes: "tweet.read", query: []string{"media.fields"}, handle: (*Platform).mediaByKey},
}

// key is the media key, which begins with the kind of media.
func (m *media) key() string {
	kind := "3_"
	switch {
	case strings.Contains(m.category, "video"):
		kind = "7_"
	case strings.Contains(m.category, "gif"):
		kind = "16_"
	}
	return kind + m.id
}

// render is the media as an expansion.
func (m *media) render(fields []string) map[string]any {
	kind := map[string]string{"3": "photo", "7": "video", "16": "animated_gif"}[strings.Split(m.key(), "_")[0]]
	out := map[string]any{"media_key": m.key(), "type": kind}
	width, height := m.size()
	for _, field := range fields {
		switch field {
		case "url":
			if kind == "photo" {
				out[field] = "https://pbs.example/media/" + m.id
			}
		case "width":
			out[field] = width
		case "height":
			out[field] = height
		case "alt_text":
			if m.alt != "" {
				out[field] = m.alt
			}
		case "duration_ms":
			if kind == "video" {
				out[field] = 1000
			}
		}
	}
	return out
}

func (m *media) size() (int, int) {
	config, _, err := image.DecodeConfig(bytes.NewReader(m.body))
	if err != nil {
		return 0, 0
	}
	return config.Width, config.Height
}

// describe is the media as the upload operations show it.
func (m *media) describe(now time.Time) map[string]any {
	out := map[string]any{"id": m.id, "media_key": m.key(), "expires_after_secs": max(int(m.expires.Sub(now).Seconds()), 0)}
	if m.body != nil {
		out["size"] = len(m.body)
		if width, height := m.size(); width > 0 {
			out["image"] = map[string]any{"w": width, "h": height, "image_type": m.kind}
		}
	}
	if strings.Contains(m.category, "video") || strings.Contains(m.category, "gif") {
		progress := map[string]int{"succeeded": 100, "in_progress": 50}[m.status]
		info := map[string]any{"state": m.status, "progress_percent": progress}
		if m.status == "pending" || m.status == "in_progress" {
			info["check_after_secs"] = 1
		}
		out["processing_info"] = info
	}
	return out
}

// uploadFields reads an upload's fields from JSON (media in base64) or
// multipart (media as it is).
func (c *call) uploadFields() (map[string]string, []byte, error) {
	mediaType, parameters, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	fields := make(map[string]string)
	var body []byte
	switch mediaType {
	case "application/json":
		var raw map[string]json.RawMessage
		if err := json.Unmarshal(c.body, &raw); err != nil {
			return nil, nil, invalidRequest("", "", "The request body is not valid JSON for this operation.")
		}
		for name, value := range raw {
			var text string
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			fields[name] = text
		}
		decoded, err := base64.StdEncoding.DecodeString(fields["media"])
		if err != nil {
			return nil, nil, invalidRequest("", "", "$.media: is not base64")
		}
		body = decoded
	case "multipart/form-data":
		parts := multipart.NewReader(bytes.NewReader(c.body), parameters["boundary"])
		for {
			part, err := parts.NextPart()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, nil, invalidRequest("", "", "The multipart body could not be read.")
			}
			content, err := io.ReadAll(part)
			if err != nil {
				return nil, nil, invalidRequest("", "", "The multipart body could not be read.")
			}
			if part.FormName() == "media" {
				body = content
			} else {
				fields[part.FormName()] = string(content)
			}
		}
	default:
		return nil, nil, invalidRequest("", "", "Content-Type must be application/json or multipart/form-data.")
	}
	return fields, body, nil
}

// newMedia places an upload. The caller holds Platform.mu.
func (p *Platform) newMedia(owner *user, category, kind string) *media {
	m := &media{
		id: p.state.nextID(p.now()), owner: owner, category: category, kind: kind, declared: -1,
		segments: make(map[int][]byte), status: "pending", expires: p.now().Add(mediaTTL),
	}
	p.state.media[m.id] = m
	return m
}

func (p *Platform) uploadMedia(c *call) (any, error) {
	fields, body, err := c.uploadFields()
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, invalidRequest("", "", "$.media: is missing but it is required")
	}
	if !slices.Contains(mediaCategories, fields["media_category"]) {
		return nil, invalidRequest("", "", "$.media_category: does not have a value in the enumeration ["+strings.Join(mediaCategories, ", ")+"]")
	}
	m := p.newMedia(c.who.user, fields["media_category"], http.DetectContentType(body))
	m.body, m.status = body, "succeeded"
	return reply(m.describe(p.now()), nil, nil, nil), nil
}

// maxUpload is the largest chunked upload that X allows.
const maxUpload = 512 << 20

func (p *Platform) initializeMedia(c *call) (any, error) {
	var body struct {
		Category string   `json:"media_category"`
		Type     string   `json:"media_type"`
		Total    *int     `json:"total_bytes"`
		Owners   []string `json:"additional_owners"`
		Shared   bool     `json:"shared"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Total == nil || *body.Total < 0 || *body.Total > maxUpload {
		return nil, invalidRequest("", "", "$.total_bytes: must be between 0 and "+strconv.Itoa(maxUpload))
	}
	if body.Category != "" && !slices.Contains(mediaCategories, body.Category) {
		return nil, invalidRequest("", "", "$.media_category: does not have a value in the enumeration ["+strings.Join(mediaCategories, ", ")+"]")
	}
	m := p.newMedia(c.who.user, body.Category, body.Type)
	m.declared = *body.Total
	return reply(m.describe(p.now()), nil, nil, nil), nil
}

// myMedia finds an upload of the caller's.
func (p *Platform) myMedia(c *call, id string) (*media, error) {
	if !validID(id) {
		return nil, badPathID("id", id)
	}
	m := p.state.media[id]
	if m == nil || m.owner != c.who.user {
		return nil, missing("media", "id", id)
	}
	return m, nil
}

func (p *Platform) appendMedia(c *call) (any, error) {
	m, err := p.myMedia(c, c.path["id"])
	if err != nil {
		return nil, err
	}
	fields, body, err := c.uploadFields()
	if err != nil {
		return nil, err
	}
	index, err := strconv.Atoi(fields["segment_index"])
	if err != nil || index < 0 || index > 999 {
		return nil, invalidRequest("", "", "$.segment_index: must be between 0 and 999")
	}
	if m.declared < 0 || m.body != nil {
		return nil, invalidRequest("", "", "The upload does not take segments.")
	}
	m.segments[index] = body
	return reply(map[string]any{"expires_at": m.expires.Unix()}, nil, nil, nil), nil
}

// finalizeMedia joins the segments. Images are ready at once, videos after they
// have been asked about twice.
func (p *Platform) finalizeMedia(c *call) (any, error) {
	m, err := p.myMedia(c, c.path["id"])
	if err != nil {
		return nil, err
	}
	if m.declared < 0 || m.body != nil {
		return nil, invalidRequest("", "", "The upload is complete already.")
	}
	joined := []byte{}
	for index := range len(m.segments) {
		segment, present := m.segments[index]
		if !present {
			return nil, invalidRequest("", "", fmt.Sprintf("Segments do not add up: segment %d is missing.", index))
		}
		joined = append(joined, segment...)
	}
	if len(joined) != m.declared {
		return nil, invalidRequest("", "", fmt.Sprintf("Segments do not add up to provided total file size: %d of %d bytes.", len(joined), m.declared))
	}
	m.body, m.segments = joined, nil
	m.status = "succeeded"
	if strings.Contains(m.category, "video") {
		m.status = "pending"
	}
	return reply(m.describe(p.now()), nil, nil, nil), nil
}

func (p *Platform) mediaStatus(c *call) (any, error) {
	if command := c.query.Get("command"); command != "" && command != "STATUS" {
		return nil, invalidRequest("command", command, "The `command` query parameter value is not one of [STATUS]")
	}
	m, err := p.myMedia(c, c.query.Get("media_id"))
	if err != nil {
		return nil, err
	}
	if m.body != nil && m.status != "succeeded" {
		m.polls++
		m.status = map[bool]string{false: "in_progress", true: "succeeded"}[m.polls > 1]
	}
	return reply(m.describe(p.now()), nil, nil, nil), nil
}

func (p *Platform) describeMedia(c *call) (any, error) {
	var body struct {
		ID       string                     `json:"id"`
		Metadata map[string]json.RawMessage `json:"metadata"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	m, err := p.myMedia(c, body.ID)
	if err != nil {
		return nil, err
	}
	var alt struct {
		Text string `json:"text"`
	}
	if raw, present := body.Metadata["alt_text"]; present {
		if err := json.Unmarshal(raw, &alt); err != nil || len([]rune(alt.Text)) > 1000 {
			return nil, invalidRequest("", "", "$.metadata.alt_text: is not a text of at most 1000 characters")
		}
		m.alt = alt.Text
	}
	return reply(map[string]any{"id": m.id, "associated_metadata": body.Metadata}, nil, nil, nil), nil
}

func (p *Platform) mediaByKey(c *call) (any, error) {
	s, err := c.selectFields(nil)
	if err != nil {
		return nil, err
	}
	key := c.path["media_key"]
	_, id, _ := strings.Cut(key, "_")
	m := p.state.media[id]
	if m == nil || m.key() != key || m.body == nil {
		return nil, missing("media", "media_key", key)
	}
	return reply(m.render(s.media), nil, nil, nil), nil
}

// serveMediaFile serves an upload's bytes, which on the real platform live on
// other hosts: /media/{id}.
func (p *Platform) serveMediaFile(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	m := p.state.media[strings.TrimPrefix(r.URL.Path, "/media/")]
	var body []byte
	if m != nil {
		body = m.body
	}
	p.mu.Unlock()
	if body == nil {
		sendError(w, plainProblem(http.StatusNotFound, "Not Found"))
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
