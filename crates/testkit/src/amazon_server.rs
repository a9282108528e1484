//! What Amazon has beside buckets, on the wire: a security token service that checks signatures and external ids, and the metadata of a machine.
//!
//! Made after Amazon's documentation. The temporary keys that it gives are those of a bucket's server, with a token beside them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use http::{Request, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::Faults;
use crate::answers::{failed, pairs, said};
use crate::wire::{Answerer, Error, Listener, lock};

/// The keys of whoever may ask for roles.
const OWN: (&str, &str) = ("AKIAPLATFORM", "hunter2-platform-secret");
/// What stands beside temporary keys.
const SESSION: &str = "hunter2-session/token==";
/// What the machine's metadata want to see.
const METADATA: &str = "metadata-token";

/// The service on a loopback port.
#[derive(Debug)]
pub struct AmazonServer {
    listener: Listener,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The external id that a role demands.
    roles: BTreeMap<String, String>,
    gives: (String, String),
    /// The role and the external id of each request that was granted.
    taken: Vec<(String, String)>,
}

impl AmazonServer {
    /// Starts one whose temporary keys are these.
    pub fn start(key: &str, secret: &str) -> Self {
        let gives = (key.to_owned(), secret.to_owned());
        let state = Arc::new(Mutex::new(State { gives, ..State::default() }));
        let kept = state.clone();
        let answerer: Answerer = Arc::new(move |request| {
            let kept = kept.clone();
            Box::pin(async move { answer(&kept, request).await })
        });
        let listener = Listener::start((Ipv4Addr::LOCALHOST, 0).into(), answerer).expect("a free loopback port");
        Self { listener, state }
    }

    /// Its URL: of the token service and of the machine's metadata.
    pub fn url(&self) -> String {
        format!("http://{}/", self.listener.address())
    }

    /// The access key id of whoever may ask for roles.
    pub fn access_key(&self) -> &'static str {
        OWN.0
    }

    /// The secret of whoever may ask for roles.
    pub fn secret_key(&self) -> &'static str {
        OWN.1
    }

    /// What stands beside temporary keys.
    pub fn session_token(&self) -> &'static str {
        SESSION
    }

    /// A role that may be taken on by who says this external id.
    pub fn trust(&self, role: &str, external_id: &str) {
        lock(&self.state).roles.insert(role.to_owned(), external_id.to_owned());
    }

    /// The roles that were taken on, in order, each with the external id.
    pub fn taken(&self) -> Vec<(String, String)> {
        lock(&self.state).taken.clone()
    }

    /// The script of faults and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.listener.faults
    }
}

async fn answer(state: &Mutex<State>, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await?;
    if let Some(path) = head.uri.path().strip_prefix("/latest/") {
        return metadata(&head, path);
    }
    if let Err(code) = signed(&head, &body) {
        return refused(code, "The request signature we calculated does not match the signature you provided.");
    }
    let asked = pairs(&String::from_utf8_lossy(&body));
    let get = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let mut state = lock(state);
    let (role, external_id) = (get("RoleArn").to_owned(), get("ExternalId").to_owned());
    if get("Action") != "AssumeRole" || get("Version") != "2011-06-15" || get("RoleSessionName").is_empty() {
        return refused("InvalidAction", "Could not find operation.");
    }
    if state.roles.get(&role) != Some(&external_id) {
        return refused(
            "AccessDenied",
            &format!("User is not authorized to perform: sts:AssumeRole on resource: {role}"),
        );
    }
    state.taken.push((role, external_id));
    let (key, secret) = &state.gives;
    let xml = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROA:s\
         </AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{SESSION}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
         </AssumeRoleResponse>"
    );
    Ok(Response::builder().header("content-type", "text/xml").body(Body::from(xml))?)
}

fn refused(code: &str, message: &str) -> Result<Response<Body>, Error> {
    let xml = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    );
    Ok(Response::builder().status(403).header("content-type", "text/xml").body(Body::from(xml))?)
}

fn metadata(head: &Parts, path: &str) -> Result<Response<Body>, Error> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let plain = |text: &str| Ok(Response::new(Body::from(text.to_owned())));
    match (head.method.as_str(), path) {
        ("PUT", "api/token") if text("x-aws-ec2-metadata-token-ttl-seconds").is_some() => plain(METADATA),
        _ if text("x-aws-ec2-metadata-token") != Some(METADATA) => failed(401),
        ("GET", "meta-data/iam/security-credentials/") => plain("platform-role"),
        ("GET", "meta-data/iam/security-credentials/platform-role") => said(
            200,
            &json!({"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": OWN.0, "SecretAccessKey": OWN.1, "Token": SESSION, "Expiration": "2099-01-01T00:00:00Z"}),
        ),
        _ => failed(404),
    }
}

/// Whether a request is signed (version 4) by who may ask; the word for it where it is not.
fn signed(head: &Parts, body: &[u8]) -> Result<(), &'static str> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let field = |name: &str| {
        let fields = text("authorization").strip_prefix("AWS4-HMAC-SHA256 ").unwrap_or_default().split(',');
        fields.filter_map(|field| field.trim().split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let (scope, names) = (field("Credential").unwrap_or_default(), field("SignedHeaders").unwrap_or_default());
    let Some((key, scope)) = scope.split_once('/').filter(|(key, _)| *key == OWN.0) else {
        return Err("InvalidClientTokenId");
    };
    let digest = hex::encode(Sha256::digest(body));
    let parts: Vec<&str> = scope.split('/').collect();
    let [date, region, "sts", "aws4_request"] = parts[..] else { return Err("SignatureDoesNotMatch") };
    let covers = |name: &str| names.split(';').any(|signed| signed == name);
    if text("x-amz-content-sha256") != digest || !covers("host") || !covers("x-amz-date") || key != OWN.0 {
        return Err("SignatureDoesNotMatch");
    }
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", text(name).trim())).collect();
    let canonical = format!("{}\n{}\n\n{headers}\n{names}\n{digest}", head.method, head.uri.path());
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        text("x-amz-date"),
        hex::encode(Sha256::digest(canonical.as_bytes()))
    );
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let start = format!("AWS4{}", OWN.1).into_bytes();
    let signing = [date, region, "sts", "aws4_request"].iter().fold(start, |key, part| mac(&key, part));
    let signature = hex::encode(mac(&signing, &to_sign));
    if field("Signature") == Some(&signature) { Ok(()) } else { Err("SignatureDoesNotMatch") }
}
