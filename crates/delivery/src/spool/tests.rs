use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::*;

fn one_writer() -> Options {
    Options { writers: 1, ..Options::default() }
}

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
    let of_files = Spool::of_files(&dir.path().join("c")).unwrap();
    for spool in [spool, of_files] {
        for size in [0, 1, 256 << 10, 3_500_001] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let file = store(&spool, &bytes).await;
            assert!(read(&spool, &file).await.unwrap() == bytes, "{size} bytes came back as others");
        }
        assert_eq!(spool.files().unwrap().len(), 4);
    }
    assert_eq!(names(&dir.path().join("a/b")).len(), 3, "two of them are in the log");
    assert_eq!(names(&dir.path().join("c")).len(), 4);
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
    assert_eq!(names(dir.path()), ["log"]);
    assert_eq!(names(&dir.path().join("log")), [""; 0]);
}

#[tokio::test]
async fn a_sweep_takes_what_an_earlier_process_left_and_nobody_needs() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let large = vec![7; 300_000];
    let (kept, left) = (store(&spool, &large).await, store(&spool, &large).await);
    let (small, lost) = (store(&spool, b"small").await, store(&spool, b"lost").await);
    let half = FileId::new();
    std::fs::write(spool.temporary(&half), b"half").unwrap();
    std::fs::write(dir.path().join("README"), b"not ours").unwrap();
    let referenced = HashSet::from([kept.clone(), small.clone()]);
    assert_eq!(spool.sweep(&referenced).unwrap(), 0, "files of this process are left alone");
    let later = Spool { opened: u64::MAX, ..spool.clone() };
    assert_eq!(later.sweep_partial().unwrap(), 1);
    assert_eq!(later.sweep(&referenced).unwrap(), 2);
    assert!(!spool.path(&left).exists());
    assert_eq!(names(dir.path()), [kept.to_string(), "README".into(), "log".into()]);
    assert_eq!(read(&spool, &small).await.unwrap(), b"small");
    assert!(read(&spool, &lost).await.is_err());
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
    for bytes in [vec![1; 10], vec![2; 300_000]] {
        let file = store(&one, &bytes).await;
        two.adopt(&one, &file).await.unwrap();
        two.adopt(&one, &file).await.unwrap();
        one.remove(&file);
        assert_eq!(std::fs::read(two.path(&file)).unwrap(), bytes);
    }
    assert!(two.adopt(&one, &FileId::new()).await.is_err());
}

#[tokio::test]
async fn a_file_whose_name_cannot_be_given_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::of_files(dir.path()).unwrap();
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

#[tokio::test]
async fn small_payloads_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::with_log(dir.path(), one_writer(), &|_| false).unwrap().0;
    let (kept, gone) = (store(&spool, b"kept").await, store(&spool, b"gone").await);
    spool.remove(&gone);
    drop(spool);
    let spool = Spool::with_log(dir.path(), one_writer(), &|_| false).unwrap().0;
    assert_eq!(read(&spool, &kept).await.unwrap(), b"kept");
    let spool = Spool { opened: u64::MAX, ..spool };
    assert_eq!(spool.sweep(&HashSet::from([kept.clone()])).unwrap(), 1, "a removal is not written");
    assert_eq!(spool.files().unwrap(), [kept]);
}

#[tokio::test]
async fn a_few_that_stay_do_not_keep_the_room_of_many() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::with_log(dir.path(), one_writer(), &|_| false).unwrap().0;
    let segments = || names(&dir.path().join("log"));
    let first = store(&spool, b"first").await;
    assert_eq!(spool.rehouse(spool.stragglers()).await.unwrap(), 0, "its segment takes more");
    // Sooner or later that is full, and nothing else in it is wanted.
    while spool.rehouse(spool.stragglers()).await.unwrap() == 0 {
        for _ in 0..40 {
            let other = store(&spool, &vec![7; 200 << 10]).await;
            spool.remove(&other);
        }
    }
    until(|| segments().is_empty()).await;
    assert_eq!(spool.held(&first).await.unwrap(), Held::File(spool.path(&first)));
    assert_eq!(read(&spool, &first).await.unwrap(), b"first");
    assert_eq!(spool.files().unwrap(), std::slice::from_ref(&first));
    spool.remove(&first);
    until(|| names(dir.path()) == ["log"]).await;
}

#[tokio::test]
async fn a_payload_that_moved_before_a_crash_is_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let file = store(&spool, b"bytes").await;
    let Held::Bytes(bytes) = spool.held(&file).await.unwrap() else { panic!("it is small") };
    spool.write(&file, bytes).await.unwrap();
    drop(spool);
    let spool = Spool::open(dir.path()).unwrap();
    assert_eq!(spool.held(&file).await.unwrap(), Held::File(spool.path(&file)));
    assert_eq!(spool.files().unwrap(), std::slice::from_ref(&file));
}

async fn read(spool: &Spool, file: &FileId) -> std::io::Result<Vec<u8>> {
    match spool.held(file).await.unwrap() {
        Held::File(path) => std::fs::read(path),
        Held::Bytes(bytes) => Ok(bytes.to_vec()),
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
