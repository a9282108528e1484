//! Who answers in these tests: a desk that knows a few numbers, sends back what it hears, and remembers how each call went.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sip::sdp::{Direction, Menu};
use sip::{
    About, Agent, Answerer, Call, Census, Dial, End, Invitation, Known, Listen, Password, Rejection, Settings,
    Transport, Unavailable,
};
use tokio::sync::mpsc;
use voice::Codec;

/// A call that is over.
#[derive(Debug, Clone)]
pub struct Past {
    pub about: About,
    pub end: End,
    /// Packets that came.
    pub heard: usize,
    pub keys: String,
}

/// Answers 1001 (echo), hangs up on 1002 after a moment, rejects others by number.
pub struct Desk {
    pub trusted: AtomicBool,
    pub password: Option<&'static str>,
    pub past: Mutex<Vec<Past>>,
}

impl Desk {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { trusted: AtomicBool::new(true), password: None, past: Mutex::default() })
    }

    /// Trusts nobody by the address, but `sbc` with this password.
    pub fn guarded(password: &'static str) -> Arc<Self> {
        Arc::new(Self { trusted: AtomicBool::new(false), password: Some(password), past: Mutex::default() })
    }

    pub fn past(&self) -> Vec<Past> {
        self.past.lock().unwrap().clone()
    }
}

#[async_trait]
impl Answerer for Desk {
    fn trusts(&self, source: IpAddr) -> bool {
        source.is_loopback() && self.trusted.load(Ordering::Relaxed)
    }

    async fn knows_anybody(&self) -> bool {
        self.password.is_some()
    }

    async fn identify(&self, realm: &str, username: &str) -> Result<Option<Known>, Unavailable> {
        if username == "later" {
            return Err(Unavailable);
        }
        let known = self.password.filter(|_| username == "sbc" && realm == "acme.example");
        Ok(known.map(|password| Known { who: "the border".to_owned(), password: Password::new(password) }))
    }

    async fn take(&self, invitation: Invitation) {
        let about = (**invitation.about()).clone();
        match about.target.user.as_str() {
            "1001" | "1002" => {}
            "busy" => return invitation.reject(Rejection::Busy(Duration::from_secs(7))),
            "off" => return invitation.reject(Rejection::Unavailable),
            "slow" => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                return invitation.reject(Rejection::Failed);
            }
            "lost" => return drop(invitation),
            _ => return invitation.reject(Rejection::NotFound),
        }
        let Ok(call) = invitation.accept(&menu()).await else { return };
        let (rtp, mut heard, mut keys) = (call.rtp(), 0, String::new());
        let mut buffer = [0; 2_000];
        let stop = tokio::time::sleep(Duration::from_secs(if about.target.user == "1002" { 1 } else { 3_600 }));
        tokio::pin!(stop);
        let mut hangs_up = false;
        let end = loop {
            tokio::select! {
                end = call.ended() => break end,
                key = call.key() => keys.push(key),
                () = &mut stop => {
                    hangs_up = true;
                    break End::OurHangup;
                }
                Ok(length) = rtp.receive(&mut buffer) => {
                    heard += 1;
                    rtp.send(&buffer[..length]).await;
                }
            }
        };
        if hangs_up {
            call.hang_up().await;
        }
        self.past.lock().unwrap().push(Past { about, end, heard, keys });
    }
}

/// G.711 and keys.
pub fn menu() -> Menu {
    Menu { codecs: vec![Codec::Pcmu, Codec::Pcma], ptime: 20, direction: Direction::Both }
}

pub fn on(transport: Transport) -> Listen {
    Listen { transport, address: "127.0.0.1:0".parse().unwrap() }
}

/// An agent that answers by this desk over UDP and TCP.
pub async fn answering(desk: Arc<Desk>) -> Agent {
    agent(vec![on(Transport::Udp), on(Transport::Tcp)], desk).await
}

/// An agent whose timers run ten times as fast as others': tests of what nobody answers need not take half a minute.
async fn agent(listen: Vec<Listen>, desk: Arc<Desk>) -> Agent {
    let round_trip = Duration::from_millis(50);
    Agent::start(Settings { listen, round_trip, ..Settings::default() }, desk).await.unwrap()
}

/// A telephone.
pub async fn telephone() -> Agent {
    agent(vec![on(Transport::Udp)], Desk::new()).await
}

/// A call to a number of this agent.
pub fn to(agent: &Agent, number: &str, transport: Transport) -> Dial {
    let listen = agent.listens().iter().find(|listen| listen.transport == transport).unwrap();
    Dial {
        to: format!("sip:{number}@acme.example"),
        from: "\"Dana Fox\" <sip:+14155550123@carrier.example>".into(),
        proxy: Some(listen.address),
        transport: Some(transport),
        credentials: None,
        tls: None,
        protected: false,
    }
}

pub async fn dial(from: &Agent, dial: &Dial) -> Result<Call, sip::Error> {
    from.dial(dial, &menu(), mpsc::unbounded_channel().0).await
}

/// Waits until something holds. The patience is for a loaded machine, and counted in looks: a machine that stood still has not been waiting.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..5_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

/// Waits until nothing of any call is left.
pub async fn until_idle(agent: &Agent) {
    until("nothing of any call is left", || agent.census() == Census::default()).await;
}
