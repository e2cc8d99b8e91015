//! One chunk → CSV fragments. See the library of this crate.

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("map", |event, _| async move { map::handle(&lambda::store().await?, event).await }).await
}
