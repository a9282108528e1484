//! The places whose drives are opened by a consent: what they are called, where they ask people and give tokens, and what they want to be told.

use outbound::oauth::Pkce;
use serde_json::Value;
use url::Url;

use crate::config;

/// Who keeps the drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Google Drive, Google Cloud Storage.
    Google,
    /// Dropbox.
    Dropbox,
    /// OneDrive, SharePoint.
    Microsoft,
}

/// What an address to consent at is made of.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The application's id at the provider.
    pub client_id: &'a str,
    /// Whose directory people must be of (Microsoft).
    pub tenant: Option<&'a str>,
    /// Where the person is sent back to.
    pub redirect_uri: &'a str,
    /// What access is asked for.
    pub scopes: &'a [String],
    /// Names the consent that is under way.
    pub state: &'a str,
    /// What the code will have to be proven with.
    pub pkce: &'a Pkce,
}

impl Provider {
    /// By its word in paths and documents.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Google, Self::Dropbox, Self::Microsoft].into_iter().find(|provider| provider.word() == word)
    }

    /// Its word in paths and documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Dropbox => "dropbox",
            Self::Microsoft => "microsoft",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Google => "Google",
            Self::Dropbox => "Dropbox",
            Self::Microsoft => "Microsoft",
        }
    }

    /// What access a kind of handler needs; none for a kind that is not the provider's. Without a kind: what most want.
    pub fn scopes(self, handler: Option<&str>) -> Option<&'static [&'static str]> {
        match (self, handler) {
            (Self::Google, None | Some("google_drive")) => Some(&["https://www.googleapis.com/auth/drive.file"]),
            (Self::Google, Some("google_storage")) => Some(&["https://www.googleapis.com/auth/devstorage.read_write"]),
            (Self::Dropbox, None | Some("dropbox")) => {
                Some(&["files.content.write", "files.content.read", "files.metadata.read"])
            }
            (Self::Microsoft, None | Some("onedrive")) => Some(&["offline_access", "Files.ReadWrite.All"]),
            _ => None,
        }
    }

    /// Whether it opens what a handler of this kind writes to.
    pub fn serves(self, handler: &str) -> bool {
        self.scopes(Some(handler)).is_some()
    }

    /// Where it gives tokens.
    ///
    /// # Errors
    /// When what is configured makes no URL.
    pub fn token_url(self, config: &config::OAuth, tenant: Option<&str>) -> Result<Url, url::ParseError> {
        let configured = match self {
            Self::Google => &config.google_token_url,
            Self::Dropbox => &config.dropbox_token_url,
            Self::Microsoft => &config.microsoft_token_url,
        };
        in_directory(configured, tenant)
    }

    /// Where a person consents.
    ///
    /// # Errors
    /// When what is configured makes no URL.
    pub fn consent_url(self, config: &config::OAuth, asking: &Asking<'_>) -> Result<Url, url::ParseError> {
        let (configured, more): (_, &[(&str, &str)]) = match self {
            // Without these Google gives a refresh token once, and never again.
            Self::Google => (&config.google_authorize_url, &[("access_type", "offline"), ("prompt", "consent")]),
            Self::Dropbox => (&config.dropbox_authorize_url, &[("token_access_type", "offline")]),
            Self::Microsoft => (&config.microsoft_authorize_url, &[("response_mode", "query")]),
        };
        let mut url = in_directory(configured, asking.tenant)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", asking.client_id)
            .append_pair("redirect_uri", asking.redirect_uri)
            .append_pair("scope", &asking.scopes.join(" "))
            .append_pair("state", asking.state)
            .append_pair("code_challenge", &asking.pkce.challenge)
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(more);
        Ok(url)
    }

    /// Where it can be told that a consent ends; Microsoft has no such place.
    ///
    /// # Errors
    /// When what is configured makes no URL.
    pub fn revoke_url(self, config: &config::OAuth) -> Result<Option<Url>, url::ParseError> {
        match self {
            Self::Google => Url::parse(&config.google_revoke_url).map(Some),
            Self::Dropbox => Url::parse(&config.dropbox_revoke_url).map(Some),
            Self::Microsoft => Ok(None),
        }
    }

    /// What was asked for and not given. A person can untick some of it at Google, which alone says in full what was given.
    pub fn withheld(self, asked: &[String], given: Option<&str>) -> Vec<String> {
        let Some(given) = given.filter(|_| self == Self::Google) else { return Vec::new() };
        asked.iter().filter(|scope| !given.split_whitespace().any(|given| given == *scope)).cloned().collect()
    }
}

fn in_directory(configured: &str, tenant: Option<&str>) -> Result<Url, url::ParseError> {
    Url::parse(&configured.replace("{tenant}", tenant.unwrap_or("common")))
}

/// The scopes that a document lists.
pub(super) fn listed(value: Option<&Value>) -> Vec<String> {
    let scopes = value.and_then(Value::as_array).into_iter().flatten();
    scopes.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_asked_in_the_words_of_each_provider() {
        let config = config::Config::load(None, [], &config::Flags::default()).unwrap().oauth;
        let pkce = Pkce::new().unwrap();
        let scopes = ["a b".to_owned(), "c".to_owned()];
        let asking = |tenant| Asking {
            client_id: "id&x",
            tenant,
            redirect_uri: "https://s.example/v2/storage/oauth/callback",
            scopes: &scopes,
            state: "st",
            pkce: &pkce,
        };
        let google = Provider::Google.consent_url(&config, &asking(None)).unwrap().to_string();
        assert!(google.starts_with("https://accounts.google.com/"), "{google}");
        for part in ["client_id=id%26x", "scope=a+b+c", "access_type=offline", "code_challenge_method=S256", "state=st"]
        {
            assert!(google.contains(part), "{part} in {google}");
        }
        assert!(!google.contains(pkce.verifier.reveal()));
        let dropbox = Provider::Dropbox.consent_url(&config, &asking(None)).unwrap().to_string();
        assert!(dropbox.contains("token_access_type=offline"), "{dropbox}");
        let common = Provider::Microsoft.consent_url(&config, &asking(None)).unwrap();
        assert!(common.path().starts_with("/common/"), "{common}");
        let own = Provider::Microsoft.token_url(&config, Some("contoso.example")).unwrap();
        assert!(own.path().starts_with("/contoso.example/"), "{own}");
    }

    #[test]
    fn what_was_unticked_is_known() {
        let asked = ["drive".to_owned(), "storage".to_owned()];
        assert_eq!(Provider::Google.withheld(&asked, Some("openid drive")), ["storage"]);
        assert!(Provider::Google.withheld(&asked, None).is_empty());
        assert!(Provider::Microsoft.withheld(&asked, Some("other")).is_empty());
    }

    #[test]
    fn a_kind_of_handler_has_one_provider_at_most() {
        for kind in attachments::kinds() {
            let all = ["google", "dropbox", "microsoft"].map(|word| Provider::named(word).unwrap());
            let serving = all.iter().filter(|provider| provider.serves(kind.name)).count();
            let by_consent = kind.schema.contains("oauth_doc_id");
            assert_eq!(serving, usize::from(by_consent), "{}", kind.name);
        }
    }
}
