// Package hyperdrive tests databases as their owners make them: with the command
// line and with Cloudflare's wrangler, against real origins.
package hyperdrive
