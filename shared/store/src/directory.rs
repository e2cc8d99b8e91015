//! Objects as files below one directory.
//!
//! An object is written to a temporary file and moved to its name in one step, so no process ever sees
//! half of it. Creating relies on the file system's refusal to replace; replacing holds a lock file, so
//! that compare and set are one step for every process of the machine. What belongs to the store itself
//! lies in [`OWN_FOLDER`], on the same file system as the objects.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use engine::Failure;
use tempfile::NamedTempFile;
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::{
    Object, Put, Version, blocking,
    stream::{Reader, Sink, Source, Writer},
    watch::Watched,
};

/// The folder for temporary and lock files. No object has a key with such a segment.
pub(crate) const OWN_FOLDER: &str = ".backhaul";

/// A local directory as a store. The version of an object is a hash of its content.
#[derive(Clone, Debug)]
pub struct Directory {
    root: Arc<Path>,
    survives: Survives,
    watched: Watched,
}

/// What a written object survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    /// The end of the process at any moment.
    Process,
    /// Also a loss of power right after the write was answered.
    PowerLoss,
}

/// A file that does not have its name yet.
pub(crate) struct Upload {
    place: Place,
    /// Always there between calls; a part borrows it for its thread.
    open: Option<Open>,
}

struct Open {
    file: NamedTempFile,
    hash: Box<XxHash3_128>,
}

/// An object's key and where that is.
#[derive(Clone)]
struct Place {
    key: String,
    root: Arc<Path>,
    survives: Survives,
    watched: Watched,
}

impl Directory {
    pub(crate) fn new(root: PathBuf, survives: Survives) -> Self {
        Self { root: root.into(), survives, watched: Watched::default() }
    }

    /// This directory with somebody who is told of every write.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn watched(self, watched: Watched) -> Self {
        Self { watched, ..self }
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let place = self.place(key);
        blocking(move || place.read()).await
    }

    pub(crate) async fn exists(&self, key: &str) -> Result<bool, Failure> {
        let place = self.place(key);
        blocking(move || Ok(place.open()?.is_some())).await
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        blocking(move || {
            let mut keys = Vec::new();
            let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
            walk(&root, folder, &mut keys)
                .map_err(|error| failure(&format!("folder `{folder}`"), "listed", &error))?;
            keys.retain(|key| key.starts_with(&prefix));
            Ok(keys)
        })
        .await
    }

    pub(crate) async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Put, Failure> {
        let (place, expected) = (self.place(key), expected.cloned());
        let write = blocking(move || match expected {
            None => place.create(place.filled(&bytes)?, version(XxHash3_128::oneshot(&bytes))),
            Some(expected) => place.replace(&bytes, &expected),
        });
        self.watched.tell(key, write).await
    }

    pub(crate) async fn reader(&self, key: &str) -> Result<Option<Reader>, Failure> {
        let place = self.place(key);
        blocking(move || {
            let Some((file, size)) = place.open()? else { return Ok(None) };
            Ok(Some(Reader::new(size, Source::File(Arc::new(file)))))
        })
        .await
    }

    pub(crate) async fn writer(&self, key: &str) -> Result<Writer, Failure> {
        let place = self.place(key);
        blocking(move || {
            let open = Open { file: place.temporary()?, hash: Box::new(XxHash3_128::new()) };
            let key = place.key.clone();
            Ok(Writer::new(&key, Sink::File(Upload { place, open: Some(open) })))
        })
        .await
    }

    fn place(&self, key: &str) -> Place {
        let (root, watched) = (self.root.clone(), self.watched.clone());
        Place { key: key.to_owned(), root, survives: self.survives, watched }
    }
}

impl Upload {
    pub(crate) async fn part(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.open = Some(self.append(bytes).await?);
        Ok(())
    }

    pub(crate) async fn finish(mut self, rest: Bytes) -> Result<Put, Failure> {
        let open = self.append(rest).await?;
        let (key, watched, place) = (self.place.key.clone(), self.place.watched.clone(), self.place);
        let write = blocking(move || place.create(open.file, version(open.hash.finish_128())));
        watched.tell(&key, write).await
    }

    async fn append(&mut self, bytes: Bytes) -> Result<Open, Failure> {
        let mut open = self.open.take().ok_or_else(|| {
            Failure::bug(format!("object `{}` is written on after a failure", self.place.key))
        })?;
        let place = self.place.clone();
        blocking(move || {
            open.hash.write(&bytes);
            open.file.write_all(&bytes).map_err(|error| place.failure("written", &error))?;
            Ok(open)
        })
        .await
    }
}

impl Place {
    fn path(&self) -> PathBuf {
        self.root.join(&self.key)
    }

    /// The file and its size; a folder is not an object.
    fn open(&self) -> Result<Option<(File, u64)>, Failure> {
        let opened = File::open(self.path()).and_then(|file| {
            let metadata = file.metadata()?;
            Ok(metadata.is_file().then_some((file, metadata.len())))
        });
        match opened {
            Err(error) if is_absence(&error) => Ok(None),
            other => other.map_err(|error| self.failure("opened", &error)),
        }
    }

    fn read(&self) -> Result<Option<Object>, Failure> {
        let Some((mut file, size)) = self.open()? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        io::Read::read_to_end(&mut file, &mut bytes).map_err(|error| self.failure("read", &error))?;
        let version = version(XxHash3_128::oneshot(&bytes));
        Ok(Some(Object { bytes: bytes.into(), version }))
    }

    fn create(&self, file: NamedTempFile, version: Version) -> Result<Put, Failure> {
        self.settle(&file)?;
        match file.persist_noclobber(self.path()) {
            Ok(_) => self.made_permanent(version),
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(Put::Exists),
            Err(refused) => Err(self.failure("created", &refused.error)),
        }
    }

    fn replace(&self, bytes: &[u8], expected: &Version) -> Result<Put, Failure> {
        let file = self.filled(bytes)?;
        self.settle(&file)?;
        let _lock = self.lock()?;
        if self.read()?.is_none_or(|object| object.version != *expected) {
            return Ok(Put::Exists);
        }
        file.persist(self.path()).map_err(|refused| self.failure("replaced", &refused.error))?;
        self.made_permanent(version(XxHash3_128::oneshot(bytes)))
    }

    fn temporary(&self) -> Result<NamedTempFile, Failure> {
        let own = self.root.join(OWN_FOLDER);
        fs::create_dir_all(&own)
            .and_then(|()| NamedTempFile::with_prefix_in("new-", own))
            .map_err(|error| self.failure("begun", &error))
    }

    fn filled(&self, bytes: &[u8]) -> Result<NamedTempFile, Failure> {
        let mut file = self.temporary()?;
        file.write_all(bytes).map_err(|error| self.failure("written", &error))?;
        Ok(file)
    }

    /// The content reaches the disk before its name does: a name never stands for half an object, not
    /// even after a loss of power.
    fn settle(&self, file: &NamedTempFile) -> Result<(), Failure> {
        let synced = match self.survives {
            Survives::Process => Ok(()),
            Survives::PowerLoss => file.as_file().sync_data(),
        };
        synced
            .and_then(|()| fs::create_dir_all(self.folder()))
            .map_err(|error| self.failure("written", &error))
    }

    /// A journal says what was done to the outside world, so its entries have to outlive a loss of power.
    fn made_permanent(&self, version: Version) -> Result<Put, Failure> {
        #[cfg(unix)]
        if self.survives == Survives::PowerLoss {
            File::open(self.folder())
                .and_then(|folder| folder.sync_all())
                .map_err(|error| self.failure("made permanent", &error))?;
        }
        Ok(Put::Written(version))
    }

    fn folder(&self) -> PathBuf {
        self.path().parent().map_or_else(|| self.root.to_path_buf(), Path::to_path_buf)
    }

    /// Held until it is dropped, or its process ends. Locks stay behind as empty files: removing one
    /// would let a third process lock a new file while a second holds the old one.
    fn lock(&self) -> Result<File, Failure> {
        let name = format!("lock-{:016x}", XxHash3_64::oneshot(self.key.as_bytes()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join(OWN_FOLDER).join(name))
            .map_err(|error| self.failure("locked", &error))?;
        file.lock().map_err(|error| self.failure("locked", &error))?;
        Ok(file)
    }

    fn failure(&self, done: &str, error: &io::Error) -> Failure {
        failure(&format!("object `{}`", self.key), done, error)
    }
}

/// Puts the keys of all files below `folder` (empty, or with a trailing slash) into `keys`.
fn walk(root: &Path, folder: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(folder)) {
        Err(error) if is_absence(&error) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        // A name that is not UTF-8 is no key of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        if kind.is_dir() && name != OWN_FOLDER {
            walk(root, &format!("{folder}{name}/"), keys)?;
        } else if kind.is_file() {
            keys.push(format!("{folder}{name}"));
        }
    }
    Ok(())
}

/// Also when a segment of the key is a file: then nothing can lie below it.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

fn failure(subject: &str, done: &str, error: &io::Error) -> Failure {
    let kind = error.kind();
    let message = format!("{subject} cannot be {done}: {kind}");
    match kind {
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename
        | ErrorKind::Unsupported => Failure::configuration(message).hint(
            "the directory of the store has to be writable, on one file system, and used for nothing else",
        ),
        _ => Failure::transient(message),
    }
}

fn version(hash: u128) -> Version {
    Version(format!("{hash:032x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use engine::Class;

    #[tokio::test]
    async fn a_key_below_an_object_or_on_a_folder_is_a_configuration_failure() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::directory(root.path());
        store.create("a/b", "x").await.unwrap();
        assert_eq!(store.get("a/b/c").await.unwrap(), None);
        assert_eq!(store.get("a").await.unwrap(), None);
        assert!(!store.exists("a").await.unwrap());
        assert_eq!(store.create("a/b/c", "x").await.unwrap_err().class, Class::Configuration);
    }

    #[tokio::test]
    async fn two_stores_on_one_directory_count_without_losing_a_turn() {
        const TURNS: usize = 40;
        let root = tempfile::tempdir().unwrap();
        Store::directory(root.path()).create("n", "0").await.unwrap();
        let tasks: Vec<_> =
            (0..2).map(|_| tokio::spawn(count(Store::directory(root.path()), TURNS))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        let object = Store::directory(root.path()).get("n").await.unwrap().unwrap();
        assert_eq!(object.bytes, (2 * TURNS).to_string());
    }

    async fn count(store: Store, turns: usize) {
        let mut done = 0;
        while done < turns {
            let object = store.get("n").await.unwrap().unwrap();
            let n: usize = std::str::from_utf8(&object.bytes).unwrap().parse().unwrap();
            let put = store.replace("n", (n + 1).to_string(), Some(&object.version)).await.unwrap();
            done += usize::from(matches!(put, Put::Written(_)));
        }
    }

    #[test]
    fn a_full_disk_wants_a_person_and_an_interruption_does_not() {
        let class = |kind: ErrorKind| failure("object `a`", "written", &kind.into()).class;
        assert_eq!(class(ErrorKind::StorageFull), Class::Configuration);
        assert_eq!(class(ErrorKind::PermissionDenied), Class::Configuration);
        assert_eq!(class(ErrorKind::Interrupted), Class::Transient);
    }
}
