//! The client of Salesforce as a function of a run uses it.

use ::salesforce::{Client, Secret, Shelf};
use ::store::{Put, Store};
use engine::{Failure, RunRef, layout};
use futures_util::FutureExt;
use std::sync::Arc;

use crate::{SALESFORCE_SECRET, fresh_secret, secret};

/// A client that shares one session with every other invocation of the run, and that reads the secret anew when a
/// login is refused.
///
/// # Errors
/// As [`secret`]; `Configuration` when the secret is not usable.
pub async fn salesforce(store: &Store, run: &RunRef) -> Result<Client, Failure> {
    let secret: Secret = secret(SALESFORCE_SECRET).await?;
    let client = Client::new(secret)?.shared(shelf(store, run));
    Ok(client.rotating(|| fresh_secret(SALESFORCE_SECRET).boxed()))
}

/// The sessions of a run, in its folder: only who has the secret can open them.
fn shelf(store: &Store, run: &RunRef) -> Shelf {
    let (reading, keeping) = ((store.clone(), run.clone()), (store.clone(), run.clone()));
    Shelf {
        read: Arc::new(move |number| {
            let (store, run) = reading.clone();
            async move { Ok(store.get(&layout::session(&run, number)).await?.map(|object| object.bytes)) }
                .boxed()
        }),
        keep: Arc::new(move |number, sealed| {
            let (store, run) = keeping.clone();
            async move {
                let put = store.create(&layout::session(&run, number), sealed).await?;
                Ok(matches!(put, Put::Written(_)))
            }
            .boxed()
        }),
    }
}
