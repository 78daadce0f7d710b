// Package tunnelpb is the generated code for the messages of sluice/1.
package tunnelpb
