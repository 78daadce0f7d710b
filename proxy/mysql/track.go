package mysql

import (
	"strings"

	"github.com/sluicedb/sluice/protocol/mywire"
)

// trackers makes a server tell, with every OK, what a statement has changed in
// the session.
const trackers = "session_track_system_variables='*', session_track_schema=1, session_track_state_change=1"

// fixed are variables that are none of the client's to keep: they follow others.
var fixed = map[string]bool{
	"character_set_database": true, "collation_database": true, "warning_count": true, "error_count": true, "last_insert_id": true, "identity": true,
}

// stuck are variables whose values cannot be put in force again: what they change
// is gone after one statement, or their value is not what was set.
var stuck = map[string]bool{
	"timestamp": true, "insert_id": true, "rand_seed1": true, "rand_seed2": true, "pseudo_thread_id": true,
	"pseudo_slave_mode": true, "pseudo_replica_mode": true, "gtid_next": true, "gtid_seq_no": true, "gtid_domain_id": true,
	"profiling": true, "profiling_history_size": true, "optimizer_trace": true, "completion_type": true,
	"sql_slave_skip_counter": true, "max_relay_log_size": true, "server_id": true, "sql_log_bin": true, "skip_replication": true, "debug": true, "debug_sync": true,
}

// toldByDefault are the variables whose changes a server tells a driver that has
// not asked for others (session_track_system_variables' default).
var toldByDefault = map[string]bool{
	"autocommit": true, "character_set_client": true, "character_set_connection": true, "character_set_results": true, "time_zone": true,
}

// noteChanges takes in what an OK told of the session after a command of the
// client's. told is what of it a driver is told that has the capability.
func (c *client) noteChanges(ok *mywire.OK) (told []byte, err error) {
	s := &c.session
	settings, schema := s.state.settings, s.state.schema
	changed, something, known := false, false, false
	for ch, err := range mywire.Changes(ok.State) {
		if err != nil {
			return nil, err
		}
		switch ch.Kind {
		case mywire.ChangeVariable:
			if string(ch.Name) == "statement_id" { // of every statement, in MySQL
				continue
			}
			known = true
			name := strings.ToLower(string(ch.Name))
			switch {
			case fixed[name]:
			case name == "character_set_connection": // one with collation_connection, which is not told
				c.lease.askCollation = true
			case stuck[name] || strings.HasPrefix(name, "session_track"):
				c.lease.pins |= pinUnknown
				c.lease.seen = c.lease.seen || strings.HasPrefix(name, "profiling") || name == "optimizer_trace"
			default:
				if !changed {
					settings, changed = append([]setting(nil), settings...), true
				}
				settings = put(settings, name, string(ch.Value))
			}
			if toldByDefault[name] {
				told = mywire.AppendChange(told, ch)
			}
		case mywire.ChangeSchema:
			known = true
			schema = string(ch.Value)
			told = mywire.AppendChange(told, ch)
		case mywire.ChangeState:
			something = true
		}
	}
	if changed || schema != s.state.schema {
		s.state = newState(settings, schema)
		c.origin.state = s.state
		if len(settings) > maxSettings || len(s.state.id) > maxSettingBytes {
			return nil, mywire.Errorf(mywire.CodeUserLimitReached, "the session has more than %d settings, or %d bytes of them", maxSettings, maxSettingBytes)
		}
	}
	t := c.running.traits
	explained := t&explains != 0 || known && t&(setsOnly|changesTables) != 0
	if something && (!explained || t&calls != 0) {
		c.lease.pins |= pinUnknown
	}
	return told, nil
}

// explains are the traits of a text for which a server tells that something of
// the session has changed, and not what.
const explains = assignsVars | makesTemps | dropsTables | prepares | deallocates
