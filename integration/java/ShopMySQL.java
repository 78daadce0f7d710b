// A shop on MariaDB's JDBC driver: threads, prepared statements, fetch sizes, batches, procedures, time limits.

import java.io.StringWriter;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

public class ShopMySQL {
    interface Work { void run() throws Exception; }

    static void check(String what, Work work) {
        try {
            work.run();
            System.out.println("ok\tMariaDB JDBC\t" + what);
        } catch (Throwable err) {
            StringWriter trace = new StringWriter();
            err.printStackTrace(new java.io.PrintWriter(trace));
            System.out.println("not ok\tMariaDB JDBC\t" + what + "\t" + trace.toString().replace("\n", " | "));
        }
    }

    static void same(Object got, Object want) {
        if (!got.toString().equals(want.toString())) throw new AssertionError("got " + got + ", want " + want);
    }

    static Connection connect(String... more) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", System.getenv("MYSQL_USER"));
        p.setProperty("password", System.getenv("MYSQL_PASSWORD"));
        if (System.getenv("MYSQL_CA") != null) {
            p.setProperty("useSsl", "true");
            p.setProperty("serverSslCert", System.getenv("MYSQL_CA"));
        }
        for (int i = 0; i < more.length; i += 2) p.setProperty(more[i], more[i + 1]);
        return DriverManager.getConnection("jdbc:mariadb://" + System.getenv("MYSQL_HOST") + ":" + System.getenv("MYSQL_PORT") + "/" + System.getenv("MYSQL_DATABASE"), p);
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) { s.execute(sql); }
    }

    static Object one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) { r.next(); return r.getObject(1); }
    }

    static void inTurn(String prepared) throws Exception {
        try (Connection a = connect("useServerPrepStmts", prepared); Connection b = connect("useServerPrepStmts", prepared)) {
            run(a, "set time_zone = '+05:00'");
            try (PreparedStatement pa = a.prepareStatement("select ?, @@time_zone"); PreparedStatement pb = b.prepareStatement("select ?, @@time_zone <> '+05:00'")) {
                for (int n = 0; n < 10; n++) {
                    pa.setInt(1, n);
                    pb.setString(1, "text " + n);
                    try (ResultSet r = pa.executeQuery()) { r.next(); same(r.getObject(1), n); same(r.getString(2), "+05:00"); }
                    try (ResultSet r = pb.executeQuery()) { r.next(); same(r.getObject(1), "text " + n); same(r.getInt(2), 1); }
                }
            }
        }
    }

    static void threads() throws Exception {
        try (Connection c = connect()) {
            run(c, "drop table if exists jdbc_t");
            run(c, "create table jdbc_t (id int primary key auto_increment, who varchar(40), n int)");
        }
        ExecutorService pool = Executors.newFixedThreadPool(10);
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            int who = i;
            all.add(pool.submit(() -> {
                try (Connection c = connect("useServerPrepStmts", "true")) {
                    c.setAutoCommit(false);
                    try (PreparedStatement s = c.prepareStatement("insert into jdbc_t (who, n) values (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                        for (int n = 0; n < 20; n++) {
                            s.setString(1, "thread " + who);
                            s.setInt(2, n);
                            s.executeUpdate();
                            try (ResultSet keys = s.getGeneratedKeys()) {
                                keys.next();
                                same(one(c, "select n from jdbc_t where id = " + keys.getInt(1)), n);
                            }
                            c.commit();
                        }
                    }
                }
                return null;
            }));
        }
        for (Future<?> f : all) f.get();
        pool.shutdown();
    }

    static void batches() throws Exception {
        try (Connection c = connect("useServerPrepStmts", "true", "rewriteBatchedStatements", "true"); PreparedStatement s = c.prepareStatement("insert into jdbc_t (who, n) values (?, ?)")) {
            for (int n = 0; n < 300; n++) {
                s.setString(1, "batch");
                s.setInt(2, n);
                s.addBatch();
            }
            s.executeBatch();
            same(one(c, "select count(*) from jdbc_t where who = 'batch'"), 300);
        }
    }

    static void fetchSize() throws Exception {
        try (Connection c = connect(); Statement s = c.createStatement()) {
            s.setFetchSize(7);
            int n = 0;
            try (ResultSet r = s.executeQuery("select id from jdbc_t")) { while (r.next()) n++; }
            same(n, 500);
        }
    }

    static void procedure() throws Exception {
        try (Connection c = connect()) {
            run(c, "drop procedure if exists jdbc_p");
            run(c, "create procedure jdbc_p(in n int, out m int) begin select n; set m = n + 1; end");
            try (CallableStatement s = c.prepareCall("{call jdbc_p(?, ?)}")) {
                s.setInt(1, 41);
                s.registerOutParameter(2, java.sql.Types.INTEGER);
                s.execute();
                same(s.getInt(2), 42);
            }
        }
    }

    static void transactions() throws Exception {
        try (Connection c = connect()) {
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            c.setAutoCommit(false);
            run(c, "insert into jdbc_t (who) values ('gone')");
            try {
                run(c, "insert into jdbc_t (id) values (1), (1)");
                throw new AssertionError("a key twice");
            } catch (SQLException err) {
                same(err.getErrorCode(), 1062);
            }
            c.rollback();
            same(one(c, "select count(*) from jdbc_t where who = 'gone'"), 0);
        }
    }

    static void timeLimit() throws Exception {
        try (Connection c = connect(); Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            try {
                s.execute("select count(*) from jdbc_t a, jdbc_t b, jdbc_t c, jdbc_t d, jdbc_t e where a.n + b.n + c.n + d.n + e.n = -1");
                throw new AssertionError("it had no limit");
            } catch (SQLException err) {
                same(one(c, "select 1"), 1); // the connection is still good
            }
        }
    }

    public static void main(String[] args) {
        check("two clients in turn", () -> inTurn("false"));
        check("two clients in turn, prepared statements", () -> inTurn("true"));
        check("threads, prepared statements, keys", ShopMySQL::threads);
        check("batches", ShopMySQL::batches);
        check("fetch size", ShopMySQL::fetchSize);
        check("procedure with an OUT parameter", ShopMySQL::procedure);
        check("transactions", ShopMySQL::transactions);
        check("time limit", ShopMySQL::timeLimit);
    }
}
