//! A shop on tokio-postgres: connections that pipeline, as its documentation shows them.
use futures_util::future::{join_all, poll_fn, try_join_all};
use futures_util::{pin_mut, SinkExt, TryStreamExt};
use std::env::var;
use std::error::Error;
use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

type Outcome = Result<(), Box<dyn Error>>;

fn config() -> Config {
    let mut config = Config::new();
    config.host(&var("PGHOST").unwrap()).port(var("PGPORT").unwrap().parse().unwrap());
    config.user(&var("PGUSER").unwrap()).password(var("PGPASSWORD").unwrap()).dbname(&var("PGDATABASE").unwrap());
    config
}

async fn connect() -> Result<Client, Box<dyn Error>> {
    let (client, connection) = config().connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn check(what: &str, run: impl Future<Output = Outcome>) {
    match timeout(Duration::from_secs(60), run).await {
        Ok(Ok(())) => println!("ok\ttokio-postgres\t{}", what),
        Ok(Err(err)) => println!("not ok\ttokio-postgres\t{}\t{:?}", what, err),
        Err(_) => println!("not ok\ttokio-postgres\t{}\tno answer within 60 s", what),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(got: T, want: T) -> Outcome {
    if got == want { Ok(()) } else { Err(format!("got {:?}, want {:?}", got, want).into()) }
}

// Many clients give their statements the same names, s0, s1 and so on.
async fn prepared() -> Outcome {
    let clients = try_join_all((0..20).map(|_| connect())).await?;
    for outcome in join_all(clients.iter().enumerate().map(|(i, client)| async move {
        let twice = client.prepare("select $1::int4 * 2").await?;
        let name = client.prepare(&format!("select $1::text || '{}'", i)).await?;
        for n in 0..20i32 {
            same(client.query_one(&twice, &[&n]).await?.get::<_, i32>(0), 2 * n)?;
            same(client.query_one(&name, &[&"c"]).await?.get::<_, String>(0), format!("c{}", i))?;
        }
        drop(twice); // closed behind the program's back
        same(client.query_one("select 1::int4", &[]).await?.get::<_, i32>(0), 1)
    }))
    .await
    {
        outcome?;
    }
    Ok(())
}

async fn pipelining() -> Outcome {
    let client = connect().await?;
    let statement = client.prepare("select $1::int4").await?;
    for _ in 0..20 {
        let numbers: Vec<i32> = (0..50).collect();
        let rows = try_join_all(numbers.iter().map(|n| async { client.query_one(&statement, &[n]).await.map(|row| row.get::<_, i32>(0)) })).await?;
        same(rows, numbers)?;
    }
    Ok(())
}

async fn transactions() -> Outcome {
    let mut client = connect().await?;
    client.batch_execute("drop table if exists rust_orders; create table rust_orders (id int4 primary key, customer text not null)").await?;
    for i in 0..10i32 {
        let mut tx = client.transaction().await?;
        tx.execute("insert into rust_orders values ($1, $2)", &[&i, &"c"]).await?;
        let nested = tx.transaction().await?;
        let refused = nested.execute("insert into rust_orders values ($1, $2)", &[&i, &"c"]).await;
        same(refused.err().and_then(|err| err.code().cloned()), Some(SqlState::UNIQUE_VIOLATION))?;
        drop(nested);
        if i % 2 == 0 { tx.commit().await? }
    }
    let count: i64 = client.query_one("select count(*) from rust_orders", &[]).await?.get(0);
    same(count, 5)
}

async fn portals() -> Outcome {
    let mut client = connect().await?;
    let tx = client.transaction().await?;
    let portal = tx.bind("select i from generate_series(1, 100) i", &[]).await?;
    let mut seen = 0;
    loop {
        let rows = tx.query_portal(&portal, 7).await?;
        if rows.is_empty() { break }
        for row in rows {
            seen += 1;
            same(row.get::<_, i32>(0), seen)?;
        }
    }
    same(seen, 100)?;
    Ok(tx.commit().await?)
}

async fn copy() -> Outcome {
    let client = connect().await?;
    let sink = client.copy_in::<_, &'static [u8]>("copy rust_orders from stdin").await?;
    pin_mut!(sink);
    for _ in 0..100 { sink.send(b"").await? }
    sink.send(b"100\tcopied\n101\tcopied\n").await?;
    same(sink.finish().await?, 2)?;
    let out = client.copy_out("copy (select id from rust_orders where id >= 100 order by 1) to stdout").await?;
    let bytes = out.try_fold(Vec::new(), |mut all, chunk| async move { all.extend_from_slice(&chunk); Ok(all) }).await?;
    same(bytes, b"100\n101\n".to_vec())
}

async fn cancelling() -> Outcome {
    let client = connect().await?;
    let token = client.cancel_token();
    let (slept, cancelled) = tokio::join!(client.batch_execute("select pg_sleep(30)"), async {
        sleep(Duration::from_millis(500)).await;
        token.cancel_query(NoTls).await
    });
    cancelled?;
    same(slept.err().and_then(|err| err.code().cloned()), Some(SqlState::QUERY_CANCELED))?;
    same(client.query_one("select 1::int4", &[]).await?.get::<_, i32>(0), 1)
}

async fn listening() -> Outcome {
    let (client, mut connection) = config().connect(NoTls).await?;
    let (heard, mut notices) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(n) = message { let _ = heard.send(n.payload().to_owned()); }
        }
    });
    client.batch_execute("listen rust_shop").await?;
    connect().await?.execute("select pg_notify('rust_shop', 'open')", &[]).await?;
    same(notices.recv().await, Some("open".to_owned()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    check("prepared statements", prepared()).await;
    check("pipelining", pipelining()).await;
    check("transactions", transactions()).await;
    check("portals", portals()).await;
    check("COPY", copy()).await;
    check("cancelling", cancelling()).await;
    check("LISTEN", listening()).await;
    connect().await.unwrap().batch_execute("drop table rust_orders").await.unwrap();
}
