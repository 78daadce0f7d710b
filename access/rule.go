package access

// Selector names what a rule looks at.
type Selector string

// The selectors that a rule may use.
const (
	SelectServiceToken    Selector = "service_token"           // Value is the token's ID
	SelectAnyServiceToken Selector = "any_valid_service_token" // no Value
	SelectIP              Selector = "ip"                      // Value is an address or a prefix in CIDR form
	SelectEveryone        Selector = "everyone"                // no Value
	SelectCertificate     Selector = "certificate"             // no Value: any valid client certificate
	SelectCommonName      Selector = "common_name"             // Value is the client certificate's common name
)

// Rule is one condition of a policy. Its JSON has Cloudflare's shape, one
// object named by the selector: {"ip":{"ip":"10.0.0.0/8"}}. A selector that is
// not known is kept as it came, is refused by [Policy.Validate] and matches
// nothing.
type Rule struct {
	Selector Selector
	Value    string
}
