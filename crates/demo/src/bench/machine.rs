//! The machine that was measured on, and whether a folder is fit for a measurement.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::path::Path;

const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Fails when a folder lies on tmpfs: an fsync there costs nothing and promises nothing.
///
/// # Errors
/// It does, or cannot be asked.
pub fn refuse_tmpfs(folder: &Path) -> anyhow::Result<()> {
    let kind = rustix::fs::statfs(folder).with_context(|| format!("cannot ask about {}", folder.display()))?.f_type;
    ensure!(
        kind as i64 != TMPFS_MAGIC,
        "{} is on tmpfs, where nothing is durable: choose a folder on a disk with --data-dir",
        folder.display()
    );
    Ok(())
}

/// Free bytes for an ordinary user on the file system of a folder.
///
/// # Errors
/// It cannot be asked.
pub fn free_bytes(folder: &Path) -> anyhow::Result<u64> {
    let filesystem = rustix::fs::statvfs(folder).with_context(|| format!("cannot ask about {}", folder.display()))?;
    Ok(filesystem.f_bavail * filesystem.f_frsize)
}

/// What is worth knowing about the machine: processor, cores, memory, kernel, file system of the folder.
pub fn describe(folder: &Path) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map(|(_, value)| value.trim().to_owned()).unwrap_or_else(|| "unknown".to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mib": memory / 1024,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "file_system": file_system(&read("/proc/self/mounts"), folder),
        "rustc": env!("CARGO_PKG_RUST_VERSION"),
    })
}

/// The share of all cores that is at work now, measured over two seconds: what else runs takes it from the measurement.
pub fn busy_share() -> f64 {
    let times = || -> Vec<f64> {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect()
    };
    let before = times();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let spent: Vec<f64> = times().iter().zip(&before).map(|(after, before)| after - before).collect();
    // The fourth and the fifth field are idle and waiting for a disk.
    let idle: f64 = spent.iter().skip(3).take(2).sum();
    match spent.iter().sum::<f64>() {
        all if all > 0.0 => 1.0 - idle / all,
        _ => 0.0,
    }
}

/// The type of the file system that a folder lies on: of the mounts above it, the deepest and there the last.
fn file_system(mounts: &str, folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mut best = (0, "unknown");
    for line in mounts.lines() {
        let mut fields = line.split_whitespace().skip(1);
        if let (Some(point), Some(kind)) = (fields.next(), fields.next()) {
            let depth = Path::new(point).components().count();
            if folder.starts_with(point) && depth >= best.0 {
                best = (depth, kind);
            }
        }
    }
    best.1.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_decides() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /nowhere tmpfs rw 0 0\n/dev/b /nowhere/deep xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/nowhere/deep/er")), "xfs");
        assert_eq!(file_system(mounts, Path::new("/nowhere/else")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/other")), "ext4");
    }

    #[test]
    fn tmpfs_is_refused_where_there_is_one() {
        let shared_memory = Path::new("/dev/shm");
        if file_system(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default(), shared_memory) == "tmpfs" {
            assert!(refuse_tmpfs(shared_memory).is_err());
        }
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
    }
}
