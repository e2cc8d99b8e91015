//! What every backend has to do, as assertions.
//!
//! [`run`] panics with a message where a store does otherwise. It needs an empty store of its own.

use std::io::{Read, Write};

use bytes::Bytes;
use engine::{Class, Failure};

use crate::{Object, PART, Put, Store, Version, blocking};

/// More than two parts, so that first, middle and last part all occur.
const BIG: usize = 20 << 20;
const WRITERS: usize = 16;
const ROUNDS: usize = 5;

/// Runs every check but [`races`] against the empty `store`.
///
/// # Panics
/// Where the store does otherwise.
pub async fn run(store: &Store) {
    absent_objects(store).await;
    create_once(store).await;
    agree(store).await;
    compare_and_set(store).await;
    documents(store).await;
    listing(store).await;
    streams(store).await;
}

/// An S3 store with invented credentials on a stand-in at `endpoint`, with `bucket` made.
///
/// # Panics
/// When the stand-in does not make the bucket.
#[cfg(feature = "s3")]
pub async fn stand_in(endpoint: &str, bucket: &str) -> Store {
    let s3 = crate::S3::with_invented_credentials(endpoint, bucket);
    s3.make_bucket().await.expect("the stand-in makes a bucket");
    Store::S3(s3)
}

async fn absent_objects(store: &Store) {
    assert_eq!(ok(store.get("absent/a").await), None);
    assert!(!ok(store.exists("absent/a").await));
    assert_eq!(ok(store.list("absent/").await), Vec::<String>::new());
    let failure = store.reader("absent/a").await.err().expect("an absent object cannot be opened");
    assert_eq!(failure.class, Class::Configuration);
    assert!(failure.message.contains("`absent/a`"), "{failure}");
    let failure = store.require::<u32>("absent/a").await.expect_err("an absent document is a failure");
    assert_eq!(failure.class, Class::Configuration);
    let put = ok(store.replace("absent/a", "x", Some(&Version("\"0123\"".into()))).await);
    assert_eq!(put, Put::Exists, "an absent object has no version");
    assert!(!ok(store.exists("absent/a").await));
}

async fn create_once(store: &Store) {
    for content in ["Käse, 奶酪, 🧀\n", ""] {
        let key = format!("once/{}", content.len());
        let written = version(ok(store.create(&key, content).await));
        assert_eq!(ok(store.create(&key, "other").await), Put::Exists);
        assert_eq!(ok(store.replace(&key, "other", None).await), Put::Exists);
        let expected = Object { bytes: Bytes::from(content), version: written };
        assert_eq!(ok(store.get(&key).await), Some(expected), "the first content stays");
        assert!(ok(store.exists(&key).await));
    }
}

async fn agree(store: &Store) {
    ok(store.create_or_agree("agree/a", "same").await);
    ok(store.create_or_agree("agree/a", "same").await);
    let failure = store.create_or_agree("agree/a", "planted").await.expect_err("other content is a failure");
    assert_eq!(failure.class, Class::Bug);
    assert!(!failure.to_string().contains("planted"));
}

async fn compare_and_set(store: &Store) {
    let first = version(ok(store.replace("set/head", "1", None).await));
    let second = version(ok(store.replace("set/head", "2", Some(&first)).await));
    assert_ne!(first, second);
    assert_eq!(ok(store.replace("set/head", "3", Some(&first)).await), Put::Exists, "a stale version");
    let held = ok(store.get("set/head").await).expect("the head exists");
    assert_eq!((&held.bytes[..], held.version), (&b"2"[..], second));
}

async fn documents(store: &Store) {
    let document = std::collections::BTreeMap::from([("a".to_owned(), 1_u32)]);
    version(ok(store.create_json("documents/a.json", &document).await));
    assert_eq!(ok(store.get_json("documents/a.json").await), Some(document.clone()));
    assert_eq!(
        ok(store.require::<std::collections::BTreeMap<String, u32>>("documents/a.json").await),
        document
    );
    let failure = store.require::<Vec<u32>>("documents/a.json").await.expect_err("an object is not a list");
    assert_eq!(failure.class, Class::Bug);
}

async fn listing(store: &Store) {
    let keys = ["list/a-0", "list/a/00010", "list/a/00009", "list/a/b/c", "list/b"];
    for key in keys {
        version(ok(store.create(key, key).await));
    }
    let below_a = ["list/a/00009", "list/a/00010", "list/a/b/c"];
    assert_eq!(ok(store.list("list/a/").await), below_a);
    assert_eq!(ok(store.list("list/a").await)[..1], ["list/a-0"], "in byte order, `-` comes before `/`");
    assert_eq!(ok(store.list("list/").await).len(), keys.len());
    assert!(ok(store.list("").await).len() > keys.len());
}

/// Many writers at once: exactly one wins. Apart from the others, because moto's conditional writes are
/// not atomic: under load two of its writers may win, which S3 rules out.
///
/// # Panics
/// Where another number of writers wins.
pub async fn races(store: &Store) {
    for round in 0..ROUNDS {
        let key = format!("race/{round}");
        let winner = race(store, &key, None).await;
        race(store, &key, Some(winner)).await;
    }
}

/// Exactly one of the writers gets through, and the object holds what that one wrote.
async fn race(store: &Store, key: &str, expected: Option<Version>) -> Version {
    let name = |writer: usize| format!("{key} {writer} {expected:?}");
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, key, content, expected) =
                (store.clone(), key.to_owned(), name(writer), expected.clone());
            tokio::spawn(async move { store.replace(&key, content, expected.as_ref()).await })
        })
        .collect();
    let mut winners = Vec::new();
    for (writer, task) in tasks.into_iter().enumerate() {
        match task.await.expect("a writer does not panic") {
            Ok(Put::Written(version)) => winners.push((writer, version)),
            Ok(Put::Exists) => {}
            Err(failure) => assert_eq!(failure.class, Class::Contention, "{failure}"),
        }
    }
    let [(writer, version)] = &winners[..] else {
        panic!("{} of {WRITERS} writers won `{key}`", winners.len())
    };
    let held = ok(store.get(key).await).expect("the object exists");
    assert_eq!((held.bytes, &held.version), (Bytes::from(name(*writer)), version));
    version.clone()
}

async fn streams(store: &Store) {
    for size in [0, 1, PART, PART + 1, BIG] {
        let content = Bytes::from_iter((0..size).map(|n| u8::try_from(n % 251).expect("below 251")));
        write_async(store, &format!("streams/async-{size}"), &content).await;
        write_blocking(store, &format!("streams/blocking-{size}"), &content).await;
    }
}

async fn write_async(store: &Store, key: &str, content: &Bytes) {
    let mut writer = ok(store.writer(key).await);
    for piece in content.chunks(3 << 20) {
        ok(writer.write(piece).await);
        assert!(!ok(store.exists(key).await), "an unfinished object is not there");
    }
    version(ok(writer.finish().await));
    let mut again = ok(store.writer(key).await);
    ok(again.write(content).await);
    ok(again.write(b"more").await);
    assert_eq!(ok(again.finish().await), Put::Exists, "a finished object stays");
    let mut reader = ok(store.reader(key).await);
    assert_eq!(reader.size(), content.len() as u64);
    let mut read = Vec::new();
    while let Some(chunk) = ok(reader.chunk().await) {
        assert!(!chunk.is_empty());
        assert!(chunk.len() <= PART, "a chunk is not the whole object");
        read.extend_from_slice(&chunk);
    }
    assert!(read == content[..], "{key} was read as it was written");
    assert_eq!(ok(reader.chunk().await), None, "the end stays the end");
}

async fn write_blocking(store: &Store, key: &str, content: &Bytes) {
    let (mut writer, source) = (ok(store.writer(key).await).into_blocking(), content.clone());
    let put = blocking(move || {
        for piece in source.chunks(100_000) {
            writer.write_all(piece).expect("a piece is written");
        }
        writer.finish()
    });
    version(ok(put.await));
    let mut reader = ok(store.reader(key).await).into_blocking();
    let read = blocking(move || {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("the object is read");
        Ok(read)
    });
    assert!(ok(read.await) == content[..], "{key} was read as it was written");
}

fn version(put: Put) -> Version {
    match put {
        Put::Written(version) => version,
        Put::Exists => panic!("the object should have been written"),
    }
}

fn ok<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{}: {failure}", failure.class))
}
