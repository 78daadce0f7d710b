package control

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keyring is a keyset, ready for use. It is immutable.
type keyring struct {
	handle *keyset.Handle
	aead   tink.AEAD
}

func newKeyring(handle *keyset.Handle) (*keyring, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("the keyset has no AEAD key")
	}
	return &keyring{handle: handle, aead: primitive}, nil
}

// primary is the ID of the key that seals.
func (k *keyring) primary() uint32 { return k.handle.KeysetInfo().GetPrimaryKeyId() }

// has reports whether the keyset has a key with this ID.
func (k *keyring) has(id uint32) bool {
	return slices.ContainsFunc(k.handle.KeysetInfo().GetKeyInfo(), func(i *tinkpb.KeysetInfo_KeyInfo) bool { return i.GetKeyId() == id })
}

// grown returns the keyset with a new key that seals from then on.
func (k *keyring) grown() (*keyring, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = manager.SetPrimary(id)
	}
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return keyringOf(manager)
}

// pruned returns the keyset with the key that seals alone.
func (k *keyring) pruned() (*keyring, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	for _, info := range k.handle.KeysetInfo().GetKeyInfo() {
		if info.GetKeyId() == k.primary() {
			continue
		}
		if err := manager.Delete(info.GetKeyId()); err != nil {
			return nil, fmt.Errorf("drop key: %w", err)
		}
	}
	return keyringOf(manager)
}

func keyringOf(manager *keyset.Manager) (*keyring, error) {
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("make keyset: %w", err)
	}
	return newKeyring(handle)
}

// text returns the keyset in the clear, as it is in its file.
func (k *keyring) text() ([]byte, error) {
	var text bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&text)); err != nil {
		return nil, fmt.Errorf("write keyset: %w", err)
	}
	return text.Bytes(), nil
}

// parseKeyset is the reverse of text.
func parseKeyset(text []byte) (*keyring, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errors.New("not a Tink keyset in JSON form")
	}
	return newKeyring(handle)
}

// readKeyset opens the keyset that seals secrets. It returns an error that is
// fs.ErrNotExist when there is none.
func readKeyset(path string) (*keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("keyset %s can be read by others (mode %04o): chmod 600 it, and consider it known", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	ring, err := parseKeyset(text)
	if err != nil {
		return nil, fmt.Errorf("keyset %s: %w", path, err)
	}
	return ring, nil
}

// makeKeyset writes a new AES-256-GCM keyset, unless another process was
// quicker, and opens what is then there.
func makeKeyset(path string) (*keyring, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make keyset: %w", err)
	}
	ring, err := newKeyring(handle)
	if err != nil {
		return nil, err
	}
	text, err := ring.text()
	if err != nil {
		return nil, err
	}
	if err := createFile(path, text); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make keyset: %w", err)
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
