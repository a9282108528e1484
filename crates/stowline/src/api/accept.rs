//! Which of several forms of an answer a client wants: `Accept` with its quality values, or `?accept=` in its place.

use http::header::ACCEPT;

use super::Call;
use crate::app::media_types;

/// The form that the client likes best among `offered` (a media type, and what stands for it); where it has no preference, the first. None when it
/// takes none of them.
pub fn best<T: Copy>(call: &Call, offered: &[(&str, T)]) -> Option<T> {
    choose(&wanted(call), offered)
}

/// What the client takes, as in an `Accept` header. `accept=csv` and the like name a type by the extension of its files.
fn wanted(call: &Call) -> String {
    let tunnelled = call.value("accept").and_then(|value| value.as_str().map(|text| text.trim().to_owned()));
    if let Some(text) = tunnelled.filter(|text| !text.is_empty()) {
        return match text.as_str() {
            "json" => "application/json".into(),
            "csv" => "text/csv".into(),
            word => media_types::type_of(word).map_or(text, str::to_owned),
        };
    }
    let lines: Vec<&str> = call.headers.get_all(ACCEPT).into_iter().filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

/// A range of media types with its quality, in thousandths.
struct Range {
    kind: String,
    subtype: String,
    quality: u16,
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let (kind, subtype) = (kind.trim().to_ascii_lowercase(), subtype.trim().to_ascii_lowercase());
        let quality = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| quality(value.trim()))
        });
        (!kind.is_empty() && !subtype.is_empty()).then(|| Self { kind, subtype, quality: quality.unwrap_or(1000) })
    }

    /// How exactly the range names the type; none when it does not.
    fn fits(&self, content_type: &str) -> Option<u8> {
        let (kind, subtype) = content_type.split_once('/')?;
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => Some(0),
            (own, "*") if own == kind => Some(1),
            (own, exact) if own == kind && exact == subtype => Some(2),
            _ => None,
        }
    }
}

/// `0.85` as 850; what cannot be read counts as 1.
fn quality(text: &str) -> u16 {
    let read = text.parse::<f32>().ok().filter(|quality| (0.0..=1.0).contains(quality));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    read.map_or(1000, |quality| (quality * 1000.0).round() as u16)
}

fn choose<T: Copy>(accept: &str, offered: &[(&str, T)]) -> Option<T> {
    let mut ranges: Vec<Range> = accept.split(',').filter_map(Range::read).collect();
    if ranges.is_empty() {
        return offered.first().map(|(_, form)| *form);
    }
    ranges.sort_by_key(|range| std::cmp::Reverse(range.quality));
    // The range that names a type most exactly says whether it is refused.
    let refused = |content_type: &str| {
        let named = ranges.iter().filter_map(|range| Some((range.fits(content_type)?, range.quality)));
        named.max_by_key(|(exactness, _)| *exactness).is_some_and(|(_, quality)| quality == 0)
    };
    let taken = ranges.iter().filter(|range| range.quality > 0).find_map(|range| {
        offered.iter().find(|(content_type, _)| range.fits(content_type).is_some() && !refused(content_type))
    });
    taken.map(|(_, form)| *form)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [(&str, char); 3] = [("application/json", 'j'), ("audio/wav", 'w'), ("audio/x-wav", 'w')];

    #[test]
    fn the_best_quality_wins_and_the_first_of_equals() {
        for (accept, wanted) in [
            ("", Some('j')),
            ("*/*", Some('j')),
            ("nonsense", Some('j')),
            ("application/json", Some('j')),
            ("audio/wav", Some('w')),
            ("AUDIO/X-WAV ; rate=8000", Some('w')),
            ("audio/*", Some('w')),
            ("audio/mpeg", None),
            ("image/png, text/html", None),
            ("audio/mpeg, audio/wav", Some('w')),
            ("application/json, audio/wav", Some('j')),
            ("audio/wav, application/json", Some('w')),
            ("application/json;q=0.5, audio/wav", Some('w')),
            ("application/json;q=0.5, audio/wav;q=0.499", Some('j')),
            ("audio/mpeg, */*;q=0.1", Some('j')),
            ("audio/*;q=0.9, */*;q=0.1", Some('w')),
            ("*/*, application/json;q=0", Some('w')),
            ("application/json;q=0", None),
            ("*/*;q=0", None),
            ("audio/wav;q=0, audio/*", Some('w')),
            ("audio/wav;q=x", Some('w')),
        ] {
            assert_eq!(choose(accept, &OFFERED), wanted, "{accept}");
        }
    }

    #[test]
    fn a_query_says_it_instead_of_the_header() {
        let mut call = Call { query: vec![("accept".into(), "wav".into())], ..Call::default() };
        call.headers.insert(ACCEPT, http::HeaderValue::from_static("application/json"));
        assert_eq!(best(&call, &OFFERED), Some('w'));
        call.query[0].1 = "audio/wav;q=0.1, application/json;q=0.2".into();
        assert_eq!(best(&call, &OFFERED), Some('j'));
        call.query.clear();
        assert_eq!(best(&call, &OFFERED), Some('j'));
    }
}
