use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use proptest::prelude::*;
use tempfile::TempDir;

use super::frame::{BEGINNING, BLOCK, HEADER};
use super::*;

/// One thread, so that there is one order.
const REMOVED: Options = Options { writers: 1, reuse: false };
const REUSED: Options = Options { writers: 1, reuse: true };

/// What holds of segments that are removed, and of those that are written over.
macro_rules! of_both {
    ($($name:ident)*) => {
        mod removed {
            $(#[tokio::test] async fn $name() { super::$name(super::REMOVED).await })*
        }
        mod reused {
            $(#[tokio::test] async fn $name() { super::$name(super::REUSED).await })*
        }
    };
}

of_both! {
    what_was_appended_is_read_and_found_again
    all_who_come_at_once_are_answered
    a_segment_with_little_in_it_says_so
    a_torn_end_is_passed_over_wherever_it_was_torn
    what_stands_behind_a_damaged_record_is_found
    bytes_of_others_are_no_records
    nobody_who_went_holds_a_segment
    what_is_too_large_is_refused_and_a_folder_that_is_gone_too
    what_nobody_knows_stays
}

fn bytes(length: usize, seed: usize) -> Bytes {
    (0..length).map(|at| ((at * 31 + seed * 7) % 251) as u8).collect()
}

async fn append(log: &AppendLog, head: &str, body: &Bytes) -> Place {
    let half = body.len() / 2;
    log.append(head.into(), vec![body.slice(..half), Bytes::new(), body.slice(half..)]).await.unwrap()
}

/// The heads that a log finds at its opening, and the bodies behind them.
fn found(folder: &TempDir, options: Options) -> Vec<(String, Bytes)> {
    let (log, found) = AppendLog::open(folder.path(), options).unwrap();
    let read = |found: Found| (String::from_utf8(found.head).unwrap(), log.read(&found.place).unwrap());
    found.into_iter().map(read).collect()
}

/// The files of a log, once those are gone that are on their way out.
fn files(folder: &TempDir, wanted: usize) -> Vec<PathBuf> {
    loop {
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        if files.len() <= wanted {
            return files;
        }
        std::thread::yield_now();
    }
}

async fn what_was_appended_is_read_and_found_again(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let (log, none) = AppendLog::open(folder.path(), options).unwrap();
    assert_eq!(none, []);
    let bodies = [bytes(100_000, 1), Bytes::new(), bytes(1, 2)];
    let places =
        [append(&log, "a", &bodies[0]).await, append(&log, "", &bodies[1]).await, append(&log, "c", &bodies[2]).await];
    for (place, body) in places.iter().zip(&bodies) {
        assert_eq!(log.read(place).unwrap(), body);
        assert_eq!(place.length(), body.len() as u64);
    }
    assert_eq!(log.usage().records, 3);
    drop(log);
    let wanted =
        [("a".to_owned(), bodies[0].clone()), (String::new(), Bytes::new()), ("c".to_owned(), bodies[2].clone())];
    assert_eq!(found(&folder, options), wanted);
}

async fn all_who_come_at_once_are_answered(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), Options { writers: 4, ..options }).unwrap();
    let appends = (0..500).map(|number| {
        let log = log.clone();
        tokio::spawn(async move { (number, append(&log, &number.to_string(), &bytes(number * 100, number)).await) })
    });
    for append in appends.collect::<Vec<_>>() {
        let (number, place) = append.await.unwrap();
        assert_eq!(log.read(&place).unwrap(), bytes(number * 100, number));
    }
    drop(log);
    let mut heads: Vec<usize> = found(&folder, options).iter().map(|(head, _)| head.parse().unwrap()).collect();
    heads.sort_unstable();
    assert!(heads.into_iter().eq(0..500), "each once, whichever segment it is in");
}

#[tokio::test]
async fn a_segment_goes_with_its_last_record() {
    let options = REMOVED;
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), options).unwrap();
    let body = bytes(8 << 20, 1);
    let mut places = Vec::new();
    for _ in 0..6 {
        places.push(append(&log, "x", &body).await);
    }
    assert_eq!((places[0].segment(), places[3].segment(), places[4].segment()), (1, 1, 2));
    places[..2].iter().for_each(|place| log.release(place));
    assert_eq!(log.sparse(), [] as [u64; 0], "half of it is held still");
    log.release(&places[2]);
    assert_eq!(files(&folder, 2).len(), 2);
    log.release(&places[3]);
    assert_eq!(files(&folder, 1), [log.path(&places[4])]);
    assert_eq!(log.read(&places[0]).unwrap_err().kind(), io::ErrorKind::NotFound);
    log.release(&places[4]);
    drop(log);
    let (log, found) = AppendLog::open(folder.path(), options).unwrap();
    assert_eq!(found.len(), 2, "releases are not written");
    found.iter().for_each(|found| log.release(&found.place));
    assert_eq!(files(&folder, 0), [] as [PathBuf; 0]);
    assert_eq!(append(&log, "z", &body).await.segment(), 3, "a number is not used twice");
}

#[tokio::test]
async fn a_segment_is_written_over_and_what_was_in_it_is_not_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), REUSED).unwrap();
    let body = bytes(8 << 20, 1);
    let mut places = Vec::new();
    for number in 0..5 {
        places.push(append(&log, &number.to_string(), &body).await);
    }
    let (first, last) = (places[0], places[4]);
    assert_eq!((first.segment(), last.segment()), (1, 2));
    let inode = |place: &Place| std::fs::metadata(log.path(place)).unwrap().ino();
    let was = inode(&first);
    places[..4].iter().for_each(|place| log.release(place));
    while !is_blank(&log.path(&first)) {
        std::thread::yield_now();
    }
    assert_eq!(log.read(&first).unwrap_err().kind(), io::ErrorKind::NotFound);
    for number in 5..10 {
        places.push(append(&log, &number.to_string(), &bytes(7 << 20, number)).await);
    }
    let again = places[9];
    assert_eq!((again.segment(), inode(&again)), (3, was));
    assert!(!log.path(&first).exists());
    assert_eq!(
        std::fs::metadata(log.path(&again)).unwrap().len(),
        (32 << 20) + 4 * BLOCK,
        "all that was in it is there still"
    );
    drop(log);
    let heads: Vec<_> = found(&folder, REUSED).into_iter().map(|(head, _)| head).collect();
    assert_eq!(heads, ["4", "5", "6", "7", "8", "9"]);
}

/// True once nothing can be found in a segment.
fn is_blank(path: &Path) -> bool {
    std::fs::read(path).unwrap()[..BEGINNING] == [0; BEGINNING]
}

#[tokio::test]
async fn groups_begin_with_a_block_and_a_zero_stands_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), REUSED).unwrap();
    let block = usize::try_from(BLOCK).unwrap();
    let length = block - BEGINNING - HEADER - 1;
    let places = [
        append(&log, "a", &bytes(length, 1)).await,
        append(&log, "b", &bytes(length + BEGINNING - 1, 2)).await,
        append(&log, "c", &bytes(1, 3)).await,
    ];
    assert_eq!(places.map(|place| place.start()), [BEGINNING as u64, 2 * BLOCK, 3 * BLOCK]);
    drop(log);
    let heads: Vec<_> = found(&folder, REUSED).into_iter().map(|(head, _)| head).collect();
    assert_eq!(heads, ["a", "b", "c"]);
}

#[tokio::test]
async fn so_many_are_kept_to_be_written_over_also_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let (log, found) = AppendLog::open(folder.path(), REUSED).unwrap();
        assert_eq!(found, []);
        let mut places = Vec::new();
        for _ in 0..6 {
            places.push(append(&log, "x", &bytes(16 << 20, 1)).await);
            places.push(append(&log, "x", &bytes(16 << 20, 1)).await);
        }
        assert_eq!(log.usage().segments, 6);
        places.iter().for_each(|place| log.release(place));
        drop(log);
        let files = files(&folder, 4);
        assert!(files.len() == 4 && files.iter().all(|path| is_blank(path)), "{files:?}");
    }
    AppendLog::open(folder.path(), REMOVED).unwrap();
    assert_eq!(files(&folder, 0), [] as [PathBuf; 0]);
}

/// Of the last group any blocks may have reached the disk; where the others would be lies what was there before.
#[tokio::test]
async fn of_a_torn_group_over_older_records_only_whole_ones_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), REUSED).unwrap();
    let first = append(&log, "first", &bytes(10_000, 1)).await;
    let second = append(&log, "second", &bytes(30_000, 2)).await;
    let path = log.path(&first);
    drop(log);
    let whole = std::fs::read(&path).unwrap();
    // Records of another salt, at the same places.
    let stale = {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = AppendLog::open(folder.path(), REUSED).unwrap();
        let place = append(&log, "fIrst", &bytes(10_000, 3)).await;
        append(&log, "sEcond", &bytes(30_000, 4)).await;
        append(&log, "tHird", &bytes(30_000, 5)).await;
        std::fs::read(log.path(&place)).unwrap()
    };
    let block = usize::try_from(BLOCK).unwrap();
    let group = usize::try_from(second.start()).unwrap() / block;
    assert_eq!(second.start() % BLOCK, 0);
    let blocks = whole.len() / block - group;
    for kept in 0..1_u32 << blocks {
        let mut bytes = [&whole[..], &stale[whole.len()..]].concat();
        for number in (0..blocks).filter(|number| kept & (1 << number) == 0) {
            let at = (group + number) * block..(group + number + 1) * block;
            bytes[at.clone()].copy_from_slice(&stale[at]);
        }
        std::fs::write(&path, bytes).unwrap();
        let wanted: &[&str] = if kept + 1 == 1 << blocks { &["first", "second"] } else { &["first"] };
        let heads: Vec<_> = found(&folder, REUSED).into_iter().map(|(head, _)| head).collect();
        assert_eq!(heads, wanted, "{kept:b}");
    }
}

#[tokio::test]
async fn what_was_released_goes_also_when_nothing_follows() {
    let options = REMOVED;
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), options).unwrap();
    let (first, second) = (append(&log, "a", &bytes(1000, 1)).await, append(&log, "b", &bytes(100_000, 2)).await);
    log.release(&second);
    while log.sparse().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(log.read(&first).unwrap(), bytes(1000, 1));
    assert_eq!(append(&log, "c", &bytes(1, 3)).await.segment(), 2);
    log.release(&first);
    assert_eq!(files(&folder, 1).len(), 1);
}

async fn a_segment_with_little_in_it_says_so(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), options).unwrap();
    let (large, small) = (bytes(8 << 20, 1), bytes(1000, 2));
    let mut places = vec![append(&log, "small", &small).await];
    for _ in 0..5 {
        places.push(append(&log, "large", &large).await);
    }
    places[1..5].iter().for_each(|place| log.release(place));
    assert_eq!(log.sparse(), [1]);
    assert_eq!(log.read(&places[0]).unwrap(), small);
}

async fn a_torn_end_is_passed_over_wherever_it_was_torn(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), options).unwrap();
    let first = append(&log, "first", &bytes(300, 1)).await;
    let whole = std::fs::read(log.path(&first)).unwrap();
    let second = append(&log, "second", &bytes(200, 2)).await;
    let path = log.path(&first);
    drop(log);
    let both = std::fs::read(&path).unwrap();
    for length in 0..=both.len() {
        std::fs::write(&path, &both[..length]).unwrap();
        let wanted = [first, second].iter().filter(|place| place.end() <= length as u64).count();
        let (log, found) = AppendLog::open(folder.path(), options).unwrap();
        assert_eq!(found.len(), wanted, "{length} bytes");
        assert!(found.iter().all(|found| log.read(&found.place).is_ok()));
        drop(log);
        std::fs::write(&path, &both).unwrap();
    }
    // Zeros, as a file system may leave them, are no record either.
    let zeros = [whole.clone(), vec![0; 5000]].concat();
    std::fs::write(&path, zeros).unwrap();
    assert_eq!(found(&folder, options).len(), 1);
}

async fn what_stands_behind_a_damaged_record_is_found(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), options).unwrap();
    let mut places = Vec::new();
    for number in 0..4 {
        places.push(append(&log, &number.to_string(), &bytes(2 << 20, number)).await);
    }
    let file = OpenOptions::new().write(true).open(log.path(&places[0])).unwrap();
    // A head, and a body.
    file.write_all_at(b"#", places[1].at).unwrap();
    file.write_all_at(b"#", places[2].at + 100).unwrap();
    drop(log);
    let (log, found) = AppendLog::open(folder.path(), options).unwrap();
    let heads: Vec<_> = found.iter().map(|found| found.head.as_slice()).collect();
    assert_eq!(heads, [b"0", b"2", b"3"]);
    assert_eq!(log.read(&found[1].place).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(log.read(&found[2].place).unwrap(), bytes(2 << 20, 3));
}

async fn bytes_of_others_are_no_records(options: Options) {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log, _) = AppendLog::open(theirs.path(), options).unwrap();
    let place = append(&log, "forged", &bytes(10, 1)).await;
    let forged = Bytes::from(std::fs::read(log.path(&place)).unwrap());
    let (log, _) = AppendLog::open(ours.path(), options).unwrap();
    let place = append(&log, "damaged", &forged).await;
    append(&log, "whole", &forged).await;
    let file = OpenOptions::new().write(true).open(log.path(&place)).unwrap();
    file.write_all_at(b"#", place.at).unwrap();
    drop(log);
    let heads: Vec<_> = found(&ours, options).into_iter().map(|(head, _)| head).collect();
    assert_eq!(heads, ["whole"]);
}

async fn nobody_who_went_holds_a_segment(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), options).unwrap();
    drop(log.append(Vec::new(), vec![bytes(100, 1)]));
    append(&log, "", &bytes(1, 1)).await;
    assert_eq!(log.usage().records, 1);
}

async fn what_is_too_large_is_refused_and_a_folder_that_is_gone_too(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), options).unwrap();
    let large = Bytes::from(vec![0; LONGEST + 1]);
    assert!(matches!(log.append(Vec::new(), vec![large]).await, Err(Error::TooLarge(_))));
    let gone = folder.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let (log, _) = AppendLog::open(&gone, options).unwrap();
    std::fs::remove_dir(&gone).unwrap();
    assert!(matches!(log.append(Vec::new(), vec![bytes(1, 1)]).await, Err(Error::Io(_))));
    std::fs::create_dir(&gone).unwrap();
    append(&log, "", &bytes(1, 1)).await;
}

#[test]
fn other_files_are_left_alone() {
    let options = REMOVED;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::File::create(&path).unwrap().write_all(b"mine").unwrap();
    assert_eq!(found(&folder, options), []);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

async fn what_nobody_knows_stays(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = AppendLog::open(folder.path(), options).unwrap();
    let path = log.path(&append(&log, "a", &bytes(100, 1)).await);
    drop(log);
    let mut later = std::fs::read(&path).unwrap();
    later[..8].copy_from_slice(b"SLOG0003");
    std::fs::write(&path, &later).unwrap();
    let (log, found) = AppendLog::open(folder.path(), options).unwrap();
    assert_eq!(found, []);
    assert_eq!(append(&log, "b", &bytes(1, 1)).await.segment(), 2);
    drop(log);
    assert_eq!(std::fs::read(&path).unwrap(), later);
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Release(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..70_000).prop_map(Step::Append),
        3 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever happens, what is held can be read, and an opening finds it, in its order.
    #[test]
    fn held_is_found(reuse: bool, steps in proptest::collection::vec(step(), 1..40)) {
        let options = Options { writers: 1, reuse };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = AppendLog::open(folder.path(), options).unwrap();
        let mut held: BTreeMap<usize, (Place, usize)> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(length) => {
                    let place = runtime.block_on(append(&log, &number.to_string(), &bytes(length, number)));
                    held.insert(number, (place, length));
                }
                Step::Release(which) => {
                    let chosen = held.keys().nth(which % held.len().max(1)).copied();
                    if let Some((place, _)) = chosen.and_then(|chosen| held.remove(&chosen)) {
                        log.release(&place);
                    }
                }
                Step::Reopen => {
                    drop(log);
                    let (opened, found) = AppendLog::open(folder.path(), options).unwrap();
                    let mut last = None;
                    let mut seen = 0;
                    for record in found {
                        let number: usize = String::from_utf8(record.head).unwrap().parse().unwrap();
                        prop_assert!(last < Some(number));
                        last = Some(number);
                        match held.get(&number) {
                            Some((place, _)) => { prop_assert_eq!(*place, record.place); seen += 1; }
                            None => opened.release(&record.place),
                        }
                    }
                    prop_assert_eq!(seen, held.len());
                    log = opened;
                }
            }
            for (number, (place, length)) in &held {
                prop_assert_eq!(log.read(place).unwrap(), bytes(*length, *number));
            }
            prop_assert_eq!(log.usage().records, held.len() as u64);
        }
    }
}
