package mywire

// maxAttributes bounds the attributes of a connection in bytes: MySQL's server
// itself takes no more than 64 KiB of them (sql/auth/sql_authentication.cc,
// read_client_connect_attrs).
const maxAttributes = 64 << 10

// An Attribute is one of those that a client says of itself, such as its name.
type Attribute struct{ Name, Value string }

// attributes reads the attributes of a connection.
func (r *reader) attributes() []Attribute {
	block := reader{b: r.lenencString()}
	if len(block.b) > maxAttributes {
		r.fail(errTooLong)
		return nil
	}
	var attrs []Attribute
	for r.err == nil && len(block.b) > 0 {
		a := Attribute{string(block.lenencString()), string(block.lenencString())}
		if block.err != nil {
			r.fail(block.err)
			return nil
		}
		attrs = append(attrs, a)
	}
	return attrs
}

func appendAttributes(dst []byte, attrs []Attribute) []byte {
	var block []byte
	for _, a := range attrs {
		block = AppendLenencString(AppendLenencString(block, a.Name), a.Value)
	}
	return AppendLenencString(dst, block)
}
