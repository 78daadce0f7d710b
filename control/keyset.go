package control

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// readKeyset opens the keyset that seals secrets. It returns an error that is
// fs.ErrNotExist when there is none.
func readKeyset(path string) (sealer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return sealer{}, fmt.Errorf("keyset: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return sealer{}, fmt.Errorf("keyset %s can be read by others (mode %04o): chmod 600 it, and consider it known", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return sealer{}, fmt.Errorf("keyset: %w", err)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return sealer{}, fmt.Errorf("keyset %s is not a Tink keyset in JSON form", path)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return sealer{}, fmt.Errorf("keyset %s has no AEAD key", path)
	}
	return sealer{aead: primitive}, nil
}

// makeKeyset writes a new AES-256-GCM keyset, unless another process was
// quicker, and opens what is then there.
func makeKeyset(path string) (sealer, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return sealer{}, fmt.Errorf("make keyset: %w", err)
	}
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		return sealer{}, fmt.Errorf("make keyset: %w", err)
	}
	if err := createFile(path, text.Bytes()); err != nil && !errors.Is(err, fs.ErrExist) {
		return sealer{}, fmt.Errorf("make keyset: %w", err)
	}
	return readKeyset(path)
}

// createFile makes a file with its whole content at once, mode 0600, synced. It
// returns an error that is fs.ErrExist when the file is there already.
func createFile(path string, content []byte) error {
	tmp, err := writeTemp(path, content)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp) }()
	// A link fails when the name exists, which a rename does not.
	if err := os.Link(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replaceFile writes a file with its whole content at once, mode 0600, synced.
func replaceFile(path string, content []byte) error {
	tmp, err := writeTemp(path, content)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes content to a new synced file beside path. os.CreateTemp
// opens with O_EXCL and mode 0600.
func writeTemp(path string, content []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closed := d.Close(); err == nil {
		err = closed
	}
	return err
}
