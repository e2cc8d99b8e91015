//! Has the job ended? See the library of this crate.

// The SDK's futures nest deeper than the compiler's default allows.
#![recursion_limit = "256"]

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("poll", |event, _| async move {
        let salesforce = salesforce::Client::new(lambda::secret(lambda::SALESFORCE_SECRET).await?)?;
        poll::handle(&lambda::store().await?, &salesforce, event).await
    })
    .await
}
