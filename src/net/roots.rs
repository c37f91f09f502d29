//! Which certificate authorities are trusted: the system's, or those that a variable names.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_native_certs::load_certs_from_paths;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::settings::{self, CA_FILE, CA_FOLDERS, EXTRA_CA_FILE};

/// The roots to trust, and their origin in words. Roots that rustls cannot parse are left out, as some systems keep
/// ancient ones. A file without roots is an error. Takes a few milliseconds.
pub fn load() -> Result<(RootCertStore, String)> {
    let mut store = RootCertStore::empty();
    let mut sources = Vec::new();
    if let Some(list) = settings::path(CA_FOLDERS)? {
        let folders: Vec<_> = env::split_paths(&list).collect();
        store.add_parsable_certificates(search(None, &folders));
        sources.push(format!("those of {CA_FOLDERS}"));
    } else if !settings::is_set(CA_FILE) {
        sources.push(add_system(&mut store, native()).to_owned());
    }
    for variable in [CA_FILE, EXTRA_CA_FILE] {
        if let Some(file) = settings::path(variable)? {
            let shown = file.display();
            let added = add_file(&mut store, &file);
            added.with_context(|| format!("could not read {shown} (from {variable})"))?;
            sources.push(format!("those of {variable} ({shown})"));
        }
    }
    if store.is_empty() {
        bail!("SSL_CERT_DIR contains no folder with certificates: correct or unset it");
    }
    Ok((store, sources.join(" and ")))
}

/// The system's roots. `load_native_certs` would treat an empty `SSL_CERT_FILE` as a path.
fn native() -> Vec<CertificateDer<'static>> {
    #[cfg(all(unix, not(target_os = "macos")))]
    {
        let known = openssl_probe::probe();
        search(known.cert_file.as_deref(), &known.cert_dir)
    }
    #[cfg(not(all(unix, not(target_os = "macos"))))]
    rustls_native_certs::load_native_certs().certs
}

/// Adds the system's roots, or the built-in ones if there are none, as in a container without a CA bundle. Returns their
/// origin.
fn add_system(store: &mut RootCertStore, native: Vec<CertificateDer<'static>>) -> &'static str {
    if store.add_parsable_certificates(native).0 > 0 {
        return "those of the system";
    }
    store.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
    "the built-in ones, because the system has none"
}

/// Adds the certificates in a PEM file, which must be a regular file: a FIFO, for example, could block forever.
fn add_file(store: &mut RootCertStore, file: &Path) -> Result<()> {
    ensure!(fs::metadata(file)?.is_file(), "not a regular file");
    let pem = fs::read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.ok().context("the file is damaged")?;
    let (added, _) = store.add_parsable_certificates(certificates);
    ensure!(added > 0, "it contains no certificate (BEGIN CERTIFICATE)");
    Ok(())
}

/// The certificates in a file and in folders, each once. Other files and missing folders are ignored.
fn search(file: Option<&Path>, folders: &[PathBuf]) -> Vec<CertificateDer<'static>> {
    let mut found = load_certs_from_paths(file, None).certs;
    for folder in folders {
        found.extend(load_certs_from_paths(None, Some(folder)).certs);
    }
    found.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_roots_are_only_used_if_the_system_has_none() {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        for (native, count, source) in [
            (vec![authority.der().clone()], 1, "those of the system"),
            (
                Vec::new(),
                TLS_SERVER_ROOT_CERTS.len(),
                "the built-in ones, because the system has none",
            ),
        ] {
            let mut store = RootCertStore::empty();
            assert_eq!(add_system(&mut store, native), source);
            assert_eq!(store.len(), count);
        }
    }
}
