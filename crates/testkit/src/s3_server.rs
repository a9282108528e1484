//! A real S3-compatible server in process: s3s-fs over a folder, with signatures, digests and conditional puts checked.
//!
//! Known to differ from the original: a 304 comes as 200; tagging and ListMultipartUploads are not there; two
//! conditional puts at the same moment may both succeed; a key of more than about 165 bytes (130 for a multipart upload)
//! meets the file system's limit for names and is a 500.
//!
//! Beside what s3s-fs does, this server can belong to a region and then answers as the original does when a signature
//! names another one, with the right region in the answer; and it takes the script of [`Faults`].

mod buckets;

use crate::wire::{Answerer, Error, Faults, Listener};
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const ACCESS_KEY: &str = "AKIATESTKITTESTKIT00";
const SECRET_KEY: &str = "testkit/secret+Key0123456789testkitSecret";

/// An S3-compatible server on a loopback port, its objects in a folder.
#[derive(Debug)]
pub struct S3Server {
    listener: Listener,
    folder: PathBuf,
    access_key: String,
    secret_key: String,
    _temporary: Option<tempfile::TempDir>,
}

/// What an [`S3Server`] may be told before it starts.
#[derive(Debug, Default)]
pub struct S3Builder {
    listen: Option<SocketAddr>,
    folder: Option<PathBuf>,
    keys: Option<(String, String)>,
    region: Option<String>,
}

impl S3Builder {
    /// Listens here instead of on a free port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Keeps the objects in this folder, which must exist and stays, instead of in a temporary one.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Accepts this access key and secret instead of the built-in pair.
    #[must_use]
    pub fn keys(mut self, access: &str, secret: &str) -> Self {
        self.keys = Some((access.to_owned(), secret.to_owned()));
        self
    }

    /// Belongs to this region: a signature for another one is refused with 400 and the right region in the answer, and
    /// `x-amz-bucket-region` stands on every answer.
    #[must_use]
    pub fn region(mut self, region: &str) -> Self {
        self.region = Some(region.to_owned());
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    /// The address cannot be bound, or the folder is not there.
    pub fn start(self) -> std::io::Result<S3Server> {
        let temporary = if self.folder.is_none() { Some(tempfile::tempdir()?) } else { None };
        let folder = match (&self.folder, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => return Err(std::io::ErrorKind::NotFound.into()),
        };
        let (access_key, secret_key) = self.keys.unwrap_or_else(|| (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()));
        let mut builder = S3ServiceBuilder::new(buckets::Buckets::new(&folder)?);
        builder.set_auth(OnePair { access: access_key.clone(), secret: SecretKey::from(secret_key.clone()) });
        builder.set_validation(AnyBucketName);
        let answerer = answerer(builder.build(), self.region);
        let listener = Listener::start(self.listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into()), answerer)?;
        Ok(S3Server { listener, folder, access_key, secret_key, _temporary: temporary })
    }
}

impl S3Server {
    /// Starts on a free port with an empty temporary folder.
    pub fn start() -> Self {
        S3Builder::default().start().expect("an S3 server on a free loopback port")
    }

    /// Starts with choices.
    pub fn builder() -> S3Builder {
        S3Builder::default()
    }

    /// Makes a bucket. It may exist already. Any name goes, also one that is no DNS label.
    pub fn bucket(&self, name: &str) -> &Self {
        buckets::make(&self.folder, name).expect("a folder for the bucket");
        self
    }

    /// Removes a bucket with all that is in it.
    pub fn remove_bucket(&self, name: &str) {
        buckets::remove(&self.folder, name).expect("the bucket's folder can be removed");
    }

    /// The access key that is accepted.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Its secret.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The port of [`S3Server::address`].
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Its base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The folder that holds the buckets: `folder().join(BUCKET).join(KEY)` is an object's file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The `settings` of an `s3` handler for this server and bucket.
    pub fn settings(&self, bucket: &str) -> serde_json::Value {
        serde_json::json!({
            "bucket": bucket, "key": self.access_key, "secret": self.secret_key,
            "host": self.address().ip().to_string(), "port": self.port(), "scheme": "http",
        })
    }

    /// All objects of a bucket, by key. Read from the folder, so it works while the server is stopped.
    pub fn objects(&self, bucket: &str) -> Vec<(String, Bytes)> {
        let keys = self.keys(bucket);
        keys.into_iter()
            .filter_map(|key| {
                let bytes = std::fs::read(self.folder.join(bucket).join(&key)).ok()?;
                Some((key, Bytes::from(bytes)))
            })
            .collect()
    }

    /// The keys of a bucket in order, without reading the objects.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let root = self.folder.join(bucket);
        let mut keys = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(_) => {
                        if let Some(key) = entry.path().strip_prefix(&root).ok().and_then(Path::to_str) {
                            keys.push(key.to_owned());
                        }
                    }
                    Err(_) => {}
                }
            }
        }
        keys.sort();
        keys
    }

    /// One object, when it is there.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Bytes> {
        std::fs::read(self.folder.join(bucket).join(key)).ok().map(Bytes::from)
    }

    /// Puts an object into the folder behind the API's back, as somebody else would have.
    pub fn plant(&self, bucket: &str, key: &str, bytes: &[u8]) {
        let path = self.folder.join(bucket).join(key);
        std::fs::create_dir_all(path.parent().expect("a key stands in a bucket")).expect("a folder for the key");
        std::fs::write(path, bytes).expect("the object can be written");
    }

    /// Removes an object behind the API's back. True when it was there.
    pub fn remove(&self, bucket: &str, key: &str) -> bool {
        std::fs::remove_file(self.folder.join(bucket).join(key)).is_ok()
    }

    /// Waits until a bucket holds at least so many objects whose keys contain `part`, and gives those; panics after `patience`.
    pub async fn wait_for(&self, bucket: &str, part: &str, count: usize, patience: Duration) -> Vec<(String, Bytes)> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let found: Vec<_> = self.keys(bucket).into_iter().filter(|key| key.contains(part)).collect();
            if found.len() >= count {
                return self.objects(bucket).into_iter().filter(|(key, _)| key.contains(part)).collect();
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} of {count} objects with «{part}» in {bucket} after {patience:?}: {:?}",
                found.len(),
                self.keys(bucket)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The script of faults and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.listener.faults
    }

    /// Closes the port and every connection at once; the objects stay.
    pub fn stop(&self) {
        self.listener.stop();
    }

    /// Serves again on the same port.
    pub fn restart(&self) {
        self.listener.restart();
    }
}

struct OnePair {
    access: String,
    secret: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for OnePair {
    async fn get_secret_key(&self, access_key: &str) -> s3s::S3Result<SecretKey> {
        if access_key == self.access {
            return Ok(self.secret.clone());
        }
        Err(s3s::s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records."))
    }
}

struct AnyBucketName;

impl NameValidation for AnyBucketName {
    fn validate_bucket_name(&self, name: &str) -> bool {
        !name.is_empty() && !name.starts_with('.')
    }
}

fn answerer(service: S3Service, region: Option<String>) -> Answerer {
    Arc::new(move |request| {
        let (service, region) = (service.clone(), region.clone());
        let answer: BoxFuture<'static, Result<Response<Body>, Error>> = Box::pin(async move {
            let Some(region) = region else {
                return serve(&service, request).await;
            };
            let mut answer = match signed_region(&request) {
                Some(other) if other != region => {
                    let head = *request.method() == http::Method::HEAD;
                    crate::wire::drain(request.into_body()).await;
                    wrong_region(&region, &other, head)?
                }
                _ => serve(&service, request).await?,
            };
            answer.headers_mut().insert("x-amz-bucket-region", HeaderValue::from_str(&region)?);
            Ok(answer)
        });
        answer
    })
}

async fn serve(service: &S3Service, request: Request<Body>) -> Result<Response<Body>, Error> {
    let answer =
        service.call(request.map(s3s::Body::http_body_unsync)).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(answer.map(Body::new))
}

/// The region in `Credential=KEY/20261123/eu-central-1/s3/aws4_request` of the header, or of the query of a presigned URL.
fn signed_region(request: &Request<Body>) -> Option<String> {
    let header = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scope = match header {
        Some(header) => header.split("Credential=").nth(1)?.split(',').next()?.to_owned(),
        None => request.uri().query()?.split("X-Amz-Credential=").nth(1)?.split('&').next()?.replace("%2F", "/"),
    };
    scope.split('/').nth(2).map(str::to_owned)
}

fn wrong_region(right: &str, wrong: &str, head: bool) -> Result<Response<Body>, Error> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header \
         is malformed; the region '{wrong}' is wrong; expecting '{right}'</Message><Region>{right}</Region></Error>"
    );
    let body = if head { Body::empty() } else { Body::from(text) };
    Ok(Response::builder().status(400).header(http::header::CONTENT_TYPE, "application/xml").body(body)?)
}
