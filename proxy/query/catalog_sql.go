package query

// What a catalog is made of, and its fingerprint. Everything is named with its
// schema: whatever search_path says, it means the same. No row is of a temporary
// relation. Flags come as 't' and 'f'.

// FingerprintSQL returns one row: a text that changes with everything that a
// catalog is made of, and with what a role or a database sets for new sessions. The
// xmin of a row is that of the last transaction that wrote it; ANALYZE and VACUUM
// write pg_class in place and leave it.
const FingerprintSQL = `select pg_catalog.concat_ws(' ', pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('search_path'),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_class where oid >= 16384 and relpersistence <> 't' and relkind in ('r','p','v','m','f','S')),
 (select pg_catalog.concat(count(*), ':', sum(a.xmin::text::bigint)) from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid where c.oid >= 16384 and c.relpersistence <> 't' and c.relkind in ('r','p','v','m','f') and a.attnum > 0),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_proc where oid >= 16384),
 (select pg_catalog.concat(count(*), ':', sum(a.xmin::text::bigint)) from pg_catalog.pg_aggregate a where a.aggfnoid::oid >= 16384),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_type where oid >= 16384 and typtype in ('b','d','e','r') and typelem = 0),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_operator where oid >= 16384),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_cast where oid >= 16384),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_amproc where oid >= 16384),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_namespace where nspname !~ '^pg_(temp|toast_temp)_'),
 (select pg_catalog.concat(count(*), ':', sum(r.xmin::text::bigint)) from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class where c.oid >= 16384 and c.relpersistence <> 't'),
 (select pg_catalog.concat(count(*), ':', sum(t.xmin::text::bigint)) from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid where not t.tgisinternal and c.relpersistence <> 't'),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_constraint where contype = 'f' or contypid <> 0),
 (select pg_catalog.concat(count(*), ':', sum(i.xmin::text::bigint)) from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid where c.relpersistence <> 't'),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_policy),
 (select pg_catalog.concat(count(*), ':', sum(xmin::text::bigint)) from pg_catalog.pg_db_role_setting))`

// Queries of CatalogSQL, by index.
const (
	sqlFunctions = iota
	sqlRelations
	sqlColumns
	sqlViews
	sqlInherits
	sqlForeignKeys
	sqlOperators
	sqlCasts
	sqlTypes
	sqlDefaults
	sqlQueries
)

// looseTypes begins queries. loose are types of the user's own whose values call VOLATILE functions when they are stored: domains
// by their checks and defaults, and what is cast to by itself; and what is made of such. volatiles are what else calls some. Functions
// in C, which extensions make UUIDs with, are taken to write nothing.
const looseTypes = `with recursive volatiles (classid, objid) as (select e.classid, e.objid from pg_catalog.pg_depend e
 left join pg_catalog.pg_operator o on e.refclassid = 2617 and o.oid = e.refobjid
 join pg_catalog.pg_proc f on f.oid = case e.refclassid when 1255 then e.refobjid else o.oprcode::oid end
 join pg_catalog.pg_language l on l.oid = f.prolang
 where e.classid in (1247, 2604, 2606, 3256) and f.provolatile = 'v' and l.lanname not in ('c', 'internal')),
 made (made, part) as (select oid, typbasetype from pg_catalog.pg_type where typbasetype >= 16384
  union all select oid, typelem from pg_catalog.pg_type where typelem >= 16384
  union all select c.reltype, a.atttypid from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid where c.relkind = 'c' and a.atttypid >= 16384),
 loose (oid) as (select t.oid from pg_catalog.pg_type t join volatiles v on v.classid = 1247 and v.objid = t.oid where t.typtype = 'd'
  union select k.contypid from pg_catalog.pg_constraint k join volatiles v on v.classid = 2606 and v.objid = k.oid where k.contypid <> 0
  union select c.casttarget from pg_catalog.pg_cast c join pg_catalog.pg_proc f on f.oid = c.castfunc join pg_catalog.pg_language l on l.oid = f.prolang
   where c.castcontext <> 'e' and f.provolatile = 'v' and l.lanname not in ('c', 'internal')
  union select m.made from loose l join made m on m.part = l.oid)
`

// CatalogSQL are the queries whose rows NewCatalog takes, in this order.
var CatalogSQL = [sqlQueries]string{
	// name, schema, built in?, volatilities of all overloads (of an aggregate also
	// those of its functions), callable with one argument?
	sqlFunctions: `select p.proname, n.nspname, p.oid < 16384, pg_catalog.string_agg(distinct v.v, ''),
 pg_catalog.bool_or(p.pronargs >= 1 and p.pronargs - p.pronargdefaults <= 1)
 from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 cross join lateral (select p.provolatile::text as v union all
  select f.provolatile::text from pg_catalog.pg_aggregate a join pg_catalog.pg_proc f on f.oid = any (array[a.aggtransfn::oid, a.aggfinalfn::oid,
   a.aggcombinefn::oid, a.aggmtransfn::oid, a.aggminvtransfn::oid, a.aggmfinalfn::oid]) where a.aggfnoid::oid = p.oid and p.oid >= 16384) v
 where p.prokind in ('f', 'a', 'w') group by 1, 2, 3`,
	// OID, schema, name, kind, row security?, triggers?, rules, or defaults, checks,
	// policies or types that call VOLATILE functions of the user's own?
	sqlRelations: looseTypes + `select c.oid, n.nspname, c.relname, c.relkind, c.relrowsecurity,
 exists (select from pg_catalog.pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D'),
 exists (select from pg_catalog.pg_rewrite r where r.ev_class = c.oid and r.rulename <> '_RETURN')
  or c.oid in (select coalesce(a.adrelid, k.conrelid, y.polrelid) from volatiles v
   left join pg_catalog.pg_attrdef a on v.classid = 2604 and a.oid = v.objid left join pg_catalog.pg_constraint k on v.classid = 2606 and k.oid = v.objid
   left join pg_catalog.pg_policy y on v.classid = 3256 and y.oid = v.objid where coalesce(a.adrelid, k.conrelid, y.polrelid) is not null)
  or c.oid in (select a.attrelid from pg_catalog.pg_attribute a join loose on loose.oid = a.atttypid where not a.attisdropped)
 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relpersistence <> 't' and c.relkind in ('r','p','v','m','f','S') and (c.oid >= 16384 or n.nspname = 'pg_catalog')`,
	// OID of the relation, name, class: d datetime, t time of day, z time of day
	// with a zone, x output not known to be safe, o other
	sqlColumns: `select a.attrelid, a.attname, case
 when a.atttypid in (1082, 1114, 1184) then 'd' when a.atttypid = 1083 then 't' when a.atttypid = 1266 then 'z'
 when exists (select from pg_catalog.pg_type b where b.oid in (t.oid, t.typelem, t.typbasetype) and b.oid < 16384
  and (b.typname like 'reg%' or b.typname = 'aclitem')) then 'x'
 when t.typtype = 'b' and t.oid >= 16384 and t.typelem = 0 and exists (select from pg_catalog.pg_proc f
  where f.oid in (t.typoutput, t.typsend) and f.provolatile <> 'i') then 'x' else 'o' end
 from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_type t on t.oid = a.atttypid
 where c.oid >= 16384 and c.relpersistence <> 't' and c.relkind in ('r','p','v','m') and a.attnum > 0 and not a.attisdropped`,
	// OID, OIDs of the relations in it, the functions in it that are the user's or
	// not IMMUTABLE, does it have something that is not known to be safe?
	sqlViews: `select c.oid,
 (select pg_catalog.string_agg(distinct m[1], ',') from pg_catalog.regexp_matches(r.ev_action::text, ':relid (\d+)', 'g') m),
 (select pg_catalog.string_agg(distinct case when f.proname = 'timezone' and 1266 = any (f.proargtypes) then 'timetz' else f.proname end
   || case when f.oid < 16384 then E'\x1eb' else E'\x1eu' end, E'\x1f')
  from pg_catalog.regexp_matches(r.ev_action::text, ':(?:funcid|opfuncid|hashfuncid|negfuncid|aggfnoid|winfnoid) (\d+)', 'g') m
  join pg_catalog.pg_proc f on f.oid = m[1]::oid where f.provolatile <> 'i' or f.oid >= 16384),
 r.ev_action::text ~ '\{(SQLVALUEFUNCTION|NEXTVALUEEXPR|ROWCOMPAREEXPR|COERCETODOMAIN|XMLEXPR|TABLEFUNC|TABLESAMPLECLAUSE|JSON|CONVERTROWTYPE|MERGE)'
  or r.ev_action::text ~ ':(hasForUpdate|hasModifyingCTE) true'
  or r.ev_action::text ~ ':varattno -[1345] '
  or r.ev_action::text ~ '\{COERCEVIAIO.*:resulttype (1082|1083|1114|1184|1266|1115|1182|1183|1185|1270|2205|24|2202|2203|2204|2206|3734|3769|4089|4096|4191|3908|3910|3912)[ }]'
  or r.ev_action::text ~ '\{ARRAYCOERCEEXPR'
 from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class
 where c.oid >= 16384 and c.relkind = 'v' and c.relpersistence <> 't' and r.rulename = '_RETURN'`,
	sqlInherits:    `select inhparent, inhrelid from pg_catalog.pg_inherits`,
	sqlForeignKeys: `select distinct confrelid, conrelid from pg_catalog.pg_constraint where contype = 'f' and (confdeltype in ('c','n','d') or confupdtype in ('c','n','d'))`,
	// symbol, volatilities; of the user's own, < of operator classes of B-trees included (not what extensions serve their indexes
	// by, which PostGIS does not label)
	sqlOperators: `select o.oprname, pg_catalog.string_agg(distinct p.provolatile::text, '') from pg_catalog.pg_operator o
 join pg_catalog.pg_proc p on p.oid = o.oprcode where o.oid >= 16384 group by 1
 union all select '<', pg_catalog.string_agg(distinct p.provolatile::text, '') from pg_catalog.pg_amproc a
 join pg_catalog.pg_opfamily f on f.oid = a.amprocfamily and f.opfmethod = 403 and a.amprocnum = 1
 join pg_catalog.pg_proc p on p.oid = a.amproc where p.oid >= 16384 having count(*) > 0`,
	// target type, volatility, implicit?; of the user's own that are not IMMUTABLE
	sqlCasts: looseTypes + `select t.typname, p.provolatile, c.castcontext = 'i' from pg_catalog.pg_cast c join pg_catalog.pg_proc p on p.oid = c.castfunc
 join pg_catalog.pg_type t on t.oid = c.casttarget where c.oid >= 16384 and p.provolatile <> 'i'
 union all select t.typname, 'v', false from loose join pg_catalog.pg_type t on t.oid = loose.oid where t.typtype = 'd'`,
	// name, schema, safe to cast to?; of the user's own
	sqlTypes: `select t.typname, n.nspname, t.typtype = 'e' or t.typtype = 'b' and not exists (select from pg_catalog.pg_proc f
  where f.oid in (t.typinput, t.typoutput, t.typreceive, t.typsend) and f.oid >= 16384 and f.provolatile <> 'i')
 from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where t.oid >= 16384 and t.typrelid = 0 and t.typelem = 0`,
	// is it PostgreSQL?, search_path, standard_conforming_strings
	sqlDefaults: `select pg_catalog.version() like 'PostgreSQL %', pg_catalog.current_setting('search_path'), pg_catalog.current_setting('standard_conforming_strings')`,
}
