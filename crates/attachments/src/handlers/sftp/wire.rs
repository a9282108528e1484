//! The connection: made when it is needed, shared by all operations, given up when it is lost or nobody used it for a while.
//!
//! A connection that was used before may have ended without our noticing. Each operation begins with a look at its path, which changes
//! nothing: where that meets an old connection's end, it is repeated once on a new one.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use outbound::Client;
use russh::client::{AuthResult, Config, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{MethodKind, Preferred, cipher};
use russh_sftp::client::SftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::StatusCode;
use tokio::sync::Mutex;

use super::server::Server;
use crate::error::{Error, ErrorKind, Operation};
use crate::settings::Secret;

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Requests of one file that are under way at once, of 32 KiB each: a line of a tenth of a second is filled at 20 MB/s.
const UNDER_WAY: usize = 64;

/// The library's own ciphers, those before the others that processors have instructions for.
const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

pub(super) struct Wire {
    client: Client,
    server: Arc<Server>,
    kept: Mutex<Option<Session>>,
}

/// A connection and the file transfer on it.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) sftp: Arc<SftpSession>,
    ssh: Arc<Handle<Doorman>>,
}

impl Wire {
    pub(super) fn new(client: Client, server: Server) -> Self {
        Self { client, server: Arc::new(server), kept: Mutex::new(None) }
    }

    /// A connection, and the length of the file at this path if there is one.
    pub(super) async fn look(&self, operation: Operation, path: &str) -> Result<(Session, Option<u64>), Error> {
        let (session, used) = self.session(operation).await?;
        match self.length(operation, &session, path).await {
            Err(error) if error.kind() == ErrorKind::Interrupted && used => {
                self.forget(&session).await;
                let (session, _) = self.session(operation).await?;
                let length = self.length(operation, &session, path).await?;
                Ok((session, length))
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Timeout) {
                    self.forget(&session).await;
                }
                Err(error)
            }
            Ok(length) => Ok((session, length)),
        }
    }

    /// The length of a file; none when there is none, or it is no file.
    pub(super) async fn length(
        &self,
        operation: Operation,
        session: &Session,
        path: &str,
    ) -> Result<Option<u64>, Error> {
        match session.sftp.metadata(path).await {
            Ok(about) if about.is_dir() => Err(self.told(operation, ErrorKind::Conflict, "", "a folder has this name")),
            Ok(about) => Ok(Some(about.size.unwrap_or_default())),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => Ok(None),
            Err(error) => Err(self.failed(operation, error)),
        }
    }

    async fn session(&self, operation: Operation) -> Result<(Session, bool), Error> {
        let mut kept = self.kept.lock().await;
        if let Some(session) = kept.as_ref().filter(|session| !session.ssh.is_closed()) {
            return Ok((session.clone(), true));
        }
        *kept = None;
        let connecting = self.connect(operation);
        let connected = tokio::time::timeout(self.client.timeouts().connect + self.client.timeouts().idle, connecting);
        let session = connected.await.map_err(|_| self.told(operation, ErrorKind::Timeout, "", ""))??;
        *kept = Some(session.clone());
        Ok((session, false))
    }

    async fn forget(&self, session: &Session) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.ssh, &session.ssh)) {
            *kept = None;
        }
    }

    async fn connect(&self, operation: Operation) -> Result<Session, Error> {
        let url = self.server.identity();
        let tcp = self.client.connect(&self.server.host, self.server.port).await;
        let tcp = tcp.map_err(|error| Error::unconnected(operation, &url, error))?;
        let preferred = Preferred { cipher: Cow::Borrowed(&CIPHERS), ..Preferred::default() };
        let config = Config { inactivity_timeout: Some(IDLE), nodelay: true, preferred, ..Config::default() };
        let doorman = Doorman { server: self.server.clone() };
        let mut ssh = match russh::client::connect_stream(Arc::new(config), tcp, doorman).await {
            Ok(ssh) => ssh,
            Err(Refusal::Key(why)) => return Err(self.told(operation, ErrorKind::Unreachable, "host_key", &why)),
            Err(Refusal::Ssh(error)) => return Err(self.unshaken(operation, error)),
        };
        self.log_in(operation, &mut ssh).await?;
        let broken = |error: russh::Error| self.unshaken(operation, error);
        let channel = ssh.channel_open_session().await.map_err(broken)?;
        channel.request_subsystem(true, "sftp").await.map_err(broken)?;
        let patience = self.client.timeouts().idle.as_secs().max(1);
        let config = russh_sftp::client::Config {
            request_timeout_secs: patience,
            max_packet_len: 128 << 10,
            max_concurrent_reads: UNDER_WAY,
            max_concurrent_writes: UNDER_WAY,
            ..russh_sftp::client::Config::default()
        };
        let begun = SftpSession::new_with_config(channel.into_stream(), config).await;
        let sftp = begun.map_err(|error| {
            let what = "the server lets us in and gives no SFTP: its subsystem sftp must be allowed for this user";
            self.told(operation, ErrorKind::Refused, "", what).caused(error)
        })?;
        Ok(Session { sftp: Arc::new(sftp), ssh: Arc::new(ssh) })
    }

    async fn log_in(&self, operation: Operation, ssh: &mut Handle<Doorman>) -> Result<(), Error> {
        let user = self.server.username.clone();
        let broken = |error: russh::Error| self.unshaken(operation, error);
        if let Some(key) = self.server.key().await? {
            let hash = ssh.best_supported_rsa_hash().await.map_err(broken)?.flatten();
            let key = PrivateKeyWithHashAlg::new(key, hash);
            if ssh.authenticate_publickey(user.clone(), key).await.map_err(broken)?.success() {
                return Ok(());
            }
        }
        if let Some(password) = &self.server.password {
            match ssh.authenticate_password(user.clone(), password.reveal()).await.map_err(broken)? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, .. }
                    if remaining_methods.contains(&MethodKind::KeyboardInteractive) =>
                {
                    if self.answer(ssh, &user, password).await.map_err(broken)? {
                        return Ok(());
                    }
                }
                AuthResult::Failure { .. } => {}
            }
        }
        let what = "the server does not let us in: check username, password and private_key";
        Err(self.told(operation, ErrorKind::Refused, "", what))
    }

    /// Gives the password to whoever asks for it in dialogue.
    async fn answer(&self, ssh: &mut Handle<Doorman>, user: &str, password: &Secret) -> Result<bool, russh::Error> {
        let mut asked = ssh.authenticate_keyboard_interactive_start(user, None::<String>).await?;
        for _ in 0..4 {
            let answers = match asked {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    prompts.iter().map(|_| password.reveal().to_owned()).collect()
                }
            };
            asked = ssh.authenticate_keyboard_interactive_respond(answers).await?;
        }
        Ok(false)
    }

    /// No SSH came about.
    fn unshaken(&self, operation: Operation, error: russh::Error) -> Error {
        let kind = match &error {
            russh::Error::ConnectionTimeout | russh::Error::InactivityTimeout | russh::Error::KeepaliveTimeout => {
                ErrorKind::Timeout
            }
            russh::Error::HUP | russh::Error::Disconnect | russh::Error::SendError | russh::Error::RecvError => {
                ErrorKind::Interrupted
            }
            russh::Error::IO(_) => ErrorKind::Interrupted,
            _ => ErrorKind::Unreachable,
        };
        self.told(operation, kind, "ssh", "no SSH came about with the server").caused(error)
    }

    /// What a failure of the file transfer means.
    pub(super) fn failed(&self, operation: Operation, error: SftpError) -> Error {
        let (kind, code, what) = match &error {
            SftpError::Status(status) => {
                let (kind, help) = match status.status_code {
                    StatusCode::NoSuchFile => (ErrorKind::NotFound, "there is no such file or folder"),
                    StatusCode::PermissionDenied => (ErrorKind::Refused, "check the rights of username in the folder"),
                    StatusCode::OpUnsupported => (ErrorKind::Rejected, "the server cannot do this"),
                    StatusCode::NoConnection | StatusCode::ConnectionLost => (ErrorKind::Interrupted, ""),
                    _ => (ErrorKind::Unavailable, ""),
                };
                let said = [status.error_message.as_str(), help].join(": ");
                (kind, status.status_code.to_string(), said.trim_matches([':', ' ']).to_owned())
            }
            SftpError::Timeout => (ErrorKind::Timeout, String::new(), String::new()),
            SftpError::Limited(_) => (ErrorKind::Rejected, String::new(), "more than the server takes at once".into()),
            _ => (ErrorKind::Interrupted, String::new(), "the connection was lost".into()),
        };
        self.told(operation, kind, &code, &what).caused(error)
    }

    /// The same for what was read from or written to a file.
    pub(super) fn broken(&self, operation: Operation, error: io::Error) -> Error {
        self.breakage(operation)(error)
    }

    pub(super) fn breakage(&self, operation: Operation) -> impl Fn(io::Error) -> Error + Clone + Send + Sync + 'static {
        let url = self.server.identity();
        move |error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<SftpError>());
            let kind = match (inner, error.kind()) {
                (_, io::ErrorKind::TimedOut) | (Some(SftpError::Timeout), _) => ErrorKind::Timeout,
                (Some(SftpError::Status(_)), _) => ErrorKind::Unavailable,
                (Some(_), _) => ErrorKind::Interrupted,
                // A status whose number the library forgot.
                (None, io::ErrorKind::Other) => ErrorKind::Unavailable,
                (None, _) => ErrorKind::Interrupted,
            };
            Error::told(operation, kind, &url, None, "the transfer failed").caused(error)
        }
    }

    pub(super) fn told(&self, operation: Operation, kind: ErrorKind, code: &str, message: &str) -> Error {
        let code = Some(code.to_owned()).filter(|code| !code.is_empty());
        Error::told(operation, kind, &self.server.identity(), code, message)
    }
}

/// Looks at the key that the server shows.
pub(super) struct Doorman {
    server: Arc<Server>,
}

/// Why no connection came about.
#[derive(Debug)]
pub(super) enum Refusal {
    Key(String),
    Ssh(russh::Error),
}

impl From<russh::Error> for Refusal {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl russh::client::Handler for Doorman {
    type Error = Refusal;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Refusal> {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                self.server.judge(key).map(|()| true).map_err(Refusal::Key)
            }
            PublicKeyOrCertificate::Certificate(_) => {
                Err(Refusal::Key("the server shows a certificate, and host_key is the fingerprint of a key".into()))
            }
        }
    }
}
