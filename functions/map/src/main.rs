//! One chunk → CSV fragments. See the library of this crate.

// The SDK's futures nest deeper than the compiler's default allows.
#![recursion_limit = "256"]

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("map", |event, _| async move { map::handle(&lambda::store().await?, event).await }).await
}
