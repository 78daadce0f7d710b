// Sluice runs the server (control, relay and proxy, together or apart), and is the command line of its API.
//
// main parses, wires and runs: each role's wiring is in a file of its own (role_*.go), each noun's commands in another.
package main
