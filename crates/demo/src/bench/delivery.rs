//! From the queue to verified objects, beside rclone with the same files and the same S3 server.

use super::report::{Bar, Figure};
use super::server::{BUCKET, Server};
use super::{Bench, Outcome, load, machine, median, percentile, progress, yardstick};
use anyhow::ensure;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SIZE: usize = 100_000;
const LANES: usize = 16;
/// How many times rclone's rate is promised.
const BAR: f64 = 1.5;

/// Runs the benchmark.
///
/// # Errors
/// A deposit or a delivery failed, or an object is not in the bucket.
pub async fn run(bench: &Bench, room: &Path) -> anyhow::Result<Outcome> {
    let (rounds, count) = if bench.quick { (1, 300) } else { (3, 10_000) };
    let objects = Objects::beside(room, count as u64 * 2 * SIZE as u64)?;
    let server = Server::start_with(bench, room, objects.path()).await?;
    let Some(rclone) = yardstick::Rclone::find() else {
        let missing = "delivery beside rclone: rclone is not installed and could not be".to_owned();
        return Ok(Outcome { figures: single(bench, &server, room, None).await?, missing: vec![missing] });
    };
    let mut template = server.template(SIZE);
    let source = room.join("source");
    std::fs::create_dir_all(&source)?;
    for number in 0..count {
        template.stamp(number as u64);
        std::fs::write(source.join(format!("{number:08}.wav")), template.file_bytes())?;
    }

    let bar = progress("delivery of a full queue", rounds * 2);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        server.s3.stop();
        load::drive(server.address(), &template, LANES, round * count as u64, count, 201).await?;
        server.s3.restart();
        let started = Instant::now();
        let action = json!({"data": {"action": "retry"}});
        let retry = server.api.post(&format!("/v2/accounts/{}/storage/deliveries", server.account), &action).await;
        ensure!(retry.status == 200, "retry: {retry}");
        server.delivered(Duration::from_millis(20), Duration::from_secs(1200)).await?;
        ours.push(count as f64 / started.elapsed().as_secs_f64());
        check(&server, BUCKET, count)?;
        server.empty_bucket()?;
        bar.inc(1);

        let took = rclone.copy(&source, &server.s3, BUCKET)?;
        theirs.push(count as f64 / took.as_secs_f64());
        check(&server, BUCKET, count)?;
        server.empty_bucket()?;
        bar.inc(1);
        bar.set_message(format!("{:.0} ours, {:.0} rclone objects/s", median(&ours), median(&theirs)));
    }
    bar.finish_and_clear();

    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    let mut figures = vec![Figure {
        what: format!("from {count} queued items of 100 KB to all verified in S3"),
        unit: "objects/s".to_owned(),
        ours: median(&ours),
        yardstick: Some((format!("{} --transfers 16, objects/s", rclone.version), median(&theirs))),
        ratio: Some(median(&ratios)),
        bar: Some(Bar::AtLeast(BAR)),
        raw: json!({"ours": ours, "rclone": theirs, "ratios": ratios}),
    }];
    figures.extend(single(bench, &server, room, Some(&rclone)).await?);
    Ok(Outcome { figures, missing: Vec::new() })
}

/// The folder of the S3 server: in memory where there is room for it. What its file system costs is not what is measured, and on some it costs
/// more the more files were removed elsewhere just before.
enum Objects {
    Memory(tempfile::TempDir),
    Disk(PathBuf),
}

impl Objects {
    fn beside(room: &Path, needed: u64) -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        if machine::free_bytes(memory).is_ok_and(|free| free > 2 * needed) {
            return Ok(Self::Memory(tempfile::tempdir_in(memory)?));
        }
        Ok(Self::Disk(room.join("objects")))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Memory(folder) => folder.path(),
            Self::Disk(folder) => folder,
        }
    }
}

/// Every object is there with its full length.
fn check(server: &Server, bucket: &str, count: usize) -> anyhow::Result<()> {
    let whole = server.objects_of(bucket, SIZE as u64);
    ensure!(whole == count, "{whole} of {count} objects are in the bucket");
    Ok(())
}

/// One deposit at a time: from the first byte sent until the object is verified and nothing waits.
async fn single(
    bench: &Bench,
    server: &Server,
    room: &Path,
    rclone: Option<&yardstick::Rclone>,
) -> anyhow::Result<Vec<Figure>> {
    let count = if bench.quick { 5 } else { 50 };
    let template = server.template(SIZE);
    let one = room.join("one");
    std::fs::create_dir_all(&one)?;
    let bar = progress("one deposit to its verified object", count);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..count {
        let started = Instant::now();
        load::drive(server.address(), &template, 1, 1 << 40 | number, 1, 201).await?;
        server.delivered(Duration::from_millis(1), Duration::from_secs(60)).await?;
        ours.push(started.elapsed().as_secs_f64() * 1000.0);
        if let Some(rclone) = rclone {
            std::fs::write(one.join(format!("{number}.wav")), template.file_bytes())?;
            theirs.push(
                rclone.copy(&one.join(format!("{number}.wav")), &server.s3, &format!("{BUCKET}/one"))?.as_secs_f64()
                    * 1000.0,
            );
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(vec![Figure {
        what: "one deposit of 100 KB, from its first byte to the verified object".to_owned(),
        unit: "ms (median)".to_owned(),
        ours: median(&ours),
        yardstick: rclone.map(|rclone| (format!("{} copying one file, ms", rclone.version), median(&theirs))),
        ratio: rclone.map(|_| median(&ours) / median(&theirs)),
        bar: None,
        raw: json!({"p50": percentile(&ours, 0.5), "p95": percentile(&ours, 0.95), "p99": percentile(&ours, 0.99), "rclone_p50": median(&theirs)}),
    }])
}
