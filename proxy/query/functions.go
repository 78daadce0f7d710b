package query

// settingsOnly are functions of pg_catalog that are STABLE for no other reason than
// that their result depends on settings of the session, which are in the key: time
// zone, formats, encodings, locales, text search configuration. Read off PostgreSQL
// 15's pg_proc (provolatile = 's') with each function's source; of a name with several
// overloads all that are not IMMUTABLE are of this kind.
var settingsOnly = set(
	"anytextcat", "array_to_json", "array_to_string", "concat", "concat_ws", "convert", "convert_from", "convert_to",
	"date", "date_add", "date_part", "date_subtract", "date_trunc", "enum_first", "enum_last", "enum_range", "extract", "format",
	"generate_series", "json_agg", "json_agg_strict", "json_build_array", "json_build_object", "json_object_agg",
	"json_object_agg_strict", "json_object_agg_unique", "json_object_agg_unique_strict", "json_to_tsvector", "jsonb_agg",
	"jsonb_agg_strict", "jsonb_build_array", "jsonb_build_object", "jsonb_object_agg", "jsonb_object_agg_strict",
	"jsonb_object_agg_unique", "jsonb_object_agg_unique_strict", "jsonb_to_tsvector", "length", "make_timestamptz", "money",
	"numeric", "overlaps", "pg_typeof", "phraseto_tsquery", "plainto_tsquery", "quote_literal", "quote_nullable", "row_to_json",
	"textanycat", "time", "timestamp", "timestamptz", "timezone", "to_char", "to_date", "to_json", "to_jsonb", "to_number",
	"to_timestamp", "to_tsquery", "to_tsvector", "ts_headline", "ts_match_tq", "ts_match_tt", "websearch_to_tsquery",
	// behind the operators that are STABLE (pg_operator.oprcode); views name them by OID
	"date_cmp_timestamptz", "date_eq_timestamptz", "date_ge_timestamptz", "date_gt_timestamptz", "date_le_timestamptz",
	"date_lt_timestamptz", "date_ne_timestamptz", "interval_pl_timestamptz", "timestamp_cmp_timestamptz",
	"timestamp_eq_timestamptz", "timestamp_ge_timestamptz", "timestamp_gt_timestamptz", "timestamp_le_timestamptz",
	"timestamp_lt_timestamptz", "timestamp_ne_timestamptz", "timestamptz_cmp_date", "timestamptz_cmp_timestamp",
	"timestamptz_eq_date", "timestamptz_eq_timestamp", "timestamptz_ge_date", "timestamptz_ge_timestamp",
	"timestamptz_gt_date", "timestamptz_gt_timestamp", "timestamptz_le_date", "timestamptz_le_timestamp",
	"timestamptz_lt_date", "timestamptz_lt_timestamp", "timestamptz_mi_interval", "timestamptz_ne_date",
	"timestamptz_ne_timestamp", "timestamptz_pl_interval",
)

// readingText are functions that read text as a value of another type when they
// run: a text 'today' in a table may become a date in them.
var readingText = set("json_populate_record", "json_populate_recordset", "jsonb_populate_record", "jsonb_populate_recordset",
	"json_to_record", "json_to_recordset", "jsonb_to_record", "jsonb_to_recordset", "json_value", "json_query", "json_table")

// harmlessVolatile are VOLATILE functions of pg_catalog that write to no table.
var harmlessVolatile = set("random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday", "nextval",
	"currval", "lastval", "setval", "setseed", "set_config", "pg_sleep", "pg_sleep_for", "pg_sleep_until", "pg_notify",
	"pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_all", "pg_advisory_unlock_shared",
	"pg_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared",
	"pg_try_advisory_xact_lock", "pg_try_advisory_xact_lock_shared", "pg_is_in_recovery", "pg_relation_size", "pg_table_size",
	"pg_total_relation_size", "pg_indexes_size", "pg_database_size", "pg_tablespace_size", "pg_current_wal_lsn",
	"pg_cancel_backend", "pg_terminate_backend", "pg_blocking_pids", "pg_lock_status", "pg_prepared_xact", "pg_stat_reset",
	"pg_last_wal_replay_lsn", "pg_last_wal_receive_lsn", "pg_last_xact_replay_timestamp", "lo_get", "loread", "lo_open", "lo_close")

// datetimeTypes read words like 'today' and 'now' as times. The ranges of them
// read their bounds so.
var datetimeTypes = set("date", "time", "timetz", "timestamp", "timestamptz", "daterange", "tsrange", "tstzrange",
	"datemultirange", "tsmultirange", "tstzmultirange")

// datetimeCalls return a date, a time or nothing that could be cast to one: their
// result is never text.
var datetimeCalls = set("date_trunc", "date_bin", "date_add", "date_subtract", "make_date", "make_time", "make_timestamp",
	"make_timestamptz", "timezone", "to_timestamp", "to_date")

// plainTypes are the types of pg_catalog whose input and output depend on nothing
// but settings. A cast to any other built-in type is refused: reg* look names up,
// timetz asks the clock what a zone's offset is today.
var plainTypes = set("bool", "bytea", "char", "name", "int8", "int2", "int4", "text", "oid", "json", "jsonb", "jsonpath", "xml", "point",
	"lseg", "path", "box", "polygon", "line", "circle", "float4", "float8", "money", "macaddr", "macaddr8", "inet", "cidr",
	"bpchar", "varchar", "date", "time", "timestamp", "timestamptz", "interval", "bit", "varbit", "numeric", "uuid", "tsvector",
	"tsquery", "int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange", "int4multirange", "int8multirange",
	"nummultirange", "tsmultirange", "tstzmultirange", "datemultirange", "pg_lsn", "tid", "xid", "xid8", "cid")
