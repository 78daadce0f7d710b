// Sluice-connector runs inside a private network and serves one tunnel: it dials out to relays and joins their streams to origins.
//
// It is a program of its own so that what runs beside the database is small enough to audit: it is static, imports nothing of
// control, relay and proxy, and every package it is made of is listed in testdata/deps.golden.
package main
