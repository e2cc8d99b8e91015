//! Snowflake → chunks and their manifest. See the library of this crate.

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("extract", |run, invocation| async move {
        let snowflake = lambda::snowflake().await?;
        let store = lambda::store().await?;
        let salesforce = lambda::salesforce(&store, &run).await?;
        extract::handle(&store, &snowflake, &salesforce, &run, Some(invocation.deadline)).await
    })
    .await
}
