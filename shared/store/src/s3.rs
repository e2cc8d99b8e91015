//! Objects in an Amazon S3 bucket.
//!
//! Conditional writes: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>.
//! Three refusals are kept apart: 412 says that the condition does not hold, 409 that another
//! conditional write was under way and nothing is known yet, 404 that there is nothing to match, or
//! (by its code) no bucket.
//!
//! An upload in parts whose process dies stays invisible and is charged for until it is aborted; the
//! bucket's lifecycle rule for incomplete uploads does that.
//!
//! Every request is boxed: a future of the SDK is sixty types deep, and the compiler would count them again in every
//! function that waits for it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::{GetObjectOutput, builders::GetObjectFluentBuilder},
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};
use engine::Failure;
use futures_util::FutureExt;

use crate::{
    Object, Put, Version, aws,
    stream::{Reader, Sink, Source, Writer},
};

/// How often a conditional write is tried while others are under way.
const ATTEMPTS: u32 = 5;
/// How often a broken download is taken up again where it broke.
const RESUMES: u32 = 3;

/// A bucket as a store. The version of an object is its `ETag`.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    bucket: Arc<str>,
}

/// An object on its way in.
pub(crate) struct Download {
    s3: S3,
    key: String,
    version: String,
    size: u64,
    read: u64,
    resumed: u32,
    body: ByteStream,
}

/// An object on its way out. It becomes an upload in parts with its second part.
pub(crate) struct Upload {
    s3: S3,
    key: String,
    id: Option<String>,
    parts: Vec<CompletedPart>,
}

/// Why S3 did not do what it was asked.
enum Refusal {
    /// There is no such object.
    Absent,
    /// The condition does not hold.
    Condition,
    /// Another conditional write to the object is under way.
    Conflict,
    Failed(Failure),
}

impl S3 {
    /// The bucket `bucket` through a client configured by `config`.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: &str) -> Self {
        // A bucket name in front of the host name of a stand-in would not resolve.
        let stand_in = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let config = aws_sdk_s3::config::Builder::from(config).force_path_style(stand_in).build();
        Self { client: Client::from_conf(config), bucket: bucket.into() }
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let Some(mut download) = self.download(key).await? else { return Ok(None) };
        let mut bytes = BytesMut::with_capacity(usize::try_from(download.size).unwrap_or_default());
        while let Some(chunk) = download.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(Object { bytes: bytes.freeze(), version: Version(download.version) }))
    }

    pub(crate) async fn exists(&self, key: &str) -> Result<bool, Failure> {
        match self.client.head_object().bucket(&*self.bucket).key(key).send().boxed().await {
            Ok(_) => Ok(true),
            Err(error) => match self.refusal(key, "looked at", &error) {
                Refusal::Absent => Ok(false),
                refusal => Err(refusal.into_failure(key)),
            },
        }
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let request = self.client.list_objects_v2().bucket(&*self.bucket).prefix(prefix);
        let mut pages = request.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.refusal(prefix, "listed", &error).into_failure(prefix))?;
            keys.extend(page.contents.into_iter().flatten().filter_map(|object| object.key));
        }
        Ok(keys)
    }

    /// Writes the object if it is the `expected` version, or absent when that is `None`.
    pub(crate) async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Put, Failure> {
        for attempt in 1..=ATTEMPTS {
            match self.put_once(key, bytes.clone(), expected).await {
                Ok(version) => return Ok(Put::Written(version)),
                Err(Refusal::Condition) => return Ok(Put::Exists),
                Err(Refusal::Absent) if expected.is_some() => return Ok(Put::Exists),
                Err(Refusal::Conflict) if attempt < ATTEMPTS => tokio::time::sleep(pause(attempt)).await,
                Err(refusal) => return Err(refusal.into_failure(key)),
            }
        }
        Err(Refusal::Conflict.into_failure(key))
    }

    pub(crate) async fn reader(&self, key: &str) -> Result<Option<Reader>, Failure> {
        let download = self.download(key).await?;
        Ok(download.map(|download| Reader::new(download.size, Source::S3(Box::new(download)))))
    }

    pub(crate) fn writer(&self, key: &str) -> Writer {
        let upload = Upload { s3: self.clone(), key: key.to_owned(), id: None, parts: Vec::new() };
        Writer::new(key, Sink::S3(upload))
    }

    async fn put_once(
        &self,
        key: &str,
        bytes: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, Refusal> {
        let request = self.client.put_object().bucket(&*self.bucket).key(key).body(ByteStream::from(bytes));
        let request = match expected {
            Some(version) => request.if_match(&version.0),
            None => request.if_none_match("*"),
        };
        let answer = request.send().boxed().await.map_err(|error| self.refusal(key, "written", &error))?;
        self.version(key, answer.e_tag).map_err(Refusal::Failed)
    }

    async fn download(&self, key: &str) -> Result<Option<Download>, Failure> {
        match self.open(key, self.get_object(key)).await {
            Ok(answer) => self.begin(key, answer).map(Some),
            Err(Refusal::Absent) => Ok(None),
            Err(refusal) => Err(refusal.into_failure(key)),
        }
    }

    fn begin(&self, key: &str, answer: GetObjectOutput) -> Result<Download, Failure> {
        let size = answer.content_length.and_then(|length| u64::try_from(length).ok());
        Ok(Download {
            s3: self.clone(),
            key: key.to_owned(),
            version: self.version(key, answer.e_tag)?.0,
            size: size.ok_or_else(|| Failure::transient(format!("{} has no length", self.subject(key))))?,
            read: 0,
            resumed: 0,
            body: answer.body,
        })
    }

    async fn open(&self, key: &str, request: GetObjectFluentBuilder) -> Result<GetObjectOutput, Refusal> {
        request.send().boxed().await.map_err(|error| self.refusal(key, "read", &error))
    }

    fn get_object(&self, key: &str) -> GetObjectFluentBuilder {
        self.client.get_object().bucket(&*self.bucket).key(key)
    }

    fn version(&self, key: &str, e_tag: Option<String>) -> Result<Version, Failure> {
        e_tag.map(Version).ok_or_else(|| Failure::transient(format!("{} has no ETag", self.subject(key))))
    }

    fn subject(&self, key: &str) -> String {
        format!("object `{key}` of bucket `{}`", self.bucket)
    }

    fn refusal<E: ProvideErrorMetadata>(
        &self,
        key: &str,
        done: &str,
        error: &SdkError<E, HttpResponse>,
    ) -> Refusal {
        match aws::answer(error) {
            Some((Some("NoSuchBucket"), _)) => Refusal::Failed(self.no_bucket()),
            Some((Some("NoSuchKey" | "NotFound"), _) | (None, 404)) => Refusal::Absent,
            Some((Some("PreconditionFailed"), _) | (None, 412)) => Refusal::Condition,
            Some((Some("ConditionalRequestConflict" | "OperationAborted"), _) | (None, 409)) => {
                Refusal::Conflict
            }
            _ => Refusal::Failed(aws::failure(&format!("{} cannot be {done}", self.subject(key)), error)),
        }
    }

    fn no_bucket(&self) -> Failure {
        Failure::configuration(format!("bucket `{}` does not exist", self.bucket))
            .hint("check its name, its region and the endpoint; the stack creates it")
    }
}

impl Download {
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.read < self.size {
            match self.body.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.read += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Some(Err(_)) | None => self.resume().await?,
            }
        }
        self.verify().await
    }

    /// Drives the body past its last byte: there the SDK compares the checksum that S3 sent.
    async fn verify(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.body.next().await {
            None => Ok(None),
            Some(Ok(chunk)) if chunk.is_empty() => Ok(None),
            Some(_) => Err(Failure::transient(format!("{} arrived damaged", self.s3.subject(&self.key)))),
        }
    }

    /// S3 drops a connection that its reader leaves alone for long, as a merge of segments does.
    async fn resume(&mut self) -> Result<(), Failure> {
        self.resumed += 1;
        if self.resumed > RESUMES {
            return Err(Failure::transient(format!(
                "{} breaks off again and again",
                self.s3.subject(&self.key)
            )));
        }
        let rest = format!("bytes={}-", self.read);
        let request = self.s3.get_object(&self.key).range(rest).if_match(&self.version);
        let answer =
            self.s3.open(&self.key, request).await.map_err(|refusal| refusal.into_failure(&self.key))?;
        self.body = answer.body;
        Ok(())
    }
}

impl Upload {
    pub(crate) async fn part(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let id = self.begun().await?;
        let number = i32::try_from(self.parts.len() + 1)
            .map_err(|_| Failure::bug(format!("object `{}` has too many parts", self.key)))?;
        let answer = self
            .s3
            .client
            .upload_part()
            .bucket(&*self.s3.bucket)
            .key(&self.key)
            .upload_id(id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(bytes))
            .send()
            .boxed()
            .await
            .map_err(|error| self.failed(&error))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
        self.parts.push(part.set_checksum_crc32(answer.checksum_crc32).build());
        Ok(())
    }

    pub(crate) async fn finish(mut self, rest: Bytes) -> Result<Put, Failure> {
        if self.id.is_none() {
            return self.s3.put(&self.key, rest, None).await;
        }
        self.part(rest).await?;
        match self.complete().await {
            Ok(version) => {
                self.id = None;
                Ok(Put::Written(version))
            }
            Err(Refusal::Condition) => {
                self.abort().await;
                Ok(Put::Exists)
            }
            // Unlike a whole object, the parts cannot be offered again: S3 wants them anew.
            Err(refusal) => Err(refusal.into_failure(&self.key)),
        }
    }

    async fn complete(&self) -> Result<Version, Refusal> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let request = self.s3.client.complete_multipart_upload().bucket(&*self.s3.bucket).key(&self.key);
        let answer = request
            .set_upload_id(self.id.clone())
            .multipart_upload(parts)
            .if_none_match("*")
            .send()
            .boxed()
            .await
            .map_err(|error| self.s3.refusal(&self.key, "completed", &error))?;
        self.s3.version(&self.key, answer.e_tag).map_err(Refusal::Failed)
    }

    async fn begun(&mut self) -> Result<String, Failure> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let request = self.s3.client.create_multipart_upload().bucket(&*self.s3.bucket).key(&self.key);
        let answer = request
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .send()
            .boxed()
            .await
            .map_err(|error| self.failed(&error))?;
        let id = answer.upload_id.ok_or_else(|| {
            Failure::transient(format!("the upload of {} has no id", self.s3.subject(&self.key)))
        })?;
        Ok(self.id.insert(id).clone())
    }

    fn failed<E: ProvideErrorMetadata>(&self, error: &SdkError<E, HttpResponse>) -> Failure {
        self.s3.refusal(&self.key, "uploaded", error).into_failure(&self.key)
    }

    async fn abort(&mut self) {
        if let Some(id) = self.id.take() {
            abort(self.s3.clone(), self.key.clone(), id).await;
        }
    }
}

/// A failed or forgotten upload is aborted while the process lives on.
impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(id), Ok(handle)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            handle.spawn(abort(self.s3.clone(), std::mem::take(&mut self.key), id));
        }
    }
}

/// Best effort: what it misses, the bucket's lifecycle rule removes.
async fn abort(s3: S3, key: String, id: String) {
    let request = s3.client.abort_multipart_upload().bucket(&*s3.bucket).key(&key).upload_id(id);
    if request.send().boxed().await.is_err() {
        tracing::warn!(key, "an upload in parts could not be aborted");
    }
}

impl Refusal {
    fn into_failure(self, key: &str) -> Failure {
        match self {
            Self::Absent => Failure::transient(format!("object `{key}` vanished")),
            Self::Condition => Failure::contention(format!("object `{key}` was replaced meanwhile")),
            Self::Conflict => Failure::contention(format!("object `{key}` is being written by others")),
            Self::Failed(failure) => failure,
        }
    }
}

/// Up to 100, 200, 400, 800 ms, and at least half of that: the low digits of the clock keep writers
/// that were refused together from coming back together.
fn pause(attempt: u32) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let half = 25_u64 << attempt;
    Duration::from_millis(half + u64::from(now.subsec_micros()) % half)
}

#[cfg(any(test, feature = "conformance"))]
impl S3 {
    /// A client for a stand-in at `endpoint`, which checks no credentials.
    pub(crate) fn with_invented_credentials(endpoint: &str, bucket: &str) -> Self {
        use aws_sdk_s3::config::{Credentials, Region, SharedCredentialsProvider, retry::RetryConfig};
        let credentials = Credentials::new("invented", "invented", None, None, "conformance");
        let config = SdkConfig::builder()
            .behavior_version(aws::behaviour())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(endpoint)
            .build();
        Self::new(&config, bucket)
    }

    #[cfg(any(test, feature = "conformance"))]
    pub(crate) async fn make_bucket(&self) -> Result<(), Failure> {
        let request = self.client.create_bucket().bucket(&*self.bucket);
        request.send().boxed().await.map_err(|error| aws::failure("the bucket cannot be made", &error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
