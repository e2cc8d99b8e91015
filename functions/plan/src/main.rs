//! Fragments → jobs, and the gate after each wave. See the library of this crate.

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("plan", |event: plan::Event, _| async move {
        let store = lambda::store().await?;
        let run = engine::RunRef { sync: event.sync.clone(), run: event.run.clone() };
        let salesforce = lambda::salesforce(&store, &run).await?;
        plan::handle(&store, &salesforce, event).await
    })
    .await
}
