//! Access tokens, minted by one caller at a time.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use engine::Failure;
use tokio::sync::Mutex;

/// Something minted, and how long it can be relied on.
pub struct Lease<T> {
    /// What was minted.
    pub value: T,
    /// When it must be minted anew; `None` if only the vendor's refusal will tell. Wall-clock time, because
    /// the monotonic clock may stand still while a Lambda is frozen.
    pub until: Option<SystemTime>,
}

/// Keeps a token until it runs out or is refused. Callers that need one at the same time share one minting.
pub struct TokenCache<T> {
    slot: Mutex<Option<(Arc<T>, Option<SystemTime>)>>,
}

impl<T> TokenCache<T> {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self { slot: Mutex::new(None) }
    }

    /// The token at hand, or a new one.
    ///
    /// # Errors
    /// Those of `mint`. A failure is not kept.
    pub async fn get<F>(&self, mint: impl FnOnce() -> F) -> Result<Arc<T>, Failure>
    where
        F: Future<Output = Result<Lease<T>, Failure>>,
    {
        self.obtain(None, mint).await
    }

    /// A token other than the one the vendor has refused: a new one, unless another caller was faster.
    ///
    /// # Errors
    /// Those of `mint`.
    pub async fn renew<F>(&self, refused: &Arc<T>, mint: impl FnOnce() -> F) -> Result<Arc<T>, Failure>
    where
        F: Future<Output = Result<Lease<T>, Failure>>,
    {
        self.obtain(Some(refused), mint).await
    }

    async fn obtain<F>(&self, refused: Option<&Arc<T>>, mint: impl FnOnce() -> F) -> Result<Arc<T>, Failure>
    where
        F: Future<Output = Result<Lease<T>, Failure>>,
    {
        let mut slot = self.slot.lock().await;
        if let Some((token, until)) = &*slot {
            let fresh = until.is_none_or(|until| SystemTime::now() < until);
            if fresh && !refused.is_some_and(|refused| Arc::ptr_eq(refused, token)) {
                return Ok(Arc::clone(token));
            }
        }
        let Lease { value, until } = mint().await?;
        let token = Arc::new(value);
        *slot = Some((Arc::clone(&token), until));
        Ok(token)
    }
}

impl<T> Default for TokenCache<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for TokenCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    struct Mint(AtomicU32);

    impl Mint {
        async fn next(&self, until: Option<SystemTime>) -> Result<Lease<u32>, Failure> {
            tokio::task::yield_now().await;
            Ok(Lease { value: self.0.fetch_add(1, Ordering::SeqCst) + 1, until })
        }
    }

    #[tokio::test]
    async fn many_callers_share_one_minting() {
        let (cache, mint) = (TokenCache::new(), Mint(AtomicU32::new(0)));
        let callers = (0..20).map(|_| cache.get(|| mint.next(None)));
        let tokens = futures_util::future::join_all(callers).await;
        assert!(tokens.into_iter().all(|token| *token.unwrap() == 1));
        let first = cache.get(|| mint.next(None)).await.unwrap();
        let callers = (0..20).map(|_| cache.renew(&first, || mint.next(None)));
        let tokens = futures_util::future::join_all(callers).await;
        assert!(tokens.into_iter().all(|token| *token.unwrap() == 2));
    }

    #[tokio::test]
    async fn an_old_token_and_a_failure_are_not_kept() {
        let (cache, mint) = (TokenCache::new(), Mint(AtomicU32::new(0)));
        assert!(cache.get(|| async { Err(Failure::transient("down")) }).await.is_err());
        let past = SystemTime::now() - Duration::from_secs(1);
        assert_eq!(*cache.get(|| mint.next(Some(past))).await.unwrap(), 1);
        assert_eq!(*cache.get(|| mint.next(Some(past + Duration::from_secs(60)))).await.unwrap(), 2);
        assert_eq!(*cache.get(|| mint.next(None)).await.unwrap(), 2);
    }
}
