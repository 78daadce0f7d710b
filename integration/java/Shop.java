// A shop on JDBC: threads, server-side prepared statements, fetch sizes, batches, large objects, COPY.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

public class Shop {
    interface Work { void run() throws Exception; }

    static void check(String what, Work work) {
        try {
            work.run();
            System.out.println("ok\tJDBC\t" + what);
        } catch (Throwable err) {
            StringWriter trace = new StringWriter();
            err.printStackTrace(new java.io.PrintWriter(trace));
            System.out.println("not ok\tJDBC\t" + what + "\t" + trace.toString().replace("\n", " | "));
        }
    }

    static void same(Object got, Object want) {
        if (!got.equals(want)) throw new AssertionError("got " + got + ", want " + want);
    }

    static Connection connect(String... more) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", System.getenv("PGUSER"));
        p.setProperty("password", System.getenv("PGPASSWORD"));
        p.setProperty("sslmode", System.getenv("PGSSLMODE"));
        p.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
        for (int i = 0; i < more.length; i += 2) p.setProperty(more[i], more[i + 1]);
        return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"), p);
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) { s.execute(sql); }
    }

    static Object one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) { r.next(); return r.getObject(1); }
    }

    static void prepared() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(15);
        List<Future<Void>> all = new ArrayList<>();
        for (int t = 0; t < 15; t++) {
            int me = t;
            all.add(threads.submit((Callable<Void>) () -> {
                try (Connection c = connect(); PreparedStatement s = c.prepareStatement("select " + me + ", ?::text")) {
                    for (int n = 0; n < 20; n++) { // on the server from the fifth time on
                        s.setString(1, "n" + n);
                        try (ResultSet r = s.executeQuery()) {
                            r.next();
                            same(r.getInt(1), me);
                            same(r.getString(2), "n" + n);
                        }
                    }
                }
                return null;
            }));
        }
        threads.shutdown();
        for (Future<Void> f : all) f.get(60, TimeUnit.SECONDS);
    }

    static void transactions() throws Exception {
        try (Connection c = connect()) {
            c.setAutoCommit(false);
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            run(c, "insert into jdbc_t (who) values ('kept')");
            var point = c.setSavepoint();
            try {
                run(c, "select 1/0");
                throw new AssertionError("1/0 is something");
            } catch (SQLException err) {
                same(err.getSQLState(), "22012");
            }
            c.rollback(point);
            c.commit();
            run(c, "insert into jdbc_t (who) values ('gone')");
            c.rollback();
            same(one(c, "select count(*) from jdbc_t where who in ('kept', 'gone')"), 1L);
            c.commit();
        }
    }

    static void fetchSize() throws Exception {
        try (Connection c = connect()) {
            c.setAutoCommit(false);
            try (PreparedStatement s = c.prepareStatement("select i from generate_series(1, ?) i")) {
                s.setFetchSize(50);
                s.setInt(1, 1000);
                long sum = 0;
                try (ResultSet r = s.executeQuery()) {
                    while (r.next()) {
                        sum += r.getInt(1);
                        if (r.getInt(1) % 300 == 0) same(one(c, "select 7"), 7); // something in between
                    }
                }
                same(sum, 500500L);
            }
            c.commit();
        }
    }

    static void batches(boolean rewrite) throws Exception {
        try (Connection c = connect("reWriteBatchedInserts", String.valueOf(rewrite))) {
            try (PreparedStatement s = c.prepareStatement("insert into jdbc_t (who, n) values (?, ?)")) {
                for (int i = 0; i < 1000; i++) {
                    s.setString(1, "batch " + rewrite);
                    s.setInt(2, i);
                    s.addBatch();
                }
                same(s.executeBatch().length, 1000);
            }
            same(one(c, "select sum(n) from jdbc_t where who = 'batch " + rewrite + "'"), 499500L);
        }
    }

    static void largeObject() throws Exception {
        try (Connection c = connect()) {
            c.setAutoCommit(false);
            LargeObjectManager api = c.unwrap(PGConnection.class).getLargeObjectAPI();
            long oid = api.createLO();
            byte[] data = new byte[100_000];
            new java.util.Random(1).nextBytes(data);
            try (LargeObject lo = api.open(oid, LargeObjectManager.WRITE)) { lo.write(data); }
            try (LargeObject lo = api.open(oid, LargeObjectManager.READ)) { same(java.util.Arrays.equals(lo.read(data.length), data), true); }
            c.commit();
            api.delete(oid);
            c.commit();
        }
    }

    static void copy() throws Exception {
        try (Connection c = connect()) {
            var api = c.unwrap(PGConnection.class).getCopyAPI();
            same(api.copyIn("copy jdbc_t (who, n) from stdin", new StringReader("copied\t1\n".repeat(5000))), 5000L);
            StringWriter out = new StringWriter();
            api.copyOut("copy (select who, n from jdbc_t where who = 'copied') to stdout", out);
            same(out.toString(), "copied\t1\n".repeat(5000));
        }
    }

    static void timeout() throws Exception {
        try (Connection c = connect(); Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            try {
                s.execute("select pg_sleep(30)");
                throw new AssertionError("slept");
            } catch (SQLException err) {
                same(err.getSQLState(), "57014");
            }
            s.setQueryTimeout(0);
            same(one(c, "select 1"), 1);
        }
    }

    static void schemaChange() throws Exception {
        try (Connection c = connect("autosave", "conservative"); Connection other = connect();
                PreparedStatement s = c.prepareStatement("select * from jdbc_t limit 1")) {
            for (int i = 0; i < 8; i++) s.executeQuery().close();
            run(other, "alter table jdbc_t add column extra int default 7");
            c.setAutoCommit(false); // it prepares again by itself
            try (ResultSet r = s.executeQuery()) { same(r.getMetaData().getColumnCount(), 4); }
            c.commit();
        }
    }

    public static void main(String[] args) throws Exception {
        try (Connection c = connect()) { run(c, "drop table if exists jdbc_t; create table jdbc_t (id serial primary key, who text, n int)"); }
        check("prepared statements of threads", Shop::prepared);
        check("transactions", Shop::transactions);
        check("fetch size", Shop::fetchSize);
        check("batches", () -> batches(false));
        check("rewritten batches", () -> batches(true));
        check("large objects", Shop::largeObject);
        check("COPY", Shop::copy);
        check("query timeout", Shop::timeout);
        check("schema change", Shop::schemaChange);
        try (Connection c = connect()) { run(c, "drop table jdbc_t"); }
    }
}
