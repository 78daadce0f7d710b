// Package chaos breaks a whole installation at random while clients work, and looks whether a transaction was lost, doubled or kept
// waiting, and whether anything is left over.
//
//	clients --> proxy ---- relay 1 ---- connector 1 --> origin     each in a network of its own; harness.Fabric
//	              \------- relay 2 --/  connector 2 ----/          carries their packets
//	               \------ relay 3 -/     control, NATS
//
// `make chaos` lets it run for ten minutes.
package chaos
