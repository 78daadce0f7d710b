package verdict

import "strings"

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// IsKnown reports whether a word in lower case may stand before a parenthesis without
// calling what somebody has made.
func IsKnown(word []byte) bool {
	return pure[string(word)] || keywords[string(word)] || clocks[string(word)] || harmless[string(word)]
}

// pure are functions of MySQL's and MariaDB's own whose value depends on nothing but
// their arguments and on session variables that are part of every key. Where a server
// has none of a name somebody may have made one, which the catalog tells.
var pure = set(`
abs acos asin atan atan2 ceil ceiling conv cos cot crc32 degrees exp floor ln log log10 log2 mod pi pow power radians round sign sin sqrt tan truncate
ascii bin bit_length char char_length character_length concat concat_ws elt export_set field find_in_set format hex insert instr lcase left length
locate lower lpad ltrim make_set mid oct octet_length ord position quote repeat replace reverse right rpad rtrim soundex space strcmp substr substring
substring_index to_base64 from_base64 trim ucase unhex upper regexp_like regexp_instr regexp_replace regexp_substr
adddate addtime date date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear extract from_days from_unixtime hour last_day
makedate maketime microsecond minute month monthname period_add period_diff quarter sec_to_time second str_to_date subdate subtime time time_format
time_to_sec timediff timestamp timestampadd timestampdiff to_days to_seconds week weekday weekofyear year yearweek
if ifnull nullif coalesce greatest least interval isnull cast convert binary
json_array json_object json_extract json_unquote json_quote json_contains json_contains_path json_keys json_length json_depth json_type json_valid
json_search json_value json_set json_insert json_replace json_remove json_merge json_merge_patch json_merge_preserve json_array_append
json_array_insert json_pretty json_overlaps json_arrayagg json_objectagg
count sum avg min max bit_and bit_or bit_xor bit_count std stddev stddev_pop stddev_samp var_pop var_samp variance group_concat any_value grouping
row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
md5 sha sha1 sha2 inet_aton inet_ntoa inet6_aton inet6_ntoa is_ipv4 is_ipv6 bin_to_uuid uuid_to_bin is_uuid match values`)

// clocks are those whose value is the date's in the session's time zone.
var clocks = set(`curdate current_date`)

// times are pure functions that make a TIME: a server that makes a DATETIME of one
// takes the date from the clock.
var times = set(`addtime maketime sec_to_time str_to_date subtime time timediff`)

// harmless are functions of the servers' own that change no table, and whose value is
// another each time or somebody's own.
var harmless = set(`
now current_timestamp localtime localtimestamp sysdate current_time curtime utc_date utc_time utc_timestamp unix_timestamp rand uuid uuid_short sys_guid
connection_id current_user session_user system_user user current_role database schema version found_rows row_count last_insert_id
get_lock release_lock release_all_locks is_free_lock is_used_lock sleep benchmark charset collation coercibility convert_tz get_format
aes_encrypt aes_decrypt compress uncompress uncompressed_length random_bytes password old_password weight_string load_file
json_table json_storage_size json_storage_free json_schema_valid json_query json_exists json_detailed json_compact json_loose name_const
statement_digest statement_digest_text format_bytes format_pico_time ps_current_thread_id ps_thread_id icu_version validate_password_strength
master_pos_wait source_pos_wait wait_for_executed_gtid_set gtid_subset gtid_subtract roles_graphml extractvalue updatexml
chr to_char add_months encode decode des_encrypt des_decrypt encrypt natural_sort_key sformat
point linestring polygon multipoint multilinestring multipolygon geometrycollection mbrcontains mbrintersects mbrwithin st_area st_asbinary
st_asgeojson st_astext st_aswkb st_aswkt st_buffer st_centroid st_contains st_convexhull st_crosses st_difference st_disjoint st_distance
st_distance_sphere st_envelope st_equals st_geomfromgeojson st_geomfromtext st_geomfromwkb st_intersection st_intersects st_isvalid
st_latitude st_length st_longitude st_overlaps st_pointfromtext st_polygonfromtext st_simplify st_srid st_swapxy st_touches st_transform
st_union st_within st_x st_y`)

// keywords may stand before a parenthesis and call nothing.
var keywords = set(`
select from where on using join in and or xor not exists any all some as over by having between like rlike regexp is when then else case union except
intersect distinct distinctrow values value row rows partition window div mod interval limit offset set into table index key force ignore use
with recursive lateral order group against exists sounds collate varchar char binary varbinary decimal numeric dec float double datetime time timestamp
unsigned signed nchar character real array insert update delete replace begin end columns path
primary unique foreign references check default constraint database schema only for of nowait skip locked first`)
