package v4

import "embed"

// Source is the source of this package: the comments of its types and fields are the descriptions in the API's OpenAPI document.
//
//go:embed *.go
var Source embed.FS
