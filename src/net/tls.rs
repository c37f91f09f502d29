//! TLS under ureq: its own connector does the handshake. Here is what a failed one means to the person, and a handshake
//! that does nothing but find out who issued a certificate: a person behind an inspecting proxy has to know.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use http::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, RustlsConnector, Transport, TransportAdapter,
};

use crate::net::roots::{self, Roots};
use crate::text::printable;
use crate::url::without_brackets;

/// Whom to trust.
pub struct Trust {
    pub config: TlsConfig,
    /// Where the roots are from, in words.
    pub source: String,
}

/// The roots are read here, so that a mistake in their variables is found at once.
pub fn trust() -> Result<Trust> {
    let Roots {
        certificates,
        source,
    } = roots::load()?;
    // It fails where it was done before.
    let _ = ring::default_provider().install_default();
    let certificates: Vec<_> = certificates
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    let config = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .build();
    Ok(Trust { config, source })
}

/// One end of a connection: the server of the request, or the proxy before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Server,
    Proxy,
}

impl Peer {
    /// Which one a URL names in a request to `host`.
    pub fn of(uri: &Uri, host: &str) -> Self {
        if uri.host().map(without_brackets) == Some(host) {
            Self::Server
        } else {
            Self::Proxy
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Proxy => "proxy",
        })
    }
}

/// Why there is no TLS connection.
#[derive(Debug)]
pub enum TlsError {
    /// No trusted authority issued the certificate of this peer.
    Untrusted(Peer),
    /// Any other reason, in words.
    Failed(String),
    /// No failure, but what was asked for: who issued the certificate.
    IssuedBy(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(peer) => write!(f, "{peer} certificate is not trusted"),
            Self::Failed(text) | Self::IssuedBy(text) => f.write_str(text),
        }
    }
}

impl Error for TlsError {}

impl From<TlsError> for ureq::Error {
    fn from(error: TlsError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// The last step of a connection, with TLS where the URL of the peer is https.
#[derive(Debug)]
pub struct Handshake {
    /// The host of the request.
    pub host: String,
    /// Becomes true when a connection to the server of the request stands.
    pub connected: Arc<AtomicBool>,
    /// The peer whose certificate is only inspected: then the connection ends there.
    pub inspected: Option<Peer>,
    pub tls: RustlsConnector,
}

impl<In: Transport> Connector<In> for Handshake {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let plain = chained.ok_or(ureq::Error::ConnectionFailed)?;
        let peer = Peer::of(details.uri, &self.host);
        if self.inspected == Some(peer) {
            return Err(TlsError::IssuedBy(issuer_of_peer(details, plain)).into());
        }
        let connection = self.tls.connect(details, Some(plain));
        let connection = connection.map_err(|error| explain(peer, &error))?;
        if peer == Peer::Server {
            self.connected.store(true, Ordering::SeqCst);
        }
        Ok(connection)
    }
}

/// What a failed handshake means to the person.
fn explain(peer: Peer, error: &ureq::Error) -> TlsError {
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    let cause = match error {
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Timeout(_) => {
            return failed(peer, "TLS handshake timed out (is a firewall in the way?)");
        }
        other => return failed(peer, &printable(&other.to_string())),
    };
    match cause {
        None => failed(
            peer,
            "connection closed during the TLS handshake (is a firewall in the way?)",
        ),
        // The signature does not fit where another authority of that name is trusted: an old one of the same proxy.
        Some(InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => TlsError::Untrusted(peer),
        Some(InvalidCertificate(reason)) => failed(peer, &describe_invalid(reason)),
        Some(InvalidMessage(_)) => failed(
            peer,
            "not a TLS server (a captive portal? a proxy that wants http:// in its URL?)",
        ),
        Some(other) => {
            let reason = printable(&other.to_string());
            failed(peer, &format!("TLS handshake failed: {reason}"))
        }
    }
}

fn failed(peer: Peer, reason: &str) -> TlsError {
    TlsError::Failed(match peer {
        Peer::Server => reason.to_owned(),
        Peer::Proxy => format!("proxy: {reason}"),
    })
}

fn describe_invalid(reason: &CertificateError) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext,
    };
    match reason {
        Expired | ExpiredContext { .. } => {
            "certificate has expired (is the clock of this machine right?)".to_owned()
        }
        NotValidYet | NotValidYetContext { .. } => {
            "certificate is not yet valid (is the clock of this machine right?)".to_owned()
        }
        NotValidForName | NotValidForNameContext { .. } => {
            "certificate is for another name (a captive portal or a filter?)".to_owned()
        }
        other => format!("invalid certificate: {}", printable(&other.to_string())),
    }
}

/// Who issued the certificate of the peer. The handshake ends there: nothing is sent that anybody could want.
fn issuer_of_peer<In: Transport>(details: &ConnectionDetails, plain: In) -> String {
    let seen = Arc::new(Seen::default());
    // What went wrong does not count here: it has been told already.
    let _ = shake_hands(details, plain, Arc::clone(&seen));
    let issuer = seen.issuer.lock().unwrap_or_else(PoisonError::into_inner);
    issuer.clone().unwrap_or_else(|| "unknown".to_owned())
}

fn shake_hands<In: Transport>(
    details: &ConnectionDetails,
    plain: In,
    seen: Arc<Seen>,
) -> Result<()> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous() // It trusts nobody.
        .with_custom_certificate_verifier(seen)
        .with_no_client_auth();
    let host = details.uri.host().context("no host")?;
    let name = ServerName::try_from(without_brackets(host).to_owned())?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let mut socket = TransportAdapter::new(plain, Arc::clone(&details.current_time));
    socket.set_timeout(details.timeout);
    connection.complete_io(&mut socket)?;
    Ok(())
}

/// Refuses every certificate, and keeps the name of its issuer.
#[derive(Debug, Default)]
struct Seen {
    issuer: Mutex<Option<String>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut issuer = self.issuer.lock().unwrap_or_else(PoisonError::into_inner);
        *issuer = issuer_name(end_entity);
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
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

/// The value after an identifier in a DER name. All that can go wrong is a strange word in an error.
fn attribute(name: &[u8], identifier: [u8; 5]) -> Option<&[u8]> {
    let at = name.windows(5).position(|bytes| bytes == identifier)?;
    let [_tag, length, value @ ..] = &name[at + 5..] else {
        return None;
    };
    value.get(..usize::from(*length))
}
