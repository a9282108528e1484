//! Other people's servers, as processes of their own: started on a free port, ended with what started them.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to begin, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server's process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Served {
    /// Starts a server that chooses its port and says it, at the end of a line that holds `sign`, as a URL.
    pub(crate) fn that_says(mut command: Command, sign: &str) -> (Self, SocketAddr) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let served = Served(child);
        let address = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            line.contains(sign).then(|| line.rsplit('/').next()?.trim().parse().ok())?
        });
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        (served, address.expect("the server says where it listens"))
    }

    /// Starts a server that is told its port, on a free one; another one where somebody else took it meanwhile.
    pub(crate) fn that_is_told(command: impl Fn(SocketAddr) -> Command) -> (Self, SocketAddr) {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "the server does not listen");
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
            let address = free.expect("a free loopback port");
            let mut command = command(address);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut served = Served(command.spawn().expect("the server starts"));
            while began.elapsed() < PATIENCE && matches!(served.0.try_wait(), Ok(None)) {
                if std::net::TcpStream::connect(address).is_ok() {
                    return (served, address);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
