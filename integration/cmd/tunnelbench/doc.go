// Tunnelbench measures the tunnel beside two hops of a plain TCP relay in Go, of HAProxy and of socat:
//
//	load -> relay with a TCP entry == QUIC or WebSocket ==> connector -> target       quic, websocket
//	load -> client == QUIC or WebSocket ==> relay == the same ==> connector -> target   quic+client, websocket+client
//	load -> hop -> hop -> target                                                      relay2, haproxy2, socat2
//
// Each box is a process. The parts are
//
//	loopback   throughput, round trips and opens, with the processor time of what stands between load and target
//	beside     64 ping-pong streams, alone and beside a stream that saturates their one session
//	idle       memory of relay and connector for each of 10,000 idle streams
//	distance   throughput at 20 and 100 ms of round trip, without loss and with 1 %
//	fetch      50 MB from connecting to the last byte, at 80 ms and 200 Mbit/s
//
// The ways take turns in several short rounds, and what is printed is the median of the rounds. Other work on the machine moves the
// figures of one run alike: compare the ratios within a run, not the figures of two. Distance is made by a harness.Link between
// two namespaces, which takes root.
package main
