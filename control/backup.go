package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/streamingaead"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// A backup is two lines of text, sealed content, and a last line:
//
//	sluice-backup 1
//	{"installation": ..., "created_at": ..., "key_id": ..., "keyset": ...}
//	<Tink streaming AEAD: one JSON object for each key of the store, in the order of their revisions>
//	sha256 <hex of everything before>
//
// The content has a key of its own, which the header holds, sealed by the
// installation's keyset.
const (
	backupMagic   = "sluice-backup "
	backupVersion = "1"
	// backupHeaderMax bounds the header in bytes; it has about 600.
	backupHeaderMax = 64 << 10
	backupTrailer   = len("sha256 ") + 2*sha256.Size + len("\n")
)

// The errors of reading a backup. What wraps them says what to do.
var (
	ErrNotBackup     = errors.New("not a backup of Sluice")
	ErrBackupDamaged = errors.New("the backup is damaged")
	ErrBackupKey     = errors.New("the backup was sealed with another keyset")
	ErrNotEmpty      = errors.New("the store is not empty")
)

// BackupInfo says what a backup is.
type BackupInfo struct {
	Installation string // 32 hex digits
	CreatedAt    time.Time
	KeyID        uint32 // the Tink ID of the key that sealed it
	Entries      int    // keys of the store; 0 where the backup was not opened
}

type backupHeader struct {
	Installation string    `json:"installation"`
	CreatedAt    time.Time `json:"created_at"`
	KeyID        uint32    `json:"key_id"`
	Keyset       []byte    `json:"keyset"` // Tink, encrypted
}

// backupEntry is one key of the store. The last object of the content has no
// key, and counts the others.
type backupEntry struct {
	Key   string `json:"key,omitempty"`
	Value []byte `json:"value,omitempty"`
	Count int    `json:"count,omitempty"`
}

// backupData is the associated data of a backup's own key and content.
func backupData(installation string) []byte { return associated("backup", installation, "content") }

// Backup writes the whole desired state to w: every account's, as it was at one
// moment, without the audit log. It goes on beside changes.
func (c *Control) Backup(ctx context.Context, w io.Writer) (BackupInfo, error) {
	entries, _, err := c.store.readAll(ctx)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("back up: %w", err)
	}
	entries = latest(entries)
	ring := c.sealer.ring.Load()
	header := backupHeader{Installation: c.installation, CreatedAt: time.Now().UTC().Truncate(time.Second), KeyID: ring.primary()}
	content, err := keyset.NewHandle(streamingaead.AES256GCMHKDF1MBKeyTemplate())
	if err != nil {
		return BackupInfo{}, fmt.Errorf("back up: %w", err)
	}
	var sealed bytes.Buffer
	if err := content.WriteWithAssociatedData(keyset.NewBinaryWriter(&sealed), ring.aead, backupData(c.installation)); err != nil {
		return BackupInfo{}, fmt.Errorf("back up: %w", err)
	}
	header.Keyset = sealed.Bytes()
	sum := sha256.New()
	if err := writeBackup(io.MultiWriter(w, sum), content, header, entries); err != nil {
		return BackupInfo{}, fmt.Errorf("back up: %w", err)
	}
	if _, err := fmt.Fprintf(w, "sha256 %s\n", hex.EncodeToString(sum.Sum(nil))); err != nil {
		return BackupInfo{}, fmt.Errorf("back up: %w", err)
	}
	return BackupInfo{Installation: header.Installation, CreatedAt: header.CreatedAt, KeyID: header.KeyID, Entries: len(entries)}, nil
}

// latest returns the last revision of each key that is not deleted.
func latest(entries []entry) []entry {
	last := map[string]uint64{}
	for _, e := range entries {
		last[e.key] = e.rev
	}
	kept := entries[:0:0]
	for _, e := range entries {
		if last[e.key] == e.rev && e.value != nil {
			kept = append(kept, e)
		}
	}
	return kept
}

func writeBackup(w io.Writer, content *keyset.Handle, header backupHeader, entries []entry) error {
	primitive, err := streamingaead.New(content)
	if err != nil {
		return err
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s%s\n%s\n", backupMagic, backupVersion, text); err != nil {
		return err
	}
	seal, err := primitive.NewEncryptingWriter(w, backupData(header.Installation))
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(seal)
	for _, e := range entries {
		if err := encoder.Encode(backupEntry{Key: e.key, Value: e.value}); err != nil {
			return err
		}
	}
	if err := encoder.Encode(backupEntry{Count: len(entries)}); err != nil {
		return err
	}
	return seal.Close()
}

// backup is a file that has been found whole, by its checksum.
type backup struct {
	file    *os.File
	header  backupHeader
	content int64 // where the sealed content begins
	length  int64 // of it, in bytes
}

// openBackup checks a backup's shape and checksum, which need no key.
func openBackup(path string) (*backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b := &backup{file: f}
	if err := b.check(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, nil
}

// CheckBackup reports what a backup is when the file is whole; it needs no key.
func CheckBackup(path string) (BackupInfo, error) {
	b, err := openBackup(path)
	if err != nil {
		return BackupInfo{}, err
	}
	info := BackupInfo{Installation: b.header.Installation, CreatedAt: b.header.CreatedAt, KeyID: b.header.KeyID}
	return info, b.file.Close()
}

func (b *backup) check(path string) error {
	info, err := b.file.Stat()
	if err != nil {
		return err
	}
	start := make([]byte, min(info.Size(), int64(backupHeaderMax)))
	if _, err := b.file.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	first, rest, hasFirst := bytes.Cut(start, []byte("\n"))
	version, ours := bytes.CutPrefix(first, []byte(backupMagic))
	switch {
	case !ours:
		return fmt.Errorf("%s: %w", path, ErrNotBackup)
	case hasFirst && string(version) != backupVersion:
		return fmt.Errorf("%s: %w that this version reads: it has the format %q, this version reads %q; use the version of Sluice that made it, or a newer one", path, ErrNotBackup, clip(string(version)), backupVersion)
	}
	text, _, hasHeader := bytes.Cut(rest, []byte("\n"))
	b.content = int64(len(first) + len(text) + 2)
	b.length = info.Size() - b.content - int64(backupTrailer)
	if !hasHeader || b.length < 0 {
		return fmt.Errorf("%s: %w: it is cut short; copy it again", path, ErrBackupDamaged)
	}
	trailer := make([]byte, backupTrailer)
	if _, err := b.file.ReadAt(trailer, b.content+b.length); err != nil {
		return err
	}
	if !bytes.HasPrefix(trailer, []byte("sha256 ")) || trailer[backupTrailer-1] != '\n' {
		return fmt.Errorf("%s: %w: it is cut short, or something was added at its end; copy it again", path, ErrBackupDamaged)
	}
	sum := sha256.New()
	if err := checksum(sum, b.file, b.content+b.length); err != nil {
		return err
	}
	if want := string(trailer[len("sha256 ") : backupTrailer-1]); hex.EncodeToString(sum.Sum(nil)) != want {
		return fmt.Errorf("%s: %w: its checksum is another than at its end; copy it again", path, ErrBackupDamaged)
	}
	if err := json.Unmarshal(text, &b.header); err != nil || b.header.Installation == "" {
		return fmt.Errorf("%s: %w: its header does not decode", path, ErrBackupDamaged)
	}
	return nil
}

func checksum(sum hash.Hash, r io.ReaderAt, n int64) error {
	_, err := io.Copy(sum, io.NewSectionReader(r, 0, n))
	return err
}

// open opens the content with a keyset.
func (b *backup) open(ring *keyring, keysetPath string) (*json.Decoder, error) {
	if !ring.has(b.header.KeyID) {
		return nil, fmt.Errorf("%w: it needs key %08x, which %s does not have; give the keyset of the installation and the time that the backup is from with --keyset-file (rotate-keys keeps the former ones beside the keyset, as keyset-%08x.json)",
			ErrBackupKey, b.header.KeyID, keysetPath, b.header.KeyID)
	}
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(b.header.Keyset)), ring.aead, backupData(b.header.Installation))
	if err != nil {
		return nil, fmt.Errorf("%w: %s does not open it", ErrBackupKey, keysetPath)
	}
	primitive, err := streamingaead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("%w: its key is of another kind", ErrBackupDamaged)
	}
	return b.decoder(primitive)
}

func (b *backup) decoder(primitive tink.StreamingAEAD) (*json.Decoder, error) {
	plain, err := primitive.NewDecryptingReader(io.NewSectionReader(b.file, b.content, b.length), backupData(b.header.Installation))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackupDamaged, err)
	}
	return json.NewDecoder(plain), nil
}

// read returns every entry, or an error if the content is not whole.
func (b *backup) read(ring *keyring, keysetPath string) ([]op, error) {
	decoder, err := b.open(ring, keysetPath)
	if err != nil {
		return nil, err
	}
	var ops []op
	for {
		var e backupEntry
		if err := decoder.Decode(&e); err != nil {
			return nil, fmt.Errorf("%w: its content does not decode after %d entries", ErrBackupDamaged, len(ops))
		}
		if e.Key == "" {
			if e.Count != len(ops) {
				return nil, fmt.Errorf("%w: it has %d entries where its end says %d", ErrBackupDamaged, len(ops), e.Count)
			}
			return ops, nil
		}
		if e.Value == nil {
			e.Value = []byte{}
		}
		// The marker of a restore keeps others out, so that no revision is expected: one that was interrupted writes some again.
		ops = append(ops, op{key: e.Key, value: e.Value, anyRev: true})
	}
}
