//! The answers that no stand-in gives, over real HTTP.

use std::sync::Mutex;

use engine::Class;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{PART, Store};

/// Answers each request with the next prepared answer, and keeps the head of each request.
struct Server {
    endpoint: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = read_request(&mut stream).await;
                seen.lock().unwrap().push(head);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { endpoint, heads }
    }

    fn store(&self) -> Store {
        Store::S3(S3::with_invented_credentials(&self.endpoint, "vault"))
    }

    /// Method, path and query of each request so far.
    fn requests(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().map(|head| head.lines().next().unwrap().replace(" HTTP/1.1", "")).collect()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let end = loop {
        stream.read_buf(&mut bytes).await.unwrap();
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    if head.contains("expect: 100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    }
    while bytes.len() < end + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    head
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn refused(status: u16, code: &str) -> String {
    answer(status, "", &format!("<Error><Code>{code}</Code><Message>planted</Message></Error>"))
}

fn written() -> String {
    answer(200, "etag: \"1\"\r\n", "")
}

#[tokio::test]
async fn each_refusal_of_a_creation_has_its_own_meaning() {
    let cases = [
        (412, "PreconditionFailed", Ok(Put::Exists)),
        (404, "NoSuchBucket", Err(Class::Configuration)),
        (403, "AccessDenied", Err(Class::Configuration)),
        (400, "InvalidRequest", Err(Class::Configuration)),
        (503, "SlowDown", Err(Class::Transient)),
        (500, "InternalError", Err(Class::Transient)),
        (404, "NoSuchKey", Err(Class::Transient)),
    ];
    for (status, code, expected) in cases {
        let server = Server::start(vec![refused(status, code)]).await;
        let result = server.store().create("a", "x").await;
        if let Err(failure) = &result {
            assert!(!failure.to_string().contains("planted"), "{failure}");
        }
        assert_eq!(result.map_err(|failure| failure.class), expected, "{code}");
        assert!(server.heads.lock().unwrap()[0].contains("if-none-match: *"), "{code}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let server = Server::start(vec![refused(404, "NoSuchBucket"), refused(404, "NoSuchBucket")]).await;
    let created = server.store().create("a", "x").await.unwrap_err();
    assert_eq!(created.message, "bucket `vault` does not exist");
    assert!(created.hint.is_some());
    assert_eq!(server.store().get("a").await.unwrap_err(), created);
}

#[tokio::test]
async fn a_conflict_is_tried_again_and_is_never_taken_for_an_existing_object() {
    let conflict = || refused(409, "ConditionalRequestConflict");
    let server = Server::start(vec![conflict(), refused(409, "OperationAborted"), written()]).await;
    assert_eq!(server.store().create("a", "x").await.unwrap(), Put::Written(Version("\"1\"".into())));
    assert_eq!(server.requests().len(), 3);

    let server = Server::start(vec![conflict(), refused(412, "PreconditionFailed")]).await;
    assert_eq!(server.store().create("a", "x").await.unwrap(), Put::Exists);

    let server = Server::start((0..ATTEMPTS).map(|_| conflict()).collect()).await;
    let failure = server.store().create("a", "x").await.unwrap_err();
    assert_eq!(failure.class, Class::Contention);
    assert_eq!(server.requests().len(), ATTEMPTS as usize);
}

#[tokio::test]
async fn a_replacement_names_its_version_and_finds_nothing_to_match() {
    let server = Server::start(vec![refused(404, "NoSuchKey")]).await;
    let version = Version("\"7\"".into());
    assert_eq!(server.store().replace("a", "x", Some(&version)).await.unwrap(), Put::Exists);
    assert!(server.heads.lock().unwrap()[0].contains("if-match: \"7\""));
}

#[tokio::test]
async fn looking_at_an_object_needs_no_body_to_understand_a_refusal() {
    for (status, expected) in
        [(404, Ok(false)), (403, Err(Class::Configuration)), (503, Err(Class::Transient))]
    {
        let server = Server::start(vec![answer(status, "", "")]).await;
        let exists = server.store().exists("a").await;
        assert_eq!(exists.map_err(|failure| failure.class), expected, "{status}");
    }
}

#[tokio::test]
async fn a_silent_server_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = Store::S3(S3::with_invented_credentials(&endpoint, "vault"));
    assert_eq!(store.get("a").await.unwrap_err().class, Class::Transient);
}

#[tokio::test]
async fn a_client_without_credentials_wants_a_person() {
    use aws_sdk_s3::config::{Region, SharedCredentialsProvider};
    let nobody = aws_config::profile::ProfileFileCredentialsProvider::builder().profile_name("nobody at all");
    let config = SdkConfig::builder()
        .behavior_version(aws::behaviour())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(nobody.build()))
        .endpoint_url("http://127.0.0.1:1")
        .build();
    let failure = Store::S3(S3::new(&config, "vault")).get("a").await.unwrap_err();
    assert_eq!(failure.class, Class::Configuration, "{failure}");
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_broke() {
    let broken =
        "HTTP/1.1 200 X\r\netag: \"7\"\r\ncontent-length: 10\r\nconnection: close\r\n\r\nabcd".to_owned();
    let rest = answer(206, "etag: \"7\"\r\ncontent-range: bytes 4-9/10\r\n", "efghij");
    let server = Server::start(vec![broken.clone(), rest]).await;
    let object = server.store().get("a").await.unwrap().unwrap();
    assert_eq!(object.bytes, "abcdefghij");
    let head = server.heads.lock().unwrap()[1].clone();
    assert!(head.contains("range: bytes=4-") && head.contains("if-match: \"7\""), "{head}");

    let server = Server::start(vec![broken, refused(412, "PreconditionFailed")]).await;
    assert_eq!(server.store().get("a").await.unwrap_err().class, Class::Contention);
}

#[tokio::test]
async fn a_damaged_object_is_not_handed_out_as_whole() {
    let damaged = answer(200, "etag: \"7\"\r\nx-amz-checksum-crc32: AAAAAA==\r\n", "abcd");
    let server = Server::start(vec![damaged]).await;
    assert_eq!(server.store().get("a").await.unwrap_err().class, Class::Transient);
}

fn begun() -> String {
    answer(200, "", "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
}

#[tokio::test]
async fn an_upload_in_parts_that_loses_or_fails_is_aborted() {
    for (status, code, expected) in [
        (412, "PreconditionFailed", Ok(Put::Exists)),
        (409, "ConditionalRequestConflict", Err(Class::Contention)),
        (503, "SlowDown", Err(Class::Transient)),
    ] {
        let answers = vec![begun(), written(), written(), refused(status, code), answer(204, "", "")];
        let server = Server::start(answers).await;
        let mut writer = server.store().writer("a").await.unwrap();
        writer.write(&vec![0; PART + 1]).await.unwrap();
        assert_eq!(writer.finish().await.map_err(|failure| failure.class), expected, "{code}");
        wait_for(&server, 5).await;
        let requests = server.requests();
        assert!(server.heads.lock().unwrap()[3].contains("if-none-match: *"), "{code}");
        assert!(
            requests[4].starts_with("delete /vault/a?") && requests[4].contains("uploadid=u"),
            "{requests:?}"
        );
    }
}

/// The abort of a failed upload is not awaited by anyone else.
async fn wait_for(server: &Server, requests: usize) {
    while server.requests().len() < requests {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_part_that_fails_spoils_the_object_and_a_dropped_writer_aborts() {
    let server = Server::start(vec![begun(), refused(503, "SlowDown"), answer(204, "", "")]).await;
    let mut writer = server.store().writer("a").await.unwrap();
    let failure = writer.write(&vec![0; PART + 1]).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient);
    assert_eq!(writer.finish().await.unwrap_err().class, Class::Bug);
    wait_for(&server, 3).await;
    assert!(server.requests()[2].starts_with("delete /vault/a?"));
}
