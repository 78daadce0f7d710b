package access

import "strings"

// maxHostname is the longest name in text form (RFC 1035 section 2.3.4, 255
// octets on the wire).
const maxHostname = 253

// maxLabel is the longest label (RFC 1035 section 2.3.4).
const maxLabel = 63

// HostnameFault says what is wrong with a hostname, or returns "". A hostname
// is lower case, has neither port nor path, and may begin with "*." to cover
// every name below.
func HostnameFault(hostname string) string {
	name, wildcard := strings.CutPrefix(hostname, "*.")
	switch {
	case hostname == "":
		return "is required"
	case len(hostname) > maxHostname:
		return "is longer than 253 characters"
	case strings.Contains(name, "*"):
		return "may have a wildcard only as its whole first label"
	case strings.ContainsAny(name, "/:@?#"):
		return "must be a name alone, without scheme, port or path"
	case name != strings.ToLower(name):
		return "must be lower case"
	case wildcard && !strings.Contains(name, "."):
		return "must name at least two labels after the wildcard"
	}
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return "must consist of labels of 1 to 63 letters, digits, hyphens and underscores, in ASCII form"
		}
	}
	return ""
}

func validLabel(label string) bool {
	if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
