//! Which certificate authorities are trusted: the system's, or those that a variable names.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::settings;

pub struct Roots {
    pub store: RootCertStore,
    /// Where they are from, in words.
    pub source: String,
}

/// The roots to trust. A file that a variable names, and that gives none, is an error. It takes some milliseconds.
pub fn load() -> Result<Roots> {
    let (certificates, source) = system()?;
    let mut roots = select(certificates, source);
    let Some(file) = settings::extra_ca_file() else {
        return Ok(roots);
    };
    let extra = read("CODEX_CA_CERTIFICATE", &file)?;
    roots.store.add_parsable_certificates(extra);
    roots.source += &format!(" and those of CODEX_CA_CERTIFICATE ({})", file.display());
    Ok(roots)
}

/// The certificates that are trusted on this system, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` put in their place.
fn system() -> Result<(Vec<CertificateDer<'static>>, String)> {
    let (file, folders) = (settings::system_ca_file(), settings::system_ca_folders());
    if file.is_none() && folders.is_none() {
        let source = "those of the system".to_owned();
        return Ok((rustls_native_certs::load_native_certs().certs, source));
    }
    let mut certificates = Vec::new();
    let mut source = "those of SSL_CERT_DIR".to_owned();
    // What a folder holds besides certificates is passed over, as elsewhere.
    for folder in folders.iter().flatten() {
        certificates.extend(rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs);
    }
    if let Some(file) = file {
        certificates.extend(read("SSL_CERT_FILE", &file)?);
        source = format!("those of SSL_CERT_FILE ({})", file.display());
    }
    if certificates.is_empty() {
        bail!("SSL_CERT_DIR names no folder with certificates in it: correct it, or unset it");
    }
    Ok((certificates, source))
}

/// The built-in roots serve only where there is no other, as in a container without a CA bundle.
fn select(certificates: Vec<CertificateDer<'static>>, source: String) -> Roots {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    if !store.is_empty() {
        return Roots { store, source };
    }
    store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let source = "the built-in ones, because the system has none".to_owned();
    Roots { store, source }
}

/// The certificates in a PEM file, at least one.
fn read(variable: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    if file.as_os_str().is_empty() {
        bail!("{variable} is empty: name a PEM file, or unset it");
    }
    let shown = file.display();
    let pem = fs::read(file)
        .with_context(|| format!("could not read {shown}, which {variable} names"))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .ok()
        .with_context(|| format!("{shown}, which {variable} names, is damaged"))?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates.clone());
    if usable == 0 {
        bail!("{shown}, which {variable} names, has no certificate in it (BEGIN CERTIFICATE)");
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_roots_serve_only_where_there_is_no_other() {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let own = select(vec![authority.der().clone()], "own".to_owned());
        assert_eq!((own.store.len(), own.source.as_str()), (1, "own"));

        let built_in = select(Vec::new(), "own".to_owned());
        assert_eq!(built_in.store.len(), webpki_roots::TLS_SERVER_ROOTS.len());
        assert_eq!(
            built_in.source,
            "the built-in ones, because the system has none"
        );
    }
}
