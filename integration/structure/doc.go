// Package structure has the tests of the module's shape: which package may import which, that
// every package says what it is, and that documents name only what exists. It has no code.
package structure
