package tunnel

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// errTooLarge says that a peer declared a message above the limit of its place.
var errTooLarge = errors.New("message is too large")

// readMessage reads one length-delimited message, and not a byte after it. It allocates at most limit bytes, and none before the
// length is known to be within it.
func readMessage(r io.Reader, m proto.Message, limit int) error {
	br, ok := r.(protodelim.Reader)
	if !ok {
		br = &byteReader{Reader: r}
	}
	err := protodelim.UnmarshalOptions{MaxSize: int64(limit)}.UnmarshalFrom(br, m)
	var size *protodelim.SizeTooLargeError
	if errors.As(err, &size) {
		return fmt.Errorf("%w: %d bytes, limit %d", errTooLarge, size.Size, size.MaxSize)
	}
	return err
}

// byteReader reads single bytes without reading ahead: what follows a message belongs to the stream's reader.
type byteReader struct {
	io.Reader
	one [1]byte
}

func (r *byteReader) ReadByte() (byte, error) {
	if _, err := io.ReadFull(r.Reader, r.one[:]); err != nil {
		return 0, err
	}
	return r.one[0], nil
}

// encode returns m, length-delimited, to be sent in one write.
func encode(m proto.Message) ([]byte, error) {
	size := proto.Size(m)
	b := make([]byte, 0, protowire.SizeVarint(uint64(size))+size)
	b = protowire.AppendVarint(b, uint64(size))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
}

func writeMessage(w io.Writer, m proto.Message) error {
	b, err := encode(m)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}
