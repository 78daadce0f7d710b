package tunnel

// Limits bounds what one peer can make this side hold. The zero value has the defaults.
type Limits struct {
	Streams      int   // streams that the peer may have open at once; 4096 unless set
	StreamWindow int   // bytes the peer may send ahead of the reader on one QUIC stream; 2 MiB unless set
	Memory       int64 // bytes the peer may send ahead of all readers of a QUIC session; 512 MiB unless set
}
