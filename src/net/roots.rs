//! Which certificate authorities are trusted: the system's, or those that a variable names.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::settings;

pub struct Roots {
    pub anchors: Vec<TrustAnchor<'static>>,
    /// Where they are from, in words.
    pub source: String,
}

/// The roots to trust. A variable that names no certificate is an error. Takes a few milliseconds.
pub fn load() -> Result<Roots> {
    let folders = settings::path(settings::CA_FOLDERS)?;
    let folders = folders.map(|list| env::split_paths(&list).collect::<Vec<_>>());
    let mut roots = match (settings::path(settings::CA_FILE)?, folders) {
        (Some(file), folders) => {
            let mut anchors = read("SSL_CERT_FILE", &file)?;
            anchors.extend(anchors_of(&search(&folders.unwrap_or_default())));
            let source = format!("those of SSL_CERT_FILE ({})", file.display());
            Roots { anchors, source }
        }
        (None, Some(folders)) => Roots {
            anchors: anchors_of(&search(&folders)),
            source: "those of SSL_CERT_DIR".to_owned(),
        },
        (None, None) => system_roots(anchors_of(&native())),
    };
    if roots.anchors.is_empty() {
        bail!("SSL_CERT_DIR contains no folder with certificates: correct or unset it");
    }
    if let Some(file) = settings::path(settings::EXTRA_CA_FILE)? {
        let more = read("CODEX_CA_CERTIFICATE", &file)?;
        roots.anchors.extend(more);
        let (source, file) = (roots.source, file.display());
        roots.source = format!("{source} and those of CODEX_CA_CERTIFICATE ({file})");
    }
    Ok(roots)
}

/// What the system trusts. `load_native_certs` would treat an empty `SSL_CERT_FILE` as a path.
fn native() -> Vec<CertificateDer<'static>> {
    #[cfg(all(unix, not(target_os = "macos")))]
    {
        let known = openssl_probe::probe();
        let file = rustls_native_certs::load_certs_from_paths(known.cert_file.as_deref(), None);
        let mut certificates = [file.certs, search(&known.cert_dir)].concat();
        certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        certificates.dedup();
        certificates
    }
    #[cfg(not(all(unix, not(target_os = "macos"))))]
    rustls_native_certs::load_native_certs().certs
}

/// The system's roots, or the built-in ones if there are none, as in a container without a CA bundle.
fn system_roots(mut anchors: Vec<TrustAnchor<'static>>) -> Roots {
    let mut source = "those of the system";
    if anchors.is_empty() {
        anchors = anchors_of(webpki_root_certs::TLS_SERVER_ROOT_CERTS);
        source = "the built-in ones, because the system has none";
    }
    let source = source.to_owned();
    Roots { anchors, source }
}

/// The certificates in a PEM file, at least one. Anything but a regular file, such as a FIFO, could block for ever.
fn read(variable: &str, file: &Path) -> Result<Vec<TrustAnchor<'static>>> {
    let shown = file.display();
    let could_not = || format!("could not read {shown} (from {variable})");
    if !fs::metadata(file).with_context(could_not)?.is_file() {
        bail!("{}: not a regular file", could_not());
    }
    let pem = fs::read(file).with_context(could_not)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .ok()
        .with_context(|| format!("{}: the file is damaged", could_not()))?;
    let found = anchors_of(&certificates);
    if found.is_empty() {
        bail!(
            "{}: it contains no certificate (BEGIN CERTIFICATE)",
            could_not()
        );
    }
    Ok(found)
}

/// The certificates in folders. Other files and missing folders are ignored.
fn search(folders: &[PathBuf]) -> Vec<CertificateDer<'static>> {
    let found =
        |folder: &PathBuf| rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs;
    folders.iter().flat_map(found).collect()
}

/// The certificates as trust anchors, without those that rustls cannot parse: some systems keep ancient ones.
fn anchors_of(certificates: &[CertificateDer<'_>]) -> Vec<TrustAnchor<'static>> {
    let understood = |certificate| webpki::anchor_from_trusted_cert(certificate).ok();
    let anchors = certificates.iter().filter_map(understood);
    anchors.map(|anchor| anchor.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_roots_serve_only_where_the_system_has_none() {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let own = system_roots(anchors_of(&[authority.der().clone()]));
        assert_eq!(
            (own.anchors.len(), own.source.as_str()),
            (1, "those of the system")
        );
        let built_in = system_roots(Vec::new());
        let known = webpki_root_certs::TLS_SERVER_ROOT_CERTS.len();
        assert_eq!(built_in.anchors.len(), known);
        assert_eq!(
            built_in.source,
            "the built-in ones, because the system has none"
        );
    }
}
