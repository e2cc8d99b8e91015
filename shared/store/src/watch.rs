//! Who is told of every write, before and after it: a test that ends its process there.
//!
//! Without the feature `conformance` there is no way to name anybody, and nobody is told.

use std::{fmt, pin::Pin, sync::Arc};

use engine::Failure;

/// When a write is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It is about to be made.
    Before,
    /// It has been made, and whoever made it does not know yet.
    After,
}

/// Is told of every write of a store.
pub trait Watch: fmt::Debug + Send + Sync {
    /// A write has come so far. The store goes on when this is done; a failure is that of the write.
    fn reach(&self, key: &str, moment: Moment) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;
}

/// A store's watcher, if it has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(pub(crate) Option<Arc<dyn Watch>>);

impl Watched {
    /// Makes a write, telling of it before and after.
    pub(crate) async fn tell<T>(
        &self,
        key: &str,
        write: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(watch) = &self.0 else { return write.await };
        watch.reach(key, Moment::Before).await?;
        let written = write.await?;
        watch.reach(key, Moment::After).await?;
        Ok(written)
    }
}
