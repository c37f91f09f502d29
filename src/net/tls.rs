//! TLS: the configuration, the handshake, and what a failed one means to the person.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, OtherError,
    RootCertStore, SignatureScheme, StreamOwned,
};

use crate::net::roots;
use crate::net::socket::Stream;
use crate::text::printable;

/// The configuration that trusts our roots. They are loaded here, so that an invalid variable fails early.
pub fn config() -> Result<Arc<ClientConfig>> {
    let roots = roots::load()?;
    let store = RootCertStore {
        roots: roots.anchors,
    };
    let provider = Arc::new(ring::default_provider());
    let webpki = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone())
        .build()
        .context("could not use the trusted certificates")?;
    let source = roots.source;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // It checks as ever, and only tells more.
        .with_custom_certificate_verifier(Arc::new(Verifier { webpki, source }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Performs the handshake with a host. The error says why it failed.
pub fn encrypt(config: &Arc<ClientConfig>, host: &str, plain: Stream) -> Result<Stream, String> {
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let connection = ClientConnection::new(Arc::clone(config), name.to_owned());
    let connection = connection.map_err(|error| describe(&error))?;
    let mut stream = Box::new(StreamOwned::new(connection, plain));
    match stream.conn.complete_io(&mut stream.sock) {
        Ok(_) => Ok(Stream::Tls(stream)),
        Err(error) => Err(describe_io(&error)),
    }
}

fn describe_io(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
    match (cause, error.kind()) {
        (Some(cause), _) => describe(cause),
        (None, ErrorKind::TimedOut) => {
            "TLS handshake timed out (is a firewall in the way?)".to_owned()
        }
        _ => "connection closed during the TLS handshake (is a firewall in the way?)".to_owned(),
    }
}

fn describe(error: &rustls::Error) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext, Other,
    };
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    match error {
        InvalidCertificate(Other(untrusted)) => return untrusted.to_string(),
        InvalidCertificate(Expired | ExpiredContext { .. }) => {
            "certificate has expired (is this machine's clock right?)"
        }
        InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
            "certificate is not yet valid (is this machine's clock right?)"
        }
        InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "certificate is for another name (a captive portal or a filter?)"
        }
        InvalidCertificate(reason) => {
            return format!("invalid certificate: {}", printable(&reason.to_string()));
        }
        InvalidMessage(_) => {
            "not a TLS server (a captive portal? a proxy that needs http:// in its URL?)"
        }
        other => return format!("TLS handshake failed: {}", printable(&other.to_string())),
    }
    .to_owned()
}

/// Verifies certificates as rustls does, and names the issuer of one that is not trusted: a person behind an inspecting proxy
/// needs to know.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// Where the roots are from, in words.
    source: String,
}

impl Verifier {
    fn untrusted(&self, certificate: &CertificateDer<'_>) -> rustls::Error {
        let issuer = issuer_name(certificate).unwrap_or_else(|| "unknown".to_owned());
        let words: Box<dyn Error + Send + Sync> = format!(
            "certificate issued by «{issuer}» is not trusted (if that is your company's proxy, set CODEX_CA_CERTIFICATE to \
             the PEM file of its CA; trusted are {})",
            self.source
        )
        .into();
        CertificateError::Other(OtherError(words.into())).into()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        let verified = self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        verified.map_err(|error| match error {
            // BadSignature: another CA of that name is trusted, such as an old one of the same proxy.
            InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => self.untrusted(end_entity),
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// The name of who issued a certificate: its common name, else its organization (RFC 5280 section 4.1.2.4).
fn issuer_name(certificate: &CertificateDer<'_>) -> Option<String> {
    const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 4, 3];
    const ORGANIZATION: [u8; 5] = [0x06, 3, 0x55, 4, 10];
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let name = attribute(parsed.issuer(), COMMON_NAME)
        .or_else(|| attribute(parsed.issuer(), ORGANIZATION))?;
    Some(printable(&String::from_utf8_lossy(name)))
}

/// The value after an identifier in a DER name. At worst an error message has a strange word in it.
fn attribute(name: &[u8], identifier: [u8; 5]) -> Option<&[u8]> {
    let at = name.windows(5).position(|bytes| bytes == identifier)?;
    let [_tag, length, value @ ..] = &name[at + 5..] else {
        return None;
    };
    value.get(..usize::from(*length))
}
