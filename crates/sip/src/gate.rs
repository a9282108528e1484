//! The door for messages: what is no SIP gets no further than here.
//!
//! Every datagram and every frame of a stream is judged before the stack sees it, because the stack reads messages in tasks that all calls
//! share. What it will do with them later (parse, key, name the dialog) is tried here, and should it panic over bytes that somebody made up,
//! that costs these bytes and nothing else. A request that is broken but says where it came from is answered 400 (RFC 3261, 8.2), a method
//! that nobody knows 405; all else is dropped.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rsipstack::dialog::DialogId;
use rsipstack::sip::prelude::ToTypedHeader;
use rsipstack::sip::{HeadersExt, Request, SipMessage};
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transport::SipConnection;

use crate::{ALLOWED, Transport};

/// The largest message, as for datagrams.
pub(crate) const LARGEST: usize = 32 * 1024;
/// The most header fields, and the longest name of a call or a party.
const MOST_HEADERS: usize = 200;
const LONGEST_NAME: usize = 512;
/// A broken request is answered only when it is small: an answer repeats parts of it.
const LARGEST_ANSWERED: usize = 4 * 1024;

/// What becomes of bytes that came in.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// A message, with the source written into it.
    Pass(Box<SipMessage>),
    /// No message; who sent it should know.
    Answer(Vec<u8>),
    /// No message.
    Drop(&'static str),
}

/// Judges the bytes of one message.
pub(crate) fn judge(bytes: &[u8], source: SocketAddr, transport: Transport) -> Verdict {
    if bytes.len() > LARGEST {
        return Verdict::Drop("larger than any message");
    }
    let tried = catch_unwind(AssertUnwindSafe(|| read(bytes, source, transport)));
    let reason = match tried {
        Ok(Ok(message)) => return Verdict::Pass(Box::new(message)),
        Ok(Err(reason)) => reason,
        Err(_) => "the parser failed over it",
    };
    match refuse(bytes) {
        Some(answer) => Verdict::Answer(answer),
        None => Verdict::Drop(reason),
    }
}

fn read(bytes: &[u8], source: SocketAddr, transport: Transport) -> Result<SipMessage, &'static str> {
    let message = SipMessage::try_from(bytes).map_err(|_| "not a message")?;
    match &message {
        SipMessage::Request(request) => check(request)?,
        SipMessage::Response(response) => {
            TransactionKey::from_response(response, TransactionRole::Client).map_err(|_| "a response to nothing")?;
        }
    }
    SipConnection::update_msg_received(message, source, transport.named()).map_err(|_| "its Via is broken")
}

fn check(request: &Request) -> Result<(), &'static str> {
    let headers = &request.headers.0;
    if headers.len() > MOST_HEADERS {
        return Err("too many header fields");
    }
    let once = |name: &str| headers.iter().filter(|header| header.name() == name).count() == 1;
    if !["From", "To", "Call-ID", "CSeq"].into_iter().all(once) {
        return Err("a header field is missing or comes twice");
    }
    let short = |text: &str| !text.is_empty() && text.len() <= LONGEST_NAME;
    let call_id = request.call_id_header().map_err(|_| "it has no Call-ID")?;
    let (from, to) = (request.from_header(), request.to_header());
    let (from, to) = (from.map_err(|_| "it has no From")?, to.map_err(|_| "it has no To")?);
    if !short(call_id.value())
        || !short(from.value())
        || !short(to.value())
        || request.uri.to_string().len() > LONGEST_NAME
    {
        return Err("a name is too long");
    }
    from.typed().map_err(|_| "its From is broken")?;
    to.typed().map_err(|_| "its To is broken")?;
    let cseq = request.cseq_header().map_err(|_| "it has no CSeq")?;
    if cseq.method().map_err(|_| "its CSeq is broken")? != request.method {
        return Err("its CSeq is of another method");
    }
    TransactionKey::from_request(request, TransactionRole::Server).map_err(|_| "it belongs to no transaction")?;
    DialogId::try_from((request, TransactionRole::Server)).map_err(|_| "it belongs to no dialog")?;
    if let Some(promised) = content_length(&request.headers)
        && promised != request.body.len()
    {
        return Err("its body is cut off");
    }
    Ok(())
}

fn content_length(headers: &rsipstack::sip::Headers) -> Option<usize> {
    let value = headers.0.iter().find(|header| header.name() == "Content-Length")?.value().trim();
    Some(value.parse().unwrap_or(usize::MAX))
}

/// An answer to a broken request, made of the lines that it came with; none where these are not enough, or for an ACK.
fn refuse(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() > LARGEST_ANSWERED {
        return None;
    }
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = text.split("\r\n");
    let (method, rest) = lines.next()?.split_once(' ')?;
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    if !is_method || method == "ACK" || !rest.ends_with("SIP/2.0") {
        return None;
    }
    let status = if ALLOWED.contains(&method) { "400 Bad Request" } else { "405 Method Not Allowed" };
    let mut answer = format!("SIP/2.0 {status}\r\n");
    let mut found = [false; 5];
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let name = match name.trim().to_ascii_lowercase().as_str() {
            "via" | "v" => (0, "Via"),
            "from" | "f" => (1, "From"),
            "to" | "t" => (2, "To"),
            "call-id" | "i" => (3, "Call-ID"),
            "cseq" => (4, "CSeq"),
            _ => continue,
        };
        let value = value.trim();
        if value.is_empty() || (name.0 != 0 && found[name.0]) {
            continue;
        }
        found[name.0] = true;
        let tag = if name.0 == 2 && !value.contains(";tag=") { ";tag=refused" } else { "" };
        answer.push_str(&format!("{}: {value}{tag}\r\n", name.1));
    }
    if found != [true; 5] {
        return None;
    }
    answer.push_str(&format!("Allow: {}\r\nContent-Length: 0\r\n\r\n", ALLOWED.join(", ")));
    Some(answer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:1001@acme.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n\
        From: <sip:dana@example.org>;tag=1\r\nTo: <sip:1001@acme.example>\r\nCall-ID: 1@192.0.2.1\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:dana@192.0.2.1>\r\nContent-Length: 0\r\n\r\n";

    fn judged(text: &str) -> Verdict {
        judge(text.as_bytes(), "192.0.2.7:5070".parse().unwrap(), Transport::Udp)
    }

    #[test]
    fn a_request_passes_with_its_source_written_into_it() {
        let Verdict::Pass(message) = judged(INVITE) else { panic!("refused") };
        let via = message.via_header().unwrap().value().to_owned();
        assert!(via.contains("received=192.0.2.7") && via.contains("rport=5070"), "{via}");
    }

    #[test]
    fn a_response_needs_no_tag_as_long_as_nobody_answered() {
        let trying = INVITE.replace("INVITE sip:1001@acme.example SIP/2.0", "SIP/2.0 100 Trying");
        assert!(matches!(judged(&trying), Verdict::Pass(_)), "{trying}");
    }

    #[test]
    fn what_is_broken_is_answered_where_it_can_be() {
        for (broken, wanted) in [
            (INVITE.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"), Some("SIP/2.0 400")),
            (INVITE.replace("CSeq: 1 INVITE", "CSeq: 99999999999 INVITE"), Some("SIP/2.0 400")),
            (INVITE.replace("INVITE", "JUGGLE"), Some("SIP/2.0 405")),
            (INVITE.replace(";tag=1", ""), Some("SIP/2.0 400")),
            (INVITE.replace("Content-Length: 0", "Content-Length: 400"), Some("SIP/2.0 400")),
            (INVITE.replace("Call-ID: 1@192.0.2.1\r\n", ""), None),
            (INVITE.replace("INVITE", "ACK").replace("CSeq: 1 ACK", "CSeq: 1 BYE"), None),
            (INVITE.replace("SIP/2.0\r\nVia", "HTTP/1.1\r\nVia"), None),
            ("\0\0\0\0".into(), None),
        ] {
            match (judged(&broken), wanted) {
                (Verdict::Answer(answer), Some(wanted)) => {
                    let answer = String::from_utf8(answer).unwrap();
                    assert!(answer.starts_with(wanted), "{broken}\n{answer}");
                    assert!(answer.contains("Call-ID: 1@192.0.2.1\r\n"), "{answer}");
                }
                (Verdict::Drop(_), None) => {}
                (verdict, _) => panic!("{broken}\n{verdict:?}"),
            }
        }
    }
}
