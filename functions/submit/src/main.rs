//! One planned job → one closed Bulk API 2.0 job. See the library of this crate.

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("submit", |event: submit::Event, _| async move {
        let store = lambda::store().await?;
        let run = engine::RunRef { sync: event.sync.clone(), run: event.run.clone() };
        let salesforce = lambda::salesforce(&store, &run).await?;
        submit::handle(&store, &salesforce, event).await
    })
    .await
}
