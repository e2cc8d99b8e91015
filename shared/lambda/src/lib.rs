//! What the functions share inside AWS Lambda, and nothing that a laptop needs.
//!
//! [`serve`] runs a handler; the rest is what a handler is wired with: [`store`], [`secret`],
//! [`syncs`], [`metrics()`] and, for the one function that starts executions, `start_execution`.
//! [`settings`] lists every environment variable.
//!
//! A handler may compute inside [`store::blocking`] under either flavour of the Tokio runtime: the
//! blocking halves of the store wait on the runtime of `main`, which goes on driving connections and
//! timers while the handler awaits the blocking piece. With `current_thread` only the awaiting itself
//! must not block.

#[cfg(feature = "dispatch")]
mod executions;
mod metrics;
#[cfg(feature = "salesforce")]
mod salesforce;
mod secrets;
mod serve;
pub mod settings;
#[cfg(feature = "snowflake")]
mod snowflake;
mod trace;

use std::path::PathBuf;

use ::store::{S3, Store};
use aws_config::SdkConfig;
use engine::Failure;
use tokio::sync::OnceCell;

#[cfg(feature = "dispatch")]
pub use executions::start_execution;
pub use lambda_runtime::Error;
pub use metrics::{Unit, metrics};
#[cfg(feature = "salesforce")]
pub use salesforce::salesforce;
pub use secrets::{fresh_secret, secret};
pub use serve::{Invocation, serve};
pub use settings::{SALESFORCE_SECRET, SNOWFLAKE_SECRET};
#[cfg(feature = "snowflake")]
pub use snowflake::snowflake;

/// The bucket of this installation; every call of the process shares one client.
///
/// # Errors
/// `Configuration` when [`settings::BUCKET`] is not set.
pub async fn store() -> Result<Store, Failure> {
    static STORE: OnceCell<Store> = OnceCell::const_new();
    let store = STORE.get_or_try_init(|| async {
        let bucket = settings::BUCKET.required()?;
        Ok::<_, Failure>(Store::S3(S3::new(sdk().await, &bucket)))
    });
    store.await.cloned()
}

/// The folder of the syncs' YAML files.
#[must_use]
pub fn syncs() -> PathBuf {
    settings::SYNCS.read().map_or_else(|| PathBuf::from(settings::LAYER), PathBuf::from)
}

async fn sdk() -> &'static SdkConfig {
    static CONFIG: OnceCell<SdkConfig> = OnceCell::const_new();
    CONFIG.get_or_init(::store::aws::config).await
}
