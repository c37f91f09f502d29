//! Which certificate authorities are trusted: the system's, or those that a variable names.

use std::fs;
use std::path::{Path, PathBuf};

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

/// The roots to trust. A variable that names no certificate is an error. It takes some milliseconds.
pub fn load() -> Result<Roots> {
    let mut roots = match (settings::system_ca_file(), settings::system_ca_folders()) {
        (None, None) => system(rustls_native_certs::load_native_certs().certs),
        (Some(file), folders) => Roots {
            store: joined(
                read("SSL_CERT_FILE", &file)?,
                search(&folders.unwrap_or_default()),
            ),
            source: format!("those of SSL_CERT_FILE ({})", file.display()),
        },
        (None, Some(folders)) => Roots {
            store: search(&folders),
            source: "those of SSL_CERT_DIR".to_owned(),
        },
    };
    if roots.store.is_empty() {
        bail!("SSL_CERT_DIR names no folder with certificates in it: correct it, or unset it");
    }
    if let Some(file) = settings::extra_ca_file() {
        roots.store = joined(roots.store, read("CODEX_CA_CERTIFICATE", &file)?);
        roots.source = format!(
            "{} and those of CODEX_CA_CERTIFICATE ({})",
            roots.source,
            file.display()
        );
    }
    Ok(roots)
}

/// The system's roots. The built-in ones serve only where there is none, as in a container without a CA bundle.
fn system(certificates: Vec<CertificateDer>) -> Roots {
    let store = usable(certificates);
    if !store.is_empty() {
        let source = "those of the system".to_owned();
        return Roots { store, source };
    }
    Roots {
        store: webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        source: "the built-in ones, because the system has none".to_owned(),
    }
}

/// The certificates in a PEM file, at least one.
fn read(variable: &str, file: &Path) -> Result<RootCertStore> {
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
    let store = usable(certificates);
    if store.is_empty() {
        bail!("{shown}, which {variable} names, has no certificate in it (BEGIN CERTIFICATE)");
    }
    Ok(store)
}

/// The certificates in folders. What they hold besides is passed over, and so is a folder that is missing.
fn search(folders: &[PathBuf]) -> RootCertStore {
    let found =
        |folder: &PathBuf| rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs;
    usable(folders.iter().flat_map(found).collect())
}

/// Those that can vouch for others: some systems keep ancient ones that rustls does not understand.
fn usable(certificates: Vec<CertificateDer>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    store
}

fn joined(mut store: RootCertStore, other: RootCertStore) -> RootCertStore {
    store.roots.extend(other.roots);
    store
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
        let own = system(vec![authority.der().clone()]);
        assert_eq!(
            (own.store.len(), own.source.as_str()),
            (1, "those of the system")
        );

        let built_in = system(Vec::new());
        assert_eq!(built_in.store.len(), webpki_roots::TLS_SERVER_ROOTS.len());
        assert_eq!(
            built_in.source,
            "the built-in ones, because the system has none"
        );
    }
}
