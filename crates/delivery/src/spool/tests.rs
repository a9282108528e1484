use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn store(spool: &Spool, bytes: &[u8]) -> FileId {
    let mut partial = spool.begin().unwrap();
    for chunk in bytes.chunks(100_000) {
        partial.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    let sealed = partial.finish().await.unwrap();
    assert_eq!(sealed.length(), bytes.len() as u64);
    assert_eq!(sealed.sha256()[..], Sha256::digest(bytes)[..]);
    sealed.publish().await.unwrap()
}

#[tokio::test]
async fn small_and_large_files_arrive_whole() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(&dir.path().join("a/b")).unwrap();
    for size in [0, 1, 256 << 10, 3_500_001] {
        let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let file = store(&spool, &bytes).await;
        assert!(std::fs::read(spool.path(&file)).unwrap() == bytes, "{size} bytes came back as others");
    }
    assert_eq!(spool.files().unwrap().len(), 4);
}

#[test]
fn what_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let spool = Spool::open(dir.path()).unwrap();
        let mut partial = spool.begin().unwrap();
        partial.write(Bytes::from(vec![7; 3 << 20])).await.unwrap();
        partial.write(Bytes::from(vec![7; 3 << 20])).await.unwrap();
        drop(partial);
        let mut partial = spool.begin().unwrap();
        partial.write(Bytes::from_static(b"x")).await.unwrap();
        drop(partial.finish().await.unwrap());
    });
    // Waits for what still runs on blocking threads.
    drop(runtime);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_sweep_takes_what_an_earlier_process_left_and_nobody_needs() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let (kept, left) = (store(&spool, b"kept").await, store(&spool, b"left").await);
    let half = FileId::new();
    std::fs::write(spool.temporary(&half), b"half").unwrap();
    std::fs::write(dir.path().join("README"), b"not ours").unwrap();
    let referenced = HashSet::from([kept.clone()]);
    assert_eq!(spool.sweep(&referenced).unwrap(), 0, "files of this process are left alone");
    let later = Spool { opened: u64::MAX, ..spool.clone() };
    assert_eq!(later.sweep_partial().unwrap(), 1);
    assert_eq!(later.sweep(&referenced).unwrap(), 1);
    assert!(!spool.path(&left).exists());
    assert_eq!(names(dir.path()), [kept.to_string(), "README".into()]);
}

#[tokio::test]
async fn below_the_floor_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap().min_free(u64::MAX);
    assert!(matches!(spool.begin(), Err(Error::Full)));
    assert!(spool.clone().min_free(1).begin().is_ok());
}

#[tokio::test]
async fn another_spool_can_adopt_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Spool::open(&dir.path().join("1")).unwrap(), Spool::open(&dir.path().join("2")).unwrap());
    let file = store(&one, b"bytes").await;
    two.adopt(&one, &file).await.unwrap();
    two.adopt(&one, &file).await.unwrap();
    std::fs::remove_file(one.path(&file)).unwrap();
    assert_eq!(std::fs::read(two.path(&file)).unwrap(), b"bytes");
    assert!(two.adopt(&one, &FileId::new()).await.is_err());
}

#[tokio::test]
async fn a_file_whose_name_cannot_be_given_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    for size in [1, 3 << 20] {
        let mut partial = spool.begin().unwrap();
        partial.write(Bytes::from(vec![7; size])).await.unwrap();
        let sealed = partial.finish().await.unwrap();
        let folder = sealed.file().to_string();
        std::fs::create_dir(spool.path(sealed.file())).unwrap();
        assert!(matches!(sealed.publish().await, Err(Error::Unavailable(_))));
        until(|| names(dir.path()) == [folder.clone()]).await;
        std::fs::remove_dir(dir.path().join(folder)).unwrap();
    }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[test]
fn ids_are_read_only_in_the_form_in_which_they_are_printed() {
    let id = FileId::new();
    assert_eq!(id.to_string().parse::<FileId>().unwrap(), id);
    assert!(id.begun() > 1_600_000_000_000);
    for bad in ["", "../../etc/passwd", "0123456789ABCDEF0123456789ABCDEF", "01234567-89ab-cdef-0123-456789abcdef"] {
        assert!(bad.parse::<FileId>().is_err(), "{bad}");
    }
}
