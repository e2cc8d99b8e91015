//! One chunk of the next baseline. See the library of this crate.

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("settle", |event, _| async move { settle::handle(&lambda::store().await?, event).await })
        .await
}
