//! Real servers of the system, each a process of its own on a free loopback port with a folder of its own: nginx for WebDAV, OpenSSH for SFTP,
//! pyftpdlib for FTP.
//!
//! A server is there when it takes connections; it ends with the value that stands for it.

mod ftp;
mod ssh;
mod webdav;

pub use ftp::FtpServer;
pub use ssh::SshServer;
pub use webdav::WebdavServer;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A child that is killed with its value.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server on a free port. `command` makes its configuration for a port; who loses the race for a port is started on another.
pub(crate) fn start_on_free_port(command: impl Fn(u16) -> Command) -> (Running, SocketAddr) {
    for _ in 0..10 {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let mut running = Running(command(address.port()).spawn().expect("the server's program starts"));
        if answers(&mut running.0, address) {
            return (running, address);
        }
    }
    panic!("the server started on none of ten ports");
}

/// Waits until the server takes connections. False when it ended instead.
fn answers(child: &mut Child, address: SocketAddr) -> bool {
    let started = Instant::now();
    loop {
        if child.try_wait().expect("the state of a child").is_some() {
            return false;
        }
        if TcpStream::connect(address).is_ok() {
            // Somebody else may listen there: then ours is about to end.
            std::thread::sleep(Duration::from_millis(20));
            return child.try_wait().expect("the state of a child").is_none();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the server does not take connections");
        std::thread::sleep(Duration::from_millis(5));
    }
}
