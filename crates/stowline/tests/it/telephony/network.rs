//! Calls over a bad network: what arrived is in its place, and the recording is as long as what was said.

use std::time::Duration;

use testkit::{ImpairedCall, Impairment};
use voice::Codec;

use super::phones::{Exchange, as_heard, until_idle};

/// A call by way of this network, ended by a key. What was stored, and the network.
async fn call(exchange: &Exchange, impairment: Impairment) -> (Vec<i16>, ImpairedCall) {
    let server = exchange.sip("udp").await.parse().unwrap();
    let network = ImpairedCall::start(server, impairment);
    let speech = exchange.speech();
    let mut command = std::process::Command::new(exchange.platform.program.binary());
    command.arg("call").arg(format!("sip:1001@{}", network.address())).arg("--play").arg(speech);
    command.args(["--codec", "pcmu", "--press", "#"]).stdin(std::process::Stdio::null());
    let before = exchange.messages().await.len();
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("the other party hung up"), "the key was not heard: {told}");
    let message = exchange.until_left(before + 1).await.remove(0);
    (exchange.samples(&message).await, network)
}

/// How many packets the last call gave up that came later, as the program says in its log.
fn late(exchange: &Exchange) -> usize {
    let log = exchange.platform.program.log();
    let last = log.lines().rev().find(|line| line.contains("a conversation is over")).unwrap();
    let (_, rest) = last.split_once(" late: ").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_loss_what_is_stored_is_what_was_said() {
    let exchange = Exchange::open().await;
    let (stored, network) = call(&exchange, Impairment::default()).await;
    assert!(network.passed().iter().all(|packet| packet.arrived));
    assert!(stored == as_heard(Codec::Pcmu), "{} samples", stored.len());
    until_idle(&exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_loss_duplicates_reordering_and_jitter_what_arrived_is_in_its_place() {
    let exchange = Exchange::open().await;
    let said = as_heard(Codec::Pcmu);
    for (seed, lost, duplicated, overtaken, jitter) in [(1, 20, 0, 0, 0), (2, 0, 20, 30, 8), (3, 10, 10, 10, 5)] {
        let jitter = Duration::from_millis(jitter);
        let impairment = Impairment { seed, spared: 5, lost, duplicated, overtaken, jitter };
        let (stored, network) = call(&exchange, impairment).await;
        let passed: Vec<_> = network.passed().into_iter().filter(|packet| packet.payload_type == 0).collect();
        let first = passed[0].timestamp;
        let place = |timestamp: u32| timestamp.wrapping_sub(first) as usize;
        let arrived: Vec<usize> =
            passed.iter().filter(|packet| packet.arrived).map(|packet| place(packet.timestamp)).collect();
        let harmed = passed.len() - arrived.len();
        assert!(lost == 0 && harmed == 0 || harmed > passed.len() / 20, "{harmed} of {} were lost", passed.len());
        // As long as what was said, but for a tail that never came.
        let whole = arrived.iter().max().unwrap() + 160;
        // None is late, unless the machine stood still for longer than anybody is waited for.
        let late = late(&exchange);
        let all_there = stored.len() == whole || (late > 0 && stored.len() < whole);
        assert!(all_there, "seed {seed}: {} of {whole} samples; {} were said", stored.len(), said.len());
        let missing = arrived.iter().filter(|at| stored.get(**at..**at + 160) != Some(&said[**at..**at + 160])).count();
        assert!(missing <= late, "seed {seed}: {missing} packets that arrived are not in their place");
    }
    until_idle(&exchange).await;
}
