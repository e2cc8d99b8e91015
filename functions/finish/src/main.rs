//! Commit, report, release. See the library of this crate.

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("finish", |event: finish::Event, _| async move {
        // A run that failed may have failed for want of this very secret: it is ended all the same.
        let snowflake = if event.is_failure() { lambda::snowflake().await.ok() } else { None };
        finish::handle(&lambda::store().await?, snowflake.as_ref(), event).await
    })
    .await
}
