//! Reading settings: each as what it should be, or an error that names it and never shows it.

pub(crate) use outbound::Secret;
use serde_json::{Map, Value};
use url::Url;

use crate::error::{Error, ErrorKind, Operation};

/// The settings of an entry. A setting that is `null` or an empty text is absent.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Settings<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>, Error> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| wrong(name, "is not a text"))).transpose()
    }

    pub(crate) fn required(self, name: &str) -> Result<&'a str, Error> {
        self.text(name)?.ok_or_else(|| wrong(name, "is missing"))
    }

    /// JSON, as it is or as its text.
    pub(crate) fn json(self, name: &str) -> Result<Option<Value>, Error> {
        let read = |value: &Value| match value {
            Value::String(text) => serde_json::from_str(text).map_err(|_| wrong(name, "is no JSON")),
            other => Ok(other.clone()),
        };
        self.get(name).map(read).transpose()
    }

    /// An `http` or `https` URL with nothing in it that could be a credential.
    pub(crate) fn url(self, name: &str) -> Result<Option<Url>, Error> {
        let read = |text: &str| {
            let url = Url::parse(text.trim()).map_err(|_| wrong(name, "is no URL"))?;
            if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                return Err(wrong(name, "is neither http nor https"));
            }
            let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
            if plain { Ok(url) } else { Err(wrong(name, "has a user, a password or a query")) }
        };
        self.text(name)?.map(read).transpose()
    }

    /// The URL that stands for `default`, without a slash at its end.
    pub(crate) fn root(self, name: &str, default: &str) -> Result<String, Error> {
        let url = self.url(name)?;
        Ok(url.map_or_else(|| default.to_owned(), |url| outbound::redact(&url).trim_end_matches('/').to_owned()))
    }

    pub(crate) fn secret(self, name: &str) -> Result<Secret, Error> {
        self.required(name).map(Secret::new)
    }

    pub(crate) fn port(self, name: &str) -> Result<Option<u16>, Error> {
        let read = |value: &Value| {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
        };
        self.get(name).map(|value| read(value).ok_or_else(|| wrong(name, "is not a port"))).transpose()
    }

    pub(crate) fn number(self, name: &str) -> Result<Option<u64>, Error> {
        let read = |value: &Value| value.as_u64().ok_or_else(|| wrong(name, "is no number"));
        self.get(name).map(read).transpose()
    }

    pub(crate) fn flag(self, name: &str) -> Result<bool, Error> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// A flag that may be left open.
    pub(crate) fn choice(self, name: &str) -> Result<Option<bool>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(_) => Err(wrong(name, "is neither true nor false")),
        }
    }
}

pub(crate) fn wrong(name: &str, what: &str) -> Error {
    Error::new(Operation::Open, ErrorKind::Misconfigured, format!("{name} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_setting_is_named_and_not_shown() {
        let settings = json!({"key": 77123, "port": "99999", "flag": "hunter2", "ok": "true", "none": null, "empty": "",
                "url": "https://me:hunter2@h/"});
        let settings = Settings(settings.as_object().unwrap());
        for error in [
            settings.text("key").unwrap_err(),
            settings.port("port").unwrap_err(),
            settings.flag("flag").unwrap_err(),
            settings.required("none").unwrap_err(),
            settings.required("empty").unwrap_err(),
            settings.url("url").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            let shown = format!("{error} {error:?}");
            assert!(!["77123", "99999", "hunter2"].iter().any(|value| shown.contains(value)), "{shown}");
        }
        assert!(settings.flag("ok").unwrap());
    }
}
