//! Who may call.

use sip::{ErrorKind, Password, Transport};

use crate::desk::{Desk, answering, dial, telephone, to, until_idle};

fn status(error: &sip::Error) -> u16 {
    match error.kind() {
        ErrorKind::Declined(status, _) => *status,
        _ => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_password_opens_and_nothing_else_does() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (agent, phone) = (answering(Desk::guarded("sesame")).await, telephone().await);
        let mut wanted = to(&agent, "1001", transport);
        assert_eq!(status(&dial(&phone, &wanted).await.unwrap_err()), 401);
        for (name, password, answer) in [("sbc", "shut", 403), ("nobody", "sesame", 403), ("later", "sesame", 503)] {
            wanted.credentials = Some((name.to_owned(), Password::new(password)));
            assert_eq!(status(&dial(&phone, &wanted).await.unwrap_err()), answer, "{name}");
        }
        wanted.credentials = Some(("sbc".to_owned(), Password::new("sesame")));
        let call = dial(&phone, &wanted).await.unwrap();
        call.hang_up().await;
        // Another realm knows nobody of this one.
        wanted.to = "sip:1001@other.example".into();
        assert_eq!(status(&dial(&phone, &wanted).await.unwrap_err()), 403);
        until_idle(&agent).await;
    }
}

#[tokio::test]
async fn strangers_learn_nothing_of_who_is_here() {
    let (agent, phone) = (answering(Desk::guarded("sesame")).await, telephone().await);
    for number in ["1001", "9999", "off"] {
        assert_eq!(status(&dial(&phone, &to(&agent, number, Transport::Udp)).await.unwrap_err()), 401, "{number}");
    }
    let desk = Desk::new();
    desk.trusted.store(false, std::sync::atomic::Ordering::Relaxed);
    let agent = answering(desk).await;
    for number in ["1001", "9999", "off"] {
        assert_eq!(status(&dial(&phone, &to(&agent, number, Transport::Udp)).await.unwrap_err()), 403, "{number}");
    }
}
