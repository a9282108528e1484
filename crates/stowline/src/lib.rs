//! stowline keeps what telephony platforms record where their customers want it.
//!
//! The program alone knows HTTP, configuration and all the other crates. [`Server::start`] is the wiring, one page, in order; `app` holds
//! the use cases, `api` puts them on the wire, `jobs` carries out what was promised, `sup` is the operator's door.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use attachments::{Amazon, Keys, Machine, Ways};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

pub mod api;
pub mod app;
pub mod config;
pub mod id;
pub mod jobs;
pub mod listener;
pub mod openapi;
pub mod reference;
pub mod rotation;
pub mod seal;
pub mod sup;
pub mod telemetry;
pub mod telephony;
pub mod time;

use app::App;
use config::Config;
use telephony::Telephony;

/// A server that answers.
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    store_proxy: Option<SocketAddr>,
    workers: delivery::Workers,
    telephony: Option<Telephony>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    _lock: std::fs::File,
}

impl Server {
    /// Opens everything in order and begins to answer.
    ///
    /// # Errors
    /// With the reason in words: the data folder is in use, the key is missing, the address is taken, …
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        telemetry::record();
        // First: other tasks must not find the process without it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind(config.server.listen).await.with_context(|| {
            format!(
                "cannot listen on {}: is another program there? Choose another address with --listen",
                config.server.listen
            )
        })?;
        let address = listener.local_addr()?;
        make_folder(&config.server.data_dir)?;
        let lock = lock(&config.server.data_dir)?;
        config.api.find_public_url(address);
        let (app, promised) = open(config).await?;
        let app = Arc::new(app);
        tidy(&app, promised).await?;
        // Before calls begin new ones.
        let unfinished = app.spool.unfinished().map_err(described)?;
        let runner = Arc::new(jobs::Runner { app: app.clone() });
        let workers = delivery::Workers::start(app.journal.clone(), app.spool.clone(), runner, policy(&app.config));
        let telephony = Telephony::start(&app).await?;
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(sup::serve(app.clone(), stopping.clone())?);
        tasks.spawn(telemetry::keep_up(stopping.clone()));
        tasks.spawn(app::arrivals::forget(app.clone(), stopping.clone()));
        tasks.spawn(app::intake::settle(app.clone(), stopping.clone()));
        tasks.spawn(app::promises::keep(app.clone(), stopping.clone()));
        tasks.spawn(tidy_spool(app.clone(), stopping.clone()));
        tasks.spawn(app::tokens::forget(app.clone(), stopping.clone()));
        tasks.spawn(app::retention::sweep(app.clone(), stopping.clone()));
        tasks.spawn(app::spoken::finish_all(app.clone(), unfinished, stopping.clone()));
        tasks.spawn(listener::serve(app.clone(), listener, stopping.clone()));
        let mut store_proxy = None;
        if let Some(address) = app.config.ingest.store_proxy {
            let (address, serving) = listen_for_kazoo(app.clone(), address, stopping.clone()).await?;
            store_proxy = Some(address);
            tasks.spawn(serving);
        }
        tasks.close();
        tracing::info!(address = %address, data_dir = %app.config.server.data_dir.display(), version = env!("CARGO_PKG_VERSION"), "stowline answers");
        Ok(Self { app, address, store_proxy, workers, telephony, stopping, tasks, _lock: lock })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers the switches of a Kazoo, when it does.
    pub fn store_proxy(&self) -> Option<SocketAddr> {
        self.store_proxy
    }

    /// Where it takes calls.
    pub fn sip_addresses(&self) -> &[sip::Listen] {
        self.telephony.as_ref().map_or(&[], Telephony::listens)
    }

    /// What it consists of.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Takes no more requests, lets what runs finish within the configured time, and stops. What is unfinished is resumed at the next start.
    pub async fn stop(self) {
        let deadline = self.app.config.server.drain_timeout;
        tracing::info!("stopping: calls, requests and deliveries that run are finished first");
        self.stopping.cancel();
        if let Some(telephony) = self.telephony {
            telephony.stop(deadline).await;
        }
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!("requests still ran after the drain time and were cut");
        }
        self.workers.drain(deadline).await;
        tracing::info!("stopped");
    }
}

fn policy(config: &Config) -> delivery::Policy {
    delivery::Policy {
        backoff_min: config.delivery.backoff_min,
        backoff_max: config.delivery.backoff_max,
        concurrency: config.delivery.concurrency,
        concurrency_per_lane: config.delivery.concurrency_per_handler,
        ..delivery::Policy::default()
    }
}

/// The listener for the switches of a Kazoo: where it is, and what serves it.
async fn listen_for_kazoo(
    app: Arc<App>,
    address: SocketAddr,
    stopping: CancellationToken,
) -> anyhow::Result<(SocketAddr, impl Future<Output = ()>)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for the store proxy (ingest.store_proxy)"))?;
    let address = listener.local_addr()?;
    tracing::info!(address = %address, "the store proxy answers");
    let service = api::store_proxy::service(app).into_make_service_with_connect_info::<SocketAddr>();
    let serving = async move {
        let serve = axum::serve(listener, service).with_graceful_shutdown(async move { stopping.cancelled().await });
        if let Err(error) = serve.await {
            tracing::error!(error = %error, "the store proxy stopped");
        }
    };
    Ok((address, serving))
}

/// Opens the data folder and what is in it; answers also what an earlier run promised and may not have kept.
async fn open(config: Config) -> anyhow::Result<(App, Vec<delivery::Noted>)> {
    let folder = config.server.data_dir.clone();
    let keys = Arc::new(seal::Keys::open(&config.key_source(), &folder)?);
    let intake = folder.join("intake");
    make_folder(&intake)?;
    let documents = connections::Embedded::open(&folder.join("documents.db")).map_err(described)?;
    let journal =
        delivery::Journal::open(&folder.join("journal.db"), Arc::new(delivery::SystemClock)).map_err(described)?;
    let settled = app::promises::settled(&documents).await.map_err(described)?;
    let promised = |note: &[u8]| app::promises::epoch_of(note) > settled;
    let (spool, promised) = delivery::Spool::open_with_notes(&folder.join("spool"), &promised).map_err(described)?;
    let spool = spool.min_free(config.spool.min_free);
    let last = promised.iter().map(|noted| app::promises::epoch_of(&noted.note)).max().unwrap_or(settled);
    let kept =
        delivery::Spool::of_files(&folder.join("attachments")).map_err(described)?.min_free(config.spool.min_free);
    let policy = outbound::Policy::new(config.egress.allow.clone()).with_folders(config.egress.folders.clone());
    // The pool gives a transfer twice this before it counts as stuck: what the option promises.
    let timeouts = outbound::Timeouts { idle: config.delivery.stall_timeout / 2, ..outbound::Timeouts::default() };
    let client =
        outbound::Client::with_resolvers(Arc::new(policy), timeouts, &config.egress.resolvers).map_err(described)?;
    let schemas = plan::schema::Schemas::new(attachments::schemas().iter().map(|(name, schema)| (*name, schema)))
        .map_err(described)?;
    let grants = app::oauth::grants::Grants::new(documents.clone(), keys.clone(), client.clone(), config.oauth.clone());
    let ways = Ways { client, grants: Arc::new(grants.clone()), amazon: Arc::new(amazon(&config.aws)?) };
    let app = App {
        node: node(&keys),
        intake: Arc::new(app::intake::Intake::open(&intake, &keys).map_err(described)?),
        keys,
        documents,
        journal: Arc::new(journal),
        promises: app::promises::Promises::after(last),
        spool: Arc::new(spool),
        kept: Arc::new(kept),
        handlers: attachments::Pool::new(ways),
        grants,
        health: app::health::Health::default(),
        schemas,
        forms: app::forms::Forms::compile()?,
        dataplans: app::dataplans::Dataplans::default(),
        tree: app::tree::Tree::default(),
        passwords: app::passwords::Passwords::default(),
        attempts: app::attempts::Attempts::new(&config.login),
        limits: app::rates::Limits::new(&config.api),
        knocks: app::knocks::Knocks::default(),
        revoked: app::tokens::Revoked::default(),
        signed: app::tokens::Signed::default(),
        config,
    };
    Ok((app, promised))
}

/// Who we are at Amazon.
fn amazon(config: &config::Aws) -> anyhow::Result<Amazon> {
    let url = |text: &str| Url::parse(text).with_context(|| format!("aws: {text:?} is no URL"));
    let keys = match (config.access_key_id.as_str(), config.secret_access_key.expose()) {
        ("", "") => None,
        ("", _) | (_, "") => anyhow::bail!("aws.access_key_id and aws.secret_access_key go together"),
        (key, secret) => {
            Some(Keys { key: outbound::Secret::new(key), secret: outbound::Secret::new(secret), session: None })
        }
    };
    let machine = match config.instance_roles {
        false => None,
        true => {
            let url = url(&config.metadata_url)?;
            let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
            let address = address.context("aws.metadata_url has no address of the machine's own network")?;
            // A way of its own, which leads nowhere else; the tenants' handlers do not get there by it.
            let policy = outbound::Policy::new(vec![address.into()]);
            Some(Machine { client: outbound::Client::new(Arc::new(policy)).map_err(described)?, url })
        }
    };
    let token_service = Some(config.sts_url.as_str()).filter(|text| !text.is_empty()).map(url).transpose()?;
    Ok(Amazon { keys, token_service, machine })
}

/// Carries the causes of an error into its text: `anyhow` shows them only where it built the chain itself.
pub(crate) fn described(error: impl std::error::Error + 'static) -> anyhow::Error {
    anyhow::anyhow!(api::error::chain(&error))
}

/// Names the installation without telling anything of its host.
fn node(keys: &seal::Keys) -> String {
    keys.digest(&["node"])[..22].to_owned()
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let make = || -> std::io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The folder itself is an entry of its parent: without this a power cut could take it, with all that is in it.
        for above in folder.ancestors().skip(1).take(3).filter(|above| above.is_dir()) {
            std::fs::File::open(above)?.sync_all()?;
        }
        Ok(())
    };
    make().with_context(|| format!("cannot make the data folder {}", folder.display()))
}

/// One server a data folder.
pub(crate) fn lock(folder: &Path) -> anyhow::Result<std::fs::File> {
    let file = folder.join("lock");
    let opened = std::fs::File::options().create(true).write(true).truncate(false).open(&file)?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(_) => anyhow::bail!("another stowline runs on the data folder {}", folder.display()),
    }
}

/// How often the spool's log is looked after.
const TIDY_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// Sees to it, now and then, that a few payloads which wait for long do not keep the room of many that have gone.
async fn tidy_spool(app: Arc<App>, stopping: CancellationToken) {
    let mut rounds = tokio::time::interval(TIDY_EVERY);
    while stopping.run_until_cancelled(rounds.tick()).await.is_some() {
        match rehouse(&app).await {
            Ok(0) => {}
            Ok(moved) => tracing::debug!(payloads = moved, "payloads that wait for long have files of their own now"),
            Err(error) => tracing::warn!(error = %described(error), "the spool's log keeps more room than it needs"),
        }
    }
}

async fn rehouse(app: &App) -> Result<usize, app::Error> {
    let stragglers = app.spool.stragglers();
    if stragglers.is_empty() {
        return Ok(0);
    }
    // What their records say beside the bytes goes.
    app::promises::settle(app).await?;
    app.spool.rehouse(stragglers).await.map_err(app::Error::spool)
}

/// Puts in order what an earlier run left: promises, reservations, and files that nothing refers to.
async fn tidy(app: &App, promised: Vec<delivery::Noted>) -> anyhow::Result<()> {
    app::promises::replay(app, promised).await?;
    app::reservations::reconcile(app).await?;
    app::tree::finish(app).await?;
    app::tokens::load(app).await?;
    // A consent may have been given again, and nobody told of it before the end.
    app.journal.redrive_parked(app::oauth::CONSENT_NEEDED).await.map_err(described)?;
    let referenced = app.journal.payloads().await.map_err(described)?;
    let removed = app.spool.sweep(&referenced).map_err(described)?;
    app.kept.sweep_partial().map_err(described)?;
    if removed > 0 {
        tracing::info!(files = removed, "removed files of deposits that were never answered");
    }
    Ok(())
}
