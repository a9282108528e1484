//! Access at Amazon that no tenant's settings hold: who we are there, and the roles that we take on.
//!
//! The platform has keys of its own, or those of the machine it runs on. With them it asks the security token service for temporary keys of a
//! role that a customer allows it, always with an external id: whoever names another's role is refused, because the id is the account's
//! and nobody chooses it ([`Issued`]). Keys are never in an error.

mod signature;

use std::fmt;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use outbound::{Body, Client, Request, Secret};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use url::Url;

use self::signature::Signature;
use crate::asking::{Refusal, ask};
use crate::error::{Error, ErrorKind, Operation};
use crate::settings::{Settings, wrong};
use crate::xml::Answer;

/// How long temporary keys are asked for.
const SESSION: Duration = Duration::from_secs(3600);
/// How long before their end they are not used any more.
const MARGIN: Duration = Duration::from_secs(300);
/// How long the machine's keys are kept: it gives them with more than that left.
const MACHINE: Duration = Duration::from_secs(240);
/// The setting that only the program writes.
const ISSUED: &str = "issued";

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const LIFETIME: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// Keys that sign requests.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The access key id.
    pub key: Secret,
    /// The secret access key.
    pub secret: Secret,
    /// What stands beside them where they are temporary.
    pub session: Option<Secret>,
}

/// What the program says of the document that an entry stands in. Settings cannot say it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The external id of the account that the document belongs to.
    pub external_id: String,
    /// Whether it is the system's own document.
    pub system: bool,
}

impl Issued {
    /// Writes it into the settings of an entry, over whatever they say, where its kind asks for it.
    pub fn give(&self, kind: &str, settings: &mut Map<String, Value>) {
        settings.remove(ISSUED);
        if kind == "s3" && (settings.contains_key("role_arn") || settings.contains_key("instance_role")) {
            settings.insert(ISSUED.into(), json!({"external_id": self.external_id, "system": self.system}));
        }
    }

    fn read(settings: &Map<String, Value>) -> Option<Self> {
        let issued = settings.get(ISSUED)?;
        Some(Self { external_id: issued["external_id"].as_str()?.to_owned(), system: issued["system"] == true })
    }
}

/// Who we are at Amazon. Nobody, by default.
#[derive(Debug, Default)]
pub struct Amazon {
    /// Our own keys.
    pub keys: Option<Keys>,
    /// The security token service, where it is not Amazon's own.
    pub token_service: Option<Url>,
    /// The machine's role, where it may be used.
    pub machine: Option<Machine>,
}

/// The role of the machine that we run on.
#[derive(Debug)]
pub struct Machine {
    /// A client that reaches the machine's metadata and nothing else.
    pub client: Client,
    /// Where these are.
    pub url: Url,
}

/// Whose keys sign the requests to a bucket.
pub(crate) enum Access {
    /// Those in the settings.
    Stored(Keys),
    /// Those of a role that is taken on.
    Role { arn: String, external_id: String, kept: Kept },
    /// Those of the machine.
    Machine { kept: Kept },
}

/// Temporary keys, and until when they are used.
type Kept = Mutex<Option<(Keys, Instant)>>;

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stored(_) => "stored keys",
            Self::Role { .. } => "a role",
            Self::Machine { .. } => "the machine's role",
        })
    }
}

impl Access {
    pub(crate) fn read(all: &Map<String, Value>, amazon: &Amazon) -> Result<Self, Error> {
        let settings = Settings(all);
        let issued = Issued::read(all);
        let keyed = settings.text("key")?.is_some() || settings.text("secret")?.is_some();
        let other = ["role_arn", "instance_role"].into_iter().find(|name| keyed && all.contains_key(*name));
        if let Some(other) = other {
            return Err(wrong(other, "stands beside a key: one of them, please"));
        }
        if settings.flag("instance_role")? {
            let may = issued.is_some_and(|issued| issued.system) && amazon.machine.is_some();
            let machine = Self::Machine { kept: Kept::default() };
            let why = "is for the system's own document, where [aws] instance_roles allows it";
            return if may { Ok(machine) } else { Err(wrong("instance_role", why)) };
        }
        if let Some(arn) = settings.text("role_arn")? {
            if amazon.keys.is_none() && amazon.machine.is_none() {
                return Err(wrong("role_arn", "needs an access of the platform's own: see [aws] in its configuration"));
            }
            let issued = issued.ok_or_else(|| wrong("role_arn", "needs an account whose role it is"))?;
            return Ok(Self::Role { arn: arn.to_owned(), external_id: issued.external_id, kept: Kept::default() });
        }
        let session = settings.text("session_token")?.map(Secret::new);
        Ok(Self::Stored(Keys { key: settings.secret("key")?, secret: settings.secret("secret")?, session }))
    }

    /// The keys of now. Whoever comes while they are renewed waits for it.
    pub(crate) async fn keys(
        &self,
        amazon: &Amazon,
        client: &Client,
        operation: Operation,
        region: &str,
    ) -> Result<Keys, Error> {
        let mut kept = match self {
            Self::Stored(keys) => return Ok(keys.clone()),
            Self::Role { kept, .. } | Self::Machine { kept } => kept.lock().await,
        };
        if let Some((keys, _)) = kept.as_ref().filter(|(_, until)| Instant::now() < *until) {
            return Ok(keys.clone());
        }
        let (keys, lasts) = match self {
            Self::Role { arn, external_id, .. } => {
                (amazon.assume(client, operation, region, arn, external_id).await?, SESSION - MARGIN)
            }
            _ => (amazon.of_machine(operation).await?, MACHINE),
        };
        *kept = Some((keys.clone(), Instant::now() + lasts));
        Ok(keys)
    }

    /// Forgets keys that were refused; whether others can be had.
    pub(crate) async fn forget(&self) -> bool {
        match self {
            Self::Stored(_) => false,
            Self::Role { kept, .. } | Self::Machine { kept } => {
                *kept.lock().await = None;
                true
            }
        }
    }
}

impl Amazon {
    /// Temporary keys of a role.
    async fn assume(
        &self,
        client: &Client,
        operation: Operation,
        region: &str,
        arn: &str,
        external_id: &str,
    ) -> Result<Keys, Error> {
        let own = match &self.keys {
            Some(keys) => keys.clone(),
            None => self.of_machine(operation).await?,
        };
        let url = self.token_service(region, operation)?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleSessionName", "stowline")])
            .extend_pairs([("RoleArn", arn), ("ExternalId", external_id)])
            .append_pair("DurationSeconds", &SESSION.as_secs().to_string())
            .finish();
        let mut request = Request::new(Method::POST, url);
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        request.headers.insert(header::CONTENT_TYPE, content_type);
        let digest = hex::encode(Sha256::digest(&form));
        request.body = Body::Bytes(form.into());
        let signing = Signing { service: "sts", region, keys: &own, operation };
        request.headers = signing.headers(&request.method, &request.url, request.headers.clone(), &digest)?;
        let answer = match ask(client, operation, request).await? {
            Ok(answer) => answer.bytes().await?,
            Err(refusal) => return Err(refused(&refusal)),
        };
        let told = Answer::leaves(&answer);
        let text = |name: &str| told.get(name).map(Secret::new);
        match (text("AccessKeyId"), text("SecretAccessKey"), text("SessionToken")) {
            (Some(key), Some(secret), session @ Some(_)) => Ok(Keys { key, secret, session }),
            _ => Err(Error::new(operation, ErrorKind::Rejected, "the security token service gave no keys")),
        }
    }

    fn token_service(&self, region: &str, operation: Operation) -> Result<Url, Error> {
        if let Some(url) = &self.token_service {
            return Ok(url.clone());
        }
        let end = if region.starts_with("cn-") { ".cn" } else { "" };
        let unfit = |_| Error::new(operation, ErrorKind::Misconfigured, "the region makes no URL");
        Url::parse(&format!("https://sts.{region}.amazonaws.com{end}/")).map_err(unfit)
    }

    /// The keys of the role that the machine has.
    async fn of_machine(&self, operation: Operation) -> Result<Keys, Error> {
        let none = || Error::new(operation, ErrorKind::Misconfigured, "the machine's role may not be used");
        let machine = self.machine.as_ref().ok_or_else(none)?;
        let token = machine.ask(operation, Method::PUT, "latest/api/token", None).await?;
        let roles = machine.ask(operation, Method::GET, "latest/meta-data/iam/security-credentials/", Some(&token));
        let role = roles.await?.lines().next().unwrap_or_default().trim().to_owned();
        let path = format!("latest/meta-data/iam/security-credentials/{role}");
        let told = machine.ask(operation, Method::GET, &path, Some(&token)).await?;
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        let text = |name: &str| told[name].as_str().map(Secret::new);
        match (text("AccessKeyId"), text("SecretAccessKey"), text("Token")) {
            (Some(key), Some(secret), session) => Ok(Keys { key, secret, session }),
            _ => Err(Error::new(operation, ErrorKind::Refused, "the machine has no role")),
        }
    }
}

impl Machine {
    async fn ask(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        token: Option<&str>,
    ) -> Result<String, Error> {
        let unfit = |_| Error::new(operation, ErrorKind::Misconfigured, "the machine's metadata have no such address");
        let mut request = Request::new(method, self.url.join(path).map_err(unfit)?);
        match token {
            Some(token) => request.headers.extend(HeaderValue::from_str(token).ok().map(|token| (TOKEN, token))),
            None => drop(request.headers.insert(LIFETIME, HeaderValue::from_static("300"))),
        }
        match ask(&self.client, operation, request).await? {
            Ok(answer) => Ok(String::from_utf8_lossy(&answer.bytes().await?).into_owned()),
            Err(refusal) => Err(refusal.error(ErrorKind::of_status(refusal.status), None, None)),
        }
    }
}

fn refused(refusal: &Refusal) -> Error {
    let told = Answer::leaves(&refusal.body);
    let code = told.get("Code").map(str::to_owned);
    let kind = match code.as_deref() {
        Some("Throttling" | "ThrottlingException" | "RequestLimitExceeded") => ErrorKind::Throttled,
        _ => ErrorKind::of_status(refusal.status),
    };
    let error = refusal.error(kind, code, told.get("Message").map(str::to_owned));
    if kind == ErrorKind::Refused {
        error.because("is the role's trust for our account and your external id?")
    } else {
        error
    }
}

/// What a request is signed with and for.
pub(crate) struct Signing<'a> {
    pub(crate) service: &'static str,
    pub(crate) region: &'a str,
    pub(crate) keys: &'a Keys,
    pub(crate) operation: Operation,
}

impl Signing<'_> {
    fn unfit(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::new(self.operation, ErrorKind::Misconfigured, "the request cannot be signed").caused(source.into())
    }

    /// The headers of a request, signed. `digest` is its body's SHA-256, in hexadecimal.
    pub(crate) fn headers(
        &self,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
        digest: &str,
    ) -> Result<HeaderMap, Error> {
        self.signature().headers(method, url, &mut headers, digest).map_err(|error| self.unfit(error))?;
        Ok(headers)
    }

    /// A URL that lets in whoever has it, for a while.
    pub(crate) fn url(&self, method: &Method, url: &Url, expires: Duration) -> Url {
        self.signature().url(method, url, expires)
    }

    fn signature(&self) -> Signature<'_> {
        Signature::now(self.keys, self.region, self.service)
    }
}
