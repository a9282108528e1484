//! Many calls at once, by a user agent that is none of ours.

use testkit::has_program;
use voice::Codec;

use super::phones::{Exchange, as_heard, part_of, until_idle};
use crate::fixture::bucket;

const CALLS: usize = 80;

#[tokio::test(flavor = "multi_thread")]
async fn eighty_calls_at_once_are_eighty_messages_of_what_was_said() {
    if !has_program("sipp", "many calls at once") {
        return;
    }
    let exchange = Exchange::open().await;
    let (server, settings) = bucket();
    exchange.platform.route_voicemail_to(settings).await;
    exchange.speech_as_ulaw();
    let calls = CALLS.to_string();
    exchange.sipp("speak.xml", &["-m", &calls, "-l", &calls, "-r", "40"]).await;
    exchange.until_left(CALLS).await;
    exchange.platform.until_delivered().await;
    let said = as_heard(Codec::Pcmu);
    let keys = server.keys("recordings");
    assert_eq!(keys.len(), CALLS);
    for key in keys {
        let stored = voice::wav::read(&server.object("recordings", &key).unwrap()).unwrap();
        // On a loaded machine the tone may be over later than the caller thinks, and the beginning is not there: nothing else may be missing.
        let part = part_of(stored.samples(), &said);
        assert!(
            part && stored.samples().len() > 8_000,
            "{key}: {} samples are not what was said",
            stored.samples().len()
        );
    }
    until_idle(&exchange).await;
}
