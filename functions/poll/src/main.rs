//! Has the job ended? See the library of this crate.

// The SDK's futures nest deeper than the compiler's default allows.
#![recursion_limit = "256"]

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("poll", |event: poll::Event, _| async move {
        let store = lambda::store().await?;
        let run = engine::RunRef { sync: event.sync.clone(), run: event.run.clone() };
        let salesforce = lambda::salesforce(&store, &run).await?;
        poll::handle(&store, &salesforce, event).await
    })
    .await
}
