//! TLS under ureq: the handshake, and the words for one that fails. ureq's own connector does not tell whose
//! certificate it refused, and that is what a person behind an inspecting proxy has to know.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use http::Uri;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    StreamOwned,
};
use ureq::unversioned::transport::time::{Duration, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use crate::net::roots;
use crate::net::roots::Roots;
use crate::settings;
use crate::text::printable;

/// Whom to trust, and how. The roots are read here, so that a mistake in their variables is found at once.
pub fn config() -> Result<Arc<ClientConfig>> {
    let Roots { store, source } = roots::load()?;
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
            .build()
            .context("could not use the trusted certificates")?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("could not set up TLS")?
        .dangerous() // It checks all that the inner one checks, and adds words.
        .with_custom_certificate_verifier(Arc::new(Verifier {
            inner: verifier,
            source,
        }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// What each side of a connection is called in an error: the peer of the request itself, or the proxy before it.
pub fn whose(host: &str, uri: &Uri) -> &'static str {
    if uri.host() == Some(host) {
        "its"
    } else {
        "the proxy's"
    }
}

/// Wraps a connection in TLS, where the URL of its peer is https.
#[derive(Debug)]
pub struct Handshake {
    /// The host of the request.
    pub host: String,
    /// None where no peer is https.
    pub config: Option<Arc<ClientConfig>>,
    /// Whether nobody waits for the request any more: then no connection for it is handed out.
    pub given_up: Arc<AtomicBool>,
}

impl<In: Transport> Connector<In> for Handshake {
    type Out = Either<In, Encrypted>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let plain = chained.ok_or(ureq::Error::ConnectionFailed)?;
        let connection = if !details.needs_tls() || plain.is_tls() {
            Either::A(plain)
        } else {
            let config = self.config.clone().ok_or(ureq::Error::TlsRequired)?;
            let encrypted = shake_hands(config, details, Box::new(plain));
            Either::B(encrypted.map_err(|error| {
                let whose = whose(&self.host, details.uri);
                ureq::Error::Other(words(whose, &error).into())
            })?)
        };
        if self.given_up.load(Ordering::SeqCst) {
            return Err(ureq::Error::Timeout(ureq::Timeout::Global));
        }
        Ok(Some(connection))
    }
}

fn shake_hands(
    config: Arc<ClientConfig>,
    details: &ConnectionDetails,
    plain: Box<dyn Transport>,
) -> Result<Encrypted, ureq::Error> {
    let host = details.uri.host().unwrap_or_default();
    let bare = settings::without_brackets(host);
    let name = ServerName::try_from(bare.to_owned())
        .map_err(|_| ureq::Error::Tls("name cannot stand in a certificate"))?;
    let mut connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
    let mut socket = TransportAdapter::new(plain, Arc::clone(&details.current_time));
    socket.set_timeout(left(details));
    connection.complete_io(&mut socket)?;
    let size = details.config.input_buffer_size();
    Ok(Encrypted {
        buffers: LazyBuffers::new(size, details.config.output_buffer_size()),
        stream: StreamOwned::new(connection, socket),
    })
}

/// What the connection and the proxy have left of the limit for them and the handshake together.
fn left(details: &ConnectionDetails) -> NextTimeout {
    let mut timeout = details.timeout;
    let now = (details.current_time)();
    if let (Duration::Exact(limit), Instant::Exact(start), Instant::Exact(now)) =
        (timeout.after, details.now, now)
    {
        timeout.after = limit
            .saturating_sub(now.saturating_duration_since(start))
            .into();
    }
    timeout
}

/// A connection after its handshake, as ureq wants to see it.
pub struct Encrypted {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encrypted")
    }
}

/// Checks as `WebPkiServerVerifier` does, and says whose certificate it was that nobody vouches for.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    source: String,
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
        use rustls::Error::InvalidCertificate as Refused;
        let verdict = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verdict {
            // The signature does not fit where another authority of that name is trusted: an old one of the same proxy.
            Err(Refused(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => Err(
                rustls::Error::General(untrusted(&issuer_of(end_entity), &self.source)),
            ),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn untrusted(issuer: &str, source: &str) -> String {
    format!(
        "certificate was issued by «{issuer}», which is not trusted (if that is your company's proxy, set \
         CODEX_CA_CERTIFICATE to the PEM file of its CA; trusted are {source})"
    )
}

/// The name of who issued a certificate: its common name, else its organization (RFC 5280 section 4.1.2.4).
fn issuer_of(certificate: &CertificateDer<'_>) -> String {
    const COMMON_NAME: [u8; 5] = [0x06, 3, 0x55, 4, 3];
    const ORGANIZATION: [u8; 5] = [0x06, 3, 0x55, 4, 10];
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
        return "unknown".to_owned();
    };
    let name = attribute(parsed.issuer(), COMMON_NAME)
        .or_else(|| attribute(parsed.issuer(), ORGANIZATION))
        .unwrap_or_default();
    printable(&String::from_utf8_lossy(name))
}

/// The value after an identifier in a DER name. All that can go wrong is a strange word in an error.
fn attribute(name: &[u8], identifier: [u8; 5]) -> Option<&[u8]> {
    let at = name.windows(5).position(|bytes| bytes == identifier)?;
    let [_tag, length, value @ ..] = &name[at + 5..] else {
        return None;
    };
    value.get(..usize::from(*length))
}

/// What a failed handshake means to the person, after the word for whose it was.
fn words(whose: &str, error: &ureq::Error) -> String {
    let cause = match error {
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        ureq::Error::Timeout(_) => {
            return format!(
                "{whose} TLS handshake did not end in time (does a filter stand in the way?)"
            );
        }
        other => return format!("{whose} {}", printable(&other.to_string())),
    };
    let Some(cause) = cause else {
        return format!("{whose} TLS handshake was cut off (does a filter stand in the way?)");
    };
    match cause {
        rustls::Error::General(words) => format!("{whose} {words}"),
        rustls::Error::InvalidCertificate(reason) => format!("{whose} {}", refused(reason)),
        rustls::Error::InvalidMessage(_) => {
            format!(
                "{whose} answer is no TLS (a captive portal, or a proxy that wants http:// in front?)"
            )
        }
        other => format!(
            "{whose} TLS handshake failed: {}",
            printable(&other.to_string())
        ),
    }
}

fn refused(reason: &CertificateError) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext,
    };
    match reason {
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
            "certificate is not valid today (is the clock of this machine right?)".to_owned()
        }
        NotValidForName | NotValidForNameContext { .. } => {
            "certificate is for another name (a captive portal or a filter?)".to_owned()
        }
        other => format!(
            "certificate is not accepted: {}",
            printable(&other.to_string())
        ),
    }
}
