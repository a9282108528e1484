//! nginx as a WebDAV server with basic authentication, its files in a folder.

use super::{Running, start_on_free_port};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// nginx with its WebDAV module, without PROPFIND and locks. Folders are not made by an upload: MKCOL is needed.
#[derive(Debug)]
pub struct WebdavServer {
    _running: Running,
    address: SocketAddr,
    folder: TempDir,
}

impl WebdavServer {
    /// Starts it for one user, with an empty folder. `None` where there is no nginx; `what` names the tests that then do not run.
    pub fn start(user: &str, password: &str, what: &str) -> Option<Self> {
        let nginx = crate::installed::path_of("nginx", what)?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["files", "body"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder for nginx");
        }
        std::fs::write(folder.path().join("users"), format!("{user}:{{PLAIN}}{password}\n")).expect("a list of users");
        let (running, address) = start_on_free_port(|port| {
            std::fs::write(folder.path().join("nginx.conf"), configuration(folder.path(), port))
                .expect("a configuration");
            let mut command = Command::new(&nginx);
            command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        });
        Some(Self { _running: running, address, folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder that it serves at its root.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
         events {{ worker_connections 256; }}
         http {{
             access_log off;
             client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
             uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
             client_max_body_size 0;
             server {{
                 listen 127.0.0.1:{port};
                 root {folder}/files;
                 auth_basic files; auth_basic_user_file {folder}/users;
                 location / {{ dav_methods PUT DELETE MKCOL MOVE; create_full_put_path off; }}
             }}
         }}"
    )
}
