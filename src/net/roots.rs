//! Which certificate authorities are trusted: the system's, or those that a variable names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::settings;

pub struct Roots {
    pub certificates: Vec<CertificateDer<'static>>,
    /// Where they are from, in words.
    pub source: String,
}

/// The roots to trust. A variable that names no certificate is an error. It takes some milliseconds.
pub fn load() -> Result<Roots> {
    let folders = settings::system_ca_folders()?;
    let mut roots = match (settings::system_ca_file()?, folders) {
        (Some(file), folders) => {
            let named = read("SSL_CERT_FILE", &file)?;
            let certificates = [named, search(&folders.unwrap_or_default())].concat();
            let source = format!("those of SSL_CERT_FILE ({})", file.display());
            Roots {
                certificates,
                source,
            }
        }
        (None, Some(folders)) => Roots {
            certificates: search(&folders),
            source: "those of SSL_CERT_DIR".to_owned(),
        },
        (None, None) => system_roots(native()),
    };
    if roots.certificates.is_empty() {
        bail!("SSL_CERT_DIR names no folder with certificates in it: correct it, or unset it");
    }
    if let Some(file) = settings::extra_ca_file()? {
        let more = read("CODEX_CA_CERTIFICATE", &file)?;
        roots.certificates.extend(more);
        let (source, file) = (roots.source, file.display());
        roots.source = format!("{source} and those of CODEX_CA_CERTIFICATE ({file})");
    }
    Ok(roots)
}

/// What the system trusts. `load_native_certs` would take an empty `SSL_CERT_FILE` for a file.
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

/// The system's roots. The built-in ones serve only where there is none, as in a container without a CA bundle.
fn system_roots(certificates: Vec<CertificateDer<'static>>) -> Roots {
    let mut certificates = trust_anchors(certificates);
    let mut source = "those of the system";
    if certificates.is_empty() {
        certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec();
        source = "the built-in ones, because the system has none";
    }
    let source = source.to_owned();
    Roots {
        certificates,
        source,
    }
}

/// The certificates in a PEM file, at least one. Anything but a regular file, such as a FIFO, could block for ever.
fn read(variable: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let could_not = || format!("could not read {shown}, which {variable} names");
    if !fs::metadata(file).with_context(could_not)?.is_file() {
        bail!("{}: not a regular file", could_not());
    }
    let pem = fs::read(file).with_context(could_not)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .ok()
        .with_context(|| format!("{}: the file is damaged", could_not()))?;
    let certificates = trust_anchors(certificates);
    if certificates.is_empty() {
        bail!("{}: no certificate in it (BEGIN CERTIFICATE)", could_not());
    }
    Ok(certificates)
}

/// The certificates in folders. What they hold besides is passed over, and so is a folder that is missing.
fn search(folders: &[PathBuf]) -> Vec<CertificateDer<'static>> {
    let found =
        |folder: &PathBuf| rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs;
    trust_anchors(folders.iter().flat_map(found).collect())
}

/// Those that can vouch for others: some systems keep ancient ones that rustls does not understand.
fn trust_anchors(mut certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    certificates.retain(|certificate| webpki::anchor_from_trusted_cert(certificate).is_ok());
    certificates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::default();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn the_built_in_roots_serve_only_where_the_system_has_none() {
        let own = system_roots(vec![authority()]);
        assert_eq!(
            (own.certificates.len(), own.source.as_str()),
            (1, "those of the system")
        );
        let built_in = system_roots(Vec::new());
        assert_eq!(
            built_in.certificates.len(),
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.len()
        );
        assert_eq!(
            built_in.source,
            "the built-in ones, because the system has none"
        );
        assert_eq!(
            trust_anchors(built_in.certificates.clone()),
            built_in.certificates
        );
    }
}
