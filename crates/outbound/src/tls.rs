//! TLS: certificates are judged as the machine judges them; for what does not speak HTTP also by a fingerprint alone.
//!
//! There a certificate that is refused is named by its fingerprint in the error, so that somebody who knows it can say so.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier};
use rustls_platform_verifier::Verifier;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind};

/// How the other side of a connection is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By a certificate that the machine's authorities vouch for.
    Authorities,
    /// By the SHA-256 of its certificate, whoever vouches for it and whatever names it has.
    Fingerprint([u8; 32]),
}

/// What a TLS library needs to connect. Connections that share it can resume each other's sessions.
pub(crate) fn config(trust: Trust) -> Result<Arc<ClientConfig>, Error> {
    let failed = |error: rustls::Error| Error::caused(ErrorKind::Tls, "setting up TLS", error);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let judge = match trust {
        Trust::Authorities => Judge::Machine(Verifier::new(provider.clone()).map_err(failed)?),
        Trust::Fingerprint(known) => Judge::Known(known),
    };
    let verifier = Arc::new(Named { judge, provider: provider.clone() });
    Ok(Arc::new(builder(provider)?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// What HTTP needs. On a machine without certificate authorities nobody is trusted.
pub(crate) fn of_machine() -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = builder(provider.clone())?;
    Ok(match Verifier::new(provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "the machine has no certificate authorities: https will fail, http works");
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    })
}

fn builder(provider: Arc<CryptoProvider>) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.map_err(|error| Error::caused(ErrorKind::Tls, "setting up TLS", error))
}

#[derive(Debug)]
enum Judge {
    Machine(Verifier),
    Known([u8; 32]),
}

#[derive(Debug)]
struct Named {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown: [u8; 32] = Sha256::digest(end_entity).into();
        let verdict = match &self.judge {
            Judge::Machine(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Judge::Known(known) if *known == shown => Ok(ServerCertVerified::assertion()),
            Judge::Known(_) => Err(rustls::Error::General("it is not the certificate of the fingerprint".into())),
        };
        verdict.map_err(|error| {
            rustls::Error::General(format!("{error}; the server shows a certificate with the SHA-256 {}", hex(&shown)))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
