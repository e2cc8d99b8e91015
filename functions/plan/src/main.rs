//! Fragments → jobs, and the gate after each wave. See the library of this crate.

// The SDK's futures nest deeper than the compiler's default allows.
#![recursion_limit = "256"]

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
