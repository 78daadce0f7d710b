// Package v4 has the JSON shapes of the control API: the envelope every answer comes in, and the resources inside it, as
// Cloudflare's v4 API has them.
//
// The server (control/api) and the client (control/api/apiclient) share them. Fields that Cloudflare's API does not have are
// marked as ours. Secrets are write-only: a request may carry one, an answer carries one only where it is shown once.
package v4
