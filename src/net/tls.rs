//! TLS: the configuration, the handshake, and what a failed handshake means.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, OtherError,
    SignatureScheme, StreamOwned,
};

use crate::net::roots;
use crate::net::socket::Stream;
use crate::text::printable;

/// The configuration that trusts our roots. They are loaded here, so that an invalid variable fails early.
pub fn config() -> Result<Arc<ClientConfig>> {
    let (store, source) = roots::load()?;
    let webpki = WebPkiServerVerifier::builder(store.into()).build();
    let webpki = webpki.context("could not use the trusted certificates")?;
    let config = ClientConfig::builder()
        .dangerous() // It still checks everything, and only reports more.
        .with_custom_certificate_verifier(Arc::new(Verifier { webpki, source }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Performs the handshake with a host. The error says why it failed.
pub fn encrypt(config: &Arc<ClientConfig>, host: &str, plain: Stream) -> Result<Stream, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connection = ClientConnection::new(Arc::clone(config), name);
    let connection = connection.map_err(|error| error.to_string())?;
    let mut stream = Box::new(StreamOwned::new(connection, plain));
    let shaken = stream.conn.complete_io(&mut stream.sock);
    shaken.map_err(|error| describe(&error))?;
    Ok(Stream::Tls(stream))
}

fn describe(error: &io::Error) -> String {
    use CertificateError::{ExpiredContext, NotValidForNameContext, NotValidYetContext, Other};
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
    let words = match cause {
        Some(InvalidCertificate(Other(untrusted))) => return untrusted.to_string(),
        Some(InvalidCertificate(ExpiredContext { .. } | NotValidYetContext { .. })) => {
            "certificate has expired, or is not yet valid (is this machine's clock right?)"
        }
        Some(InvalidCertificate(NotValidForNameContext { .. })) => {
            "certificate is for another name (a captive portal or a filter?)"
        }
        Some(InvalidMessage(_)) => {
            "not a TLS server (a captive portal? a proxy that needs http:// in its URL?)"
        }
        Some(other) => return format!("TLS handshake failed: {}", printable(&other.to_string())),
        None if error.kind() == ErrorKind::TimedOut => {
            "TLS handshake timed out (is a firewall in the way?)"
        }
        None => "connection closed during the TLS handshake (is a firewall in the way?)",
    };
    words.to_owned()
}

/// Verifies certificates like rustls, and names the issuer of an untrusted one, which users behind an inspecting proxy
/// need to know.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// The origin of the roots, in words.
    source: String,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{BadSignature, UnknownIssuer};
        use rustls::Error::InvalidCertificate;
        let webpki = &self.webpki;
        let verified = webpki.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        // BadSignature: a different CA of that name is trusted, such as an old one of the same proxy.
        let Err(InvalidCertificate(UnknownIssuer | BadSignature)) = verified else {
            return verified;
        };
        let issuer = issuer_name(end_entity).unwrap_or_else(|| "unknown".to_owned());
        let source = &self.source;
        let untrusted = io::Error::other(format!(
            "certificate issued by \"{issuer}\" is not trusted (if that is your company's proxy, set CODEX_CA_CERTIFICATE \
             to the PEM file of its CA; the trusted CAs are {source})"
        ));
        Err(CertificateError::Other(OtherError(Arc::new(untrusted))).into())
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

/// The name of a certificate's issuer: its common name, or else its organization (RFC 5280 section 4.1.2.4). In the worst
/// case, an error message contains a strange word.
fn issuer_name(certificate: &CertificateDer<'_>) -> Option<String> {
    const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 4, 3];
    const ORGANIZATION: [u8; 5] = [0x06, 3, 0x55, 4, 10];
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let issuer = parsed.issuer();
    // In DER, an attribute is its identifier followed by a string: its tag, its length, its bytes.
    let attribute = |identifier| {
        let at = issuer.windows(5).position(|bytes| bytes == identifier)?;
        let (length, value) = issuer[at + 5..].get(1..)?.split_first()?;
        value.get(..usize::from(*length))
    };
    let name = attribute(COMMON_NAME).or_else(|| attribute(ORGANIZATION))?;
    Some(printable(&String::from_utf8_lossy(name)))
}
