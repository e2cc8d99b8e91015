//! The documents of a run on an object store.
//!
//! A [`Store`] is one folder of objects, either a local directory or an Amazon S3 bucket, with the few
//! operations that the delivery guarantees rest on: an object is written once ([`Store::create`]), a
//! second attempt agrees with the first or stops ([`Store::create_or_agree`]), and the one object that
//! is ever replaced is replaced by compare-and-set ([`Store::replace`]). Nothing is deleted here.
//!
//! Objects too big for memory go through [`Reader`] and [`Writer`], or through their blocking halves
//! inside [`blocking`]. The module `conformance` holds the checks that both backends pass.
//!
//! The store knows no key: `engine::layout` spells them.

use std::path::PathBuf;

use bytes::Bytes;
use engine::Failure;
use serde::{Serialize, de::DeserializeOwned};

pub mod approval;
#[cfg(feature = "s3")]
pub mod aws;
pub mod baseline;
mod blocking;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod directory;
pub mod journal;
mod json;
pub mod lease;
pub mod release;
#[cfg(feature = "s3")]
mod s3;
mod stream;
mod watch;

pub use blocking::Blocking;
pub use directory::Directory;
use directory::Survives;
pub use json::{Fault, decode, decode_value};
#[cfg(feature = "s3")]
pub use s3::S3;
pub use stream::{BlockingReader, BlockingWriter, PART, Reader, Writer};
#[cfg(any(test, feature = "conformance"))]
pub use watch::{Moment, Watch};

/// Where the documents of runs live. Cloning is cheap; clones share their connections.
#[derive(Clone, Debug)]
pub enum Store {
    /// A local directory, shared by processes of one machine.
    Directory(Directory),
    /// An Amazon S3 bucket.
    #[cfg(feature = "s3")]
    S3(S3),
}

/// What an object held when it was read or written: the precondition of [`Store::replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// A whole object in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// The content.
    pub bytes: Bytes,
    /// What to pass to [`Store::replace`] so that only this content is replaced.
    pub version: Version,
}

/// The answer to a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object now holds what was given.
    Written(Version),
    /// The condition does not hold: the object exists, or is no longer the expected version.
    ///
    /// It may hold just what was given, when an earlier attempt got through and its answer was lost.
    Exists,
}

impl Store {
    /// The directory `root`, which need not exist yet.
    pub fn directory(root: impl Into<PathBuf>) -> Self {
        Self::Directory(Directory::new(root.into(), Survives::PowerLoss))
    }

    /// The directory `root` for tests and demonstrations: an object survives its process, but waits for
    /// no disk, which makes small objects many times faster.
    pub fn scratch(root: impl Into<PathBuf>) -> Self {
        Self::Directory(Directory::new(root.into(), Survives::Process))
    }

    /// This store with somebody who is told of every write; of a bucket on S3 nobody is.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn watched(self, watch: std::sync::Arc<dyn Watch>) -> Self {
        match self {
            Self::Directory(directory) => Self::Directory(directory.watched(watch::Watched(Some(watch)))),
            #[cfg(feature = "s3")]
            Self::S3(s3) => Self::S3(s3),
        }
    }

    /// The S3 bucket `bucket`, with region, credentials and endpoint as the AWS SDKs find them.
    ///
    /// `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_S3` are honoured; buckets are then addressed by path.
    #[cfg(feature = "s3")]
    pub async fn s3(bucket: &str) -> Self {
        Self::S3(S3::new(&aws::config().await, bucket))
    }

    /// The object `key`, or `None` where there is none.
    ///
    /// # Errors
    /// `Transient` when the store does not answer, `Configuration` when it refuses.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        check_key(key)?;
        match self {
            Self::Directory(directory) => directory.get(key).await,
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.get(key).await,
        }
    }

    /// The JSON document `key`, or `None` where there is none.
    ///
    /// # Errors
    /// Those of [`Store::get`], and `Bug` when the object is not a `T`.
    pub async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Failure> {
        let Some(object) = self.get(key).await? else { return Ok(None) };
        let document = decode(&object.bytes).map_err(|fault| {
            Failure::bug(format!("object `{key}` is not what this version writes: {fault}"))
        })?;
        Ok(Some(document))
    }

    /// The JSON document `key`, which an earlier stage has written.
    ///
    /// # Errors
    /// Those of [`Store::get_json`], and `Configuration` when there is no such object.
    pub async fn require<T: DeserializeOwned>(&self, key: &str) -> Result<T, Failure> {
        self.get_json(key).await?.ok_or_else(|| missing(key))
    }

    /// The bytes of the object `key`, which an earlier stage has written.
    ///
    /// # Errors
    /// Those of [`Store::get`], and `Configuration` when there is no such object.
    pub async fn bytes(&self, key: &str) -> Result<Bytes, Failure> {
        self.get(key).await?.map(|object| object.bytes).ok_or_else(|| missing(key))
    }

    /// Writes the object `key` unless there is one.
    ///
    /// # Errors
    /// `Transient`, `Configuration`, or `Contention` when writers of the same key kept each other out.
    pub async fn create(&self, key: &str, bytes: impl Into<Bytes>) -> Result<Put, Failure> {
        self.put(key, bytes.into(), None).await
    }

    /// Writes the object `key`, or finds that it already holds just these bytes.
    ///
    /// # Errors
    /// Those of [`Store::create`], and `Bug` when the object holds anything else.
    pub async fn create_or_agree(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        let bytes = bytes.into();
        if let Put::Written(_) = self.create(key, bytes.clone()).await? {
            return Ok(());
        }
        match self.get(key).await? {
            Some(object) if object.bytes == bytes => Ok(()),
            Some(_) => Err(Failure::bug(format!("object `{key}` was written before, with other content"))),
            None => Err(Failure::contention(format!("object `{key}` vanished while it was compared"))),
        }
    }

    /// Writes the JSON document `key` unless there is one.
    ///
    /// # Errors
    /// Those of [`Store::create`], and `Bug` when `document` has no JSON form.
    pub async fn create_json<T: Serialize>(&self, key: &str, document: &T) -> Result<Put, Failure> {
        self.create(key, encode(key, document)?).await
    }

    /// Writes the object `key` if it still is the `expected` version, or does not exist when that is `None`.
    ///
    /// # Errors
    /// Those of [`Store::create`].
    pub async fn replace(
        &self,
        key: &str,
        bytes: impl Into<Bytes>,
        expected: Option<&Version>,
    ) -> Result<Put, Failure> {
        self.put(key, bytes.into(), expected).await
    }

    /// Whether there is an object `key`.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub async fn exists(&self, key: &str) -> Result<bool, Failure> {
        check_key(key)?;
        match self {
            Self::Directory(directory) => directory.exists(key).await,
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.exists(key).await,
        }
    }

    /// The keys that begin with `prefix`, in byte order.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        check_prefix(prefix)?;
        let mut keys = match self {
            Self::Directory(directory) => directory.list(prefix).await?,
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.list(prefix).await?,
        };
        keys.sort_unstable();
        Ok(keys)
    }

    /// Opens the object `key` for reading piece by piece.
    ///
    /// # Errors
    /// Those of [`Store::get`], and `Configuration` when there is no such object.
    pub async fn reader(&self, key: &str) -> Result<Reader, Failure> {
        self.open(key).await?.ok_or_else(|| missing(key))
    }

    /// Opens the object `key` for reading piece by piece, or `None` where there is none.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub async fn open(&self, key: &str) -> Result<Option<Reader>, Failure> {
        check_key(key)?;
        match self {
            Self::Directory(directory) => directory.reader(key).await,
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.reader(key).await,
        }
    }

    /// Begins the object `key`, to be written piece by piece; it appears when the writer is finished.
    ///
    /// # Errors
    /// Those of [`Store::create`].
    pub async fn writer(&self, key: &str) -> Result<Writer, Failure> {
        check_key(key)?;
        match self {
            Self::Directory(directory) => directory.writer(key).await,
            #[cfg(feature = "s3")]
            Self::S3(s3) => Ok(s3.writer(key)),
        }
    }

    async fn put(&self, key: &str, bytes: Bytes, expected: Option<&Version>) -> Result<Put, Failure> {
        check_key(key)?;
        match self {
            Self::Directory(directory) => directory.put(key, bytes, expected).await,
            #[cfg(feature = "s3")]
            Self::S3(s3) => s3.put(key, bytes, expected).await,
        }
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Object({} bytes, {:?})", self.bytes.len(), self.version)
    }
}

/// Runs `work` where it may block, such as with the blocking halves of readers and writers.
///
/// # Errors
/// What `work` returns, and `Bug` when it panics.
pub async fn blocking<T, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Failure> + Send + 'static,
{
    // The panic's message stays out: it may hold a value of a record.
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|_| Err(Failure::bug("a blocking piece of work panicked")))
}

/// The class-bearing failure inside an I/O error that a blocking half returned, or `None` for any other.
#[must_use]
pub fn failure(error: &std::io::Error) -> Option<&Failure> {
    error.get_ref()?.downcast_ref()
}

fn encode<T: Serialize>(key: &str, document: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec_pretty(document)
        .map_err(|_| Failure::bug(format!("the document for object `{key}` has no JSON form")))
}

fn missing(key: &str) -> Failure {
    Failure::configuration(format!("object `{key}` does not exist"))
        .hint("an earlier stage writes it: check that the run, the bucket and the prefix are the right ones")
}

fn check_key(key: &str) -> Result<(), Failure> {
    let well_formed = !key.is_empty() && key.split('/').all(|segment| !segment.is_empty());
    if well_formed { check_prefix(key) } else { Err(not_a_key(key)) }
}

/// A prefix may end within a segment or with a slash, but leads nowhere else either.
fn check_prefix(prefix: &str) -> Result<(), Failure> {
    let leaves = |segment: &str| matches!(segment, "." | ".." | directory::OWN_FOLDER);
    let well_formed = prefix.len() <= 1024
        && !prefix.starts_with('/')
        && !prefix.contains("//")
        && !prefix.contains(|c: char| c.is_control() || matches!(c, '\\' | ':'))
        && !prefix.split('/').any(leaves);
    if well_formed { Ok(()) } else { Err(not_a_key(prefix)) }
}

fn not_a_key(key: &str) -> Failure {
    Failure::bug(format!("`{}` is not an object key", key.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Class;

    #[tokio::test]
    async fn a_directory_conforms() {
        let root = tempfile::tempdir().unwrap();
        for store in
            [Store::directory(root.path().join("not/yet")), Store::scratch(root.path().join("scratch"))]
        {
            conformance::run(&store).await;
            conformance::races(&store).await;
        }
    }

    #[tokio::test]
    async fn keys_that_lead_elsewhere_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::directory(root.path().join("store"));
        for key in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "c:x",
            ".backhaul/x",
            "a\0b",
        ] {
            let failure = store.create(key, "x").await.unwrap_err();
            assert_eq!(failure.class, Class::Bug, "{key:?}");
            assert!(store.get(key).await.is_err(), "{key:?}");
            assert!(store.writer(key).await.is_err(), "{key:?}");
        }
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_panic_in_blocking_work_is_a_bug_without_its_message() {
        let planted = String::from("planted");
        let failure = blocking::<(), _>(move || panic!("{planted}")).await.unwrap_err();
        assert_eq!(failure.class, Class::Bug);
        assert!(!failure.to_string().contains("planted"));
    }

    #[tokio::test]
    async fn an_unreadable_document_is_named_by_place_and_not_by_content() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::directory(root.path());
        store.create("head.json", r#"{"wave": {"job": "planted"}}"#).await.unwrap();
        type Head = std::collections::BTreeMap<String, engine::JobRef>;
        let failure = store.require::<Head>("head.json").await.unwrap_err();
        assert_eq!(
            failure,
            Failure::bug(
                "object `head.json` is not what this version writes: `wave.job` is not what is expected there (line 1, column 26)"
            )
        );
    }
}
