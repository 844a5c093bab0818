//! Makes a table, writes and reads a row, moves a tablet while the row stays readable, and says
//! what becomes of a change whose outcome is not known.
//!
//! Against a cluster that runs, with its admin addresses:
//!
//! ```text
//! cargo run -- dev                                       in one terminal; it says the addresses
//! export PALISADE_CACERT=palisade-dev/tls/ca.crt         whom to trust, and as whom to come
//! export PALISADE_CERT=palisade-dev/tls/user-admin-me.crt
//! export PALISADE_KEY=palisade-dev/tls/user-admin-me.key
//! cargo run -p palisade-client --example move_a_tablet -- 127.0.0.1:7400
//! ```

use palisade_client::{
    AdminClient, AdminOptions, ClientError, Router, RouterOptions, TlsArgs, WaitFor,
};
use palisade_client::{Reason, api, new_request_id};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

const TABLE: &str = "example";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let coordinators: Vec<String> = std::env::args().skip(1).collect();
    if coordinators.is_empty() {
        return Err("usage: move_a_tablet HOST:PORT [HOST:PORT …]".into());
    }
    // Any coordinators will do: the leader is found, and found again.
    let options = AdminOptions { deadline: Duration::from_secs(20), ..AdminOptions::default() };
    let file = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let (cacert, cert, key) =
        (file("PALISADE_CACERT"), file("PALISADE_CERT"), file("PALISADE_KEY"));
    let tls = TlsArgs { cacert, cert, key }.load()?;
    let admin = AdminClient::connect_as(coordinators, options, tls);
    create_table(&admin).await?;
    let router = Router::connect(admin.clone(), RouterOptions::default());
    router.put(TABLE, b"key", b"value").await?;
    move_one(&admin).await?;
    let read = router.get(TABLE, b"key").await?.map(|read| read.value);
    println!("the row is {:?}", read.as_deref().map(String::from_utf8_lossy));
    Ok(())
}

/// A change under a request id of our own. As long as its outcome is not known, it is made again
/// under the same id, at any time and by any process: it takes effect once.
async fn create_table(admin: &AdminClient) -> Result<(), ClientError> {
    let request = api::CreateTableRequest {
        request_id: new_request_id().to_string(),
        name: TABLE.to_owned(),
        replication_factor: 3,
        tablets: 4,
        ..Default::default()
    };
    loop {
        match admin.create_table(request.clone()).await {
            Ok(_) => println!("{TABLE} is made"),
            // From an earlier run of this example.
            Err(error) if error.reason() == Some(Reason::AlreadyExists) => {}
            // The client has tried until its deadline; nobody with a quorum has answered.
            Err(ClientError::OutcomeUnknown { request_id, detail }) => {
                println!("not known whether {request_id} took effect: {detail}");
                continue;
            }
            Err(error) => return Err(error),
        }
        return Ok(());
    }
}

/// Moves a replica of the first tablet to a node that has none, and waits for the end.
async fn move_one(admin: &AdminClient) -> Result<(), Box<dyn Error>> {
    let tablets = admin.list_tablets(TABLE).await?;
    let tablet = tablets.first().ok_or("a table has tablets")?;
    let has: Vec<&str> = tablet.replicas.iter().map(|one| one.node.as_str()).collect();
    let nodes = admin.list_nodes().await?;
    let free = nodes.iter().find(|node| !has.contains(&node.name.as_str()));
    let (Some(from), Some(to)) = (has.first(), free) else {
        println!("every node has a replica of {}: nothing to move", tablet.name);
        return Ok(());
    };
    let request = api::MigrateRequest {
        tablet: tablet.id,
        from: (*from).to_owned(),
        to: to.name.clone(),
        reason: "an example".to_owned(),
        ..Default::default()
    };
    let begun = admin.migrate(request).await?.migration.ok_or("it has an id")?;
    // Over leaders and connections that are lost; the migration doesn't care who waits.
    let ended = admin
        .wait_migration(&begun.id, WaitFor::End, |now| {
            println!("{} {} → {}: {:?}", now.id, from, to.name, now.stage());
        })
        .await?;
    println!("it has ended as {:?}", ended.state());
    Ok(())
}
