//! One chunk of the next baseline. See the library of this crate.

// The SDK's futures nest deeper than the compiler's default allows.
#![recursion_limit = "256"]

#[tokio::main]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve("settle", |event, _| async move { settle::handle(&lambda::store().await?, event).await })
        .await
}
