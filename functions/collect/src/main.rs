//! The results of one job, as they came and by key. See the library of this crate.

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("collect", |event: collect::Event, _| async move {
        let store = lambda::store().await?;
        let run = engine::RunRef { sync: event.sync.clone(), run: event.run.clone() };
        let salesforce = lambda::salesforce(&store, &run).await?;
        collect::handle(&store, &salesforce, event).await
    })
    .await
}
