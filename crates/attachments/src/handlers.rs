//! The members: one file a kind, each listed in [`registry`](crate::registry).

pub(crate) mod azure;
pub(crate) mod dropbox;
pub(crate) mod filesystem;
pub(crate) mod ftp;
mod google;
pub(crate) mod google_drive;
pub(crate) mod google_storage;
pub(crate) mod http;
pub(crate) mod onedrive;
pub(crate) mod s3;
pub(crate) mod sftp;
pub(crate) mod webdav;
