//! A URL that is signed by a service account (version 4 of Google's way): it lets in whoever has it, for a while.

use std::time::SystemTime;

use outbound::oauth::ServiceAccount;
use sha2::{Digest, Sha256};
use url::Url;

use crate::error::{Error, ErrorKind, Operation};
use crate::presigned;

const ALGORITHM: &str = "GOOG4-RSA-SHA256";

/// A URL to read an object by. `object` is where it lies.
pub(super) fn url(
    account: &ServiceAccount,
    mut object: Url,
    disposition: &str,
    content_type: &str,
    now: SystemTime,
) -> Result<Url, Error> {
    let (host, moment) = (presigned::host(&object), presigned::stamp(now));
    let scope = format!("{}/auto/storage/goog4_request", &moment[..8]);
    let (credential, lasts) = (format!("{}/{scope}", account.email()), presigned::GOOD_FOR.as_secs().to_string());
    // In the order of their names, as they are signed.
    let query = presigned::query(&[
        ("X-Goog-Algorithm", ALGORITHM),
        ("X-Goog-Credential", &credential),
        ("X-Goog-Date", &moment),
        ("X-Goog-Expires", &lasts),
        ("X-Goog-SignedHeaders", "host"),
        ("response-content-disposition", disposition),
        ("response-content-type", content_type),
    ]);
    let request = format!("GET\n{}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD", object.path());
    let text = format!("{ALGORITHM}\n{moment}\n{scope}\n{}", hex::encode(Sha256::digest(request)));
    let unfit =
        |error| Error::new(Operation::Fetch, ErrorKind::Misconfigured, "the link cannot be signed").caused(error);
    let signature = hex::encode(account.sign(text.as_bytes()).map_err(unfit)?);
    object.set_query(Some(&format!("{query}&X-Goog-Signature={signature}")));
    Ok(object)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_signed_is_what_google_reads() {
        let file = json!({
            "client_email": "robot@project.example", "private_key": testkit::SERVICE_ACCOUNT_KEY, "token_uri": "https://oauth2.example/token",
        });
        let account = ServiceAccount::read(&file).unwrap();
        let object = Url::parse("https://storage.googleapis.com/recordings/a%20b/c.wav").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let url = url(&account, object, "attachment; filename=c.wav", "audio/wav", now).unwrap();
        let query = "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=robot%40project.example%2F19941106%2Fauto%2Fstorage%2Fgoog4_request\
                     &X-Goog-Date=19941106T084937Z&X-Goog-Expires=60&X-Goog-SignedHeaders=host\
                     &response-content-disposition=attachment%3B%20filename%3Dc.wav&response-content-type=audio%2Fwav";
        let (signed, signature) = url.query().unwrap().split_once("&X-Goog-Signature=").unwrap();
        assert_eq!(signed, query);
        let request =
            format!("GET\n/recordings/a%20b/c.wav\n{query}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD");
        let text = format!(
            "GOOG4-RSA-SHA256\n19941106T084937Z\n19941106/auto/storage/goog4_request\n{}",
            hex::encode(Sha256::digest(request))
        );
        let der = PrivatePkcs8KeyDer::from_pem_slice(testkit::SERVICE_ACCOUNT_KEY.as_bytes()).unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        key.verify(text.as_bytes(), &hex::decode(signature).unwrap()).unwrap();
    }
}
