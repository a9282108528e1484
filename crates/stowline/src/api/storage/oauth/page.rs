//! What a person reads who comes back from the provider: what was connected, or what went wrong and what to do.
//!
//! Words of ours, and of documents that somebody with rights wrote, escaped; nothing of the request.

use http::StatusCode;

use crate::app::oauth::Consent;
use crate::app::oauth::flow::Failed;

/// Status and text of the page.
pub(super) fn of(outcome: &Result<Consent, Failed>) -> (StatusCode, String) {
    match outcome {
        Ok(consent) => (StatusCode::OK, page("Connected", &connected(consent))),
        Err(failed) => {
            let (status, title, text, remedy) = told(failed);
            (status, page(title, &format!("<p>{}</p>\n<p>{}</p>", escaped(&text), escaped(remedy))))
        }
    }
}

fn connected(consent: &Consent) -> String {
    let name = consent.document.text("name").unwrap_or("this connection");
    format!(
        "<p>{} is connected: {}.</p>\n<p>Its id, for the setting <code>oauth_doc_id</code>: <code>{}</code></p>\n<p>You can close this window.</p>",
        escaped(consent.provider.title()),
        escaped(name),
        escaped(consent.id.as_ref())
    )
}

const AGAIN: &str = "Go back to where you began and begin anew.";

fn told(failed: &Failed) -> (StatusCode, &'static str, String, &'static str) {
    let bad = StatusCode::BAD_REQUEST;
    match failed {
        Failed::Unknown => (
            bad,
            "Nothing was connected",
            "This address is good once, and was used already, or nobody here began with it.".to_owned(),
            AGAIN,
        ),
        Failed::Expired => (bad, "Nothing was connected", "This took too long.".to_owned(), AGAIN),
        Failed::Forbidden => (
            StatusCode::FORBIDDEN,
            "Nothing was connected",
            "Whoever began this may not change this storage any more.".to_owned(),
            "Ask an administrator of the account to begin anew.",
        ),
        Failed::LoggedOut => (
            StatusCode::FORBIDDEN,
            "Nothing was connected",
            "Whoever began this has logged out since, or has another password now.".to_owned(),
            "Log in and begin anew.",
        ),
        Failed::OtherBrowser => (
            StatusCode::FORBIDDEN,
            "Nothing was connected",
            "This was begun in another browser.".to_owned(),
            "Begin anew in this one. If somebody sent you here, tell them that it did not work, and that you did not begin it.",
        ),
        Failed::Declined(provider) => (
            bad,
            "Nothing was connected",
            format!("{} was told that you do not consent.", provider.title()),
            "If that was not meant, begin anew.",
        ),
        Failed::Refused(provider, word) => (
            bad,
            "Nothing was connected",
            match word {
                Some(word) => format!("{} refused: {word}.", provider.title()),
                None => format!("{} refused.", provider.title()),
            },
            "Begin anew. If it is refused again, an operator should look whether the application's secret and redirect address are right.",
        ),
        Failed::Lost(provider) => (
            StatusCode::BAD_GATEWAY,
            "Nothing was connected",
            format!("{} could not be reached from here.", provider.title()),
            AGAIN,
        ),
        Failed::Withheld(provider, scopes) => (
            bad,
            "Nothing was connected",
            format!("{} gave less than is needed. Missing: {}.", provider.title(), scopes.join(", ")),
            "Begin anew, and leave every box ticked.",
        ),
        Failed::NotForLong(provider) => (
            bad,
            "Nothing was connected",
            format!("{} gave access for an hour only, which is not enough.", provider.title()),
            "Remove this application from your account there, then begin anew.",
        ),
        Failed::Gone => (
            StatusCode::GONE,
            "Nothing was connected",
            "The connection that was to be given again was removed meanwhile.".to_owned(),
            "Begin anew without it.",
        ),
        Failed::Ours(error) => {
            tracing::error!(error = %crate::api::error::chain(error), "a consent could not be finished");
            let text = "Something is out of order on this side.".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, "Nothing was connected", text, "Begin anew in a moment.")
        }
    }
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>body{{font:1rem/1.5 sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::oauth::Provider;

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(escaped("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
        let (status, text) = of(&Err(Failed::Withheld(Provider::Google, vec!["<script>".into()])));
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
    }
}
