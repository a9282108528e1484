//! nginx as a WebDAV server with basic authentication, its files in a folder.

use super::{Running, start_on_free_port};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The module that lists folders (PROPFIND), where Debian's package has it.
const LISTS: &str = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so";

/// nginx with its WebDAV module, without locks, and without PROPFIND unless it is asked for. Folders are not made by an upload: MKCOL is needed.
#[derive(Debug)]
pub struct WebdavServer {
    _running: Running,
    address: SocketAddr,
    folder: TempDir,
}

impl WebdavServer {
    /// Starts it for one user, with an empty folder. `None` where there is no nginx; `what` names the tests that then do not run.
    pub fn start(user: &str, password: &str, what: &str) -> Option<Self> {
        Self::start_so(user, password, what, false)
    }

    /// The same with lists of folders, as clients for people want them. `None` also where nginx has no module for it.
    pub fn start_with_lists(user: &str, password: &str, what: &str) -> Option<Self> {
        if !Self::can_list() {
            crate::installed::skipped(&format!("{what}: nginx has no module for PROPFIND (libnginx-mod-http-dav-ext)"));
            return None;
        }
        Self::start_so(user, password, what, true)
    }

    /// Whether nginx has its module for lists.
    pub fn can_list() -> bool {
        Path::new(LISTS).exists()
    }

    fn start_so(user: &str, password: &str, what: &str, lists: bool) -> Option<Self> {
        let nginx = crate::installed::path_of("nginx", what)?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["files", "body"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder for nginx");
        }
        std::fs::write(folder.path().join("users"), format!("{user}:{{PLAIN}}{password}\n")).expect("a list of users");
        let (running, address) = start_on_free_port(|port| {
            std::fs::write(folder.path().join("nginx.conf"), configuration(folder.path(), port, lists))
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

fn configuration(folder: &Path, port: u16, lists: bool) -> String {
    let folder = folder.display();
    let load = if lists { format!("load_module {LISTS};") } else { String::new() };
    let list = if lists { "dav_ext_methods PROPFIND OPTIONS;" } else { "" };
    format!(
        "{load} daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
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
                 location / {{ dav_methods PUT DELETE MKCOL MOVE; create_full_put_path off; {list} }}
             }}
         }}"
    )
}
