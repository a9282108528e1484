//! The members: one file a kind, each listed in [`registry`](crate::registry).

pub(crate) mod filesystem;
pub(crate) mod ftp;
pub(crate) mod http;
pub(crate) mod s3;
pub(crate) mod sftp;
pub(crate) mod webdav;
