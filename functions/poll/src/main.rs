//! Has the job ended? See the library of this crate.

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
