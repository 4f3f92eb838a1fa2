package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
)

//go:embed assets
var assetFiles embed.FS

// asset is one file that pages refer to. Its path changes with its content, so that
// browsers may keep it.
type asset struct {
	name, kind string
	content    []byte
}

// loadAssets returns the assets by their paths.
func loadAssets() (map[string]asset, error) {
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		return nil, err
	}
	out := map[string]asset{}
	for _, f := range files {
		content, err := assetFiles.ReadFile("assets/" + f.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		out["/assets/"+hex.EncodeToString(sum[:6])+"/"+f.Name()] = asset{f.Name(), mime.TypeByExtension(path.Ext(f.Name())), content}
	}
	return out, nil
}

// sendAsset sends a file of ours. It is the same for everybody and says nothing about
// this installation.
func (v *visit) sendAsset() error {
	a, known := v.console.assets[v.r.URL.Path]
	if !known {
		return errNoPage
	}
	h := v.w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	_, err := v.w.Write(a.content)
	if v.r.Method == http.MethodHead {
		return nil
	}
	return err
}
