//! Which syncs are due? See the library of this crate.

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("dispatch", |event, _| async move {
        let dispatched = dispatch::handle(&lambda::store().await?, &lambda::syncs(), event).await?;
        dispatch::start(dispatched, lambda::start_execution).await
    })
    .await
}
