//! A certificate and its key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a server needs for TLS 1.2 and 1.3. A renewed certificate is taken up by [`Tls::reload`].
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0}: {1}: this program must be able to read it")]
    Read(PathBuf, #[source] io::Error),
    /// It is not what it should be.
    #[error("{0}: {1}: a PEM file with {2} is needed")]
    Pem(PathBuf, String, &'static str),
    /// They do not belong together, say.
    #[error("{certificate} and {key}: {error}: give a certificate (with its chain) and the key that it was made for")]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What rustls says.
        error: rustls::Error,
    },
}

impl Tls {
    /// Of two PEM files: the certificate followed by its chain, and the private key; they may be the same file.
    ///
    /// # Errors
    /// [`TlsError`]: unreadable, no certificate or key in them, or they do not belong together.
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let config = RwLock::new(Arc::new(read(&certificate, &key)?));
        Ok(Self { certificate, key, config })
    }

    /// Reads the files again; new connections have what is in them. With an error everything stays as it was.
    ///
    /// # Errors
    /// As [`Tls::from_files`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(read(&self.certificate, &self.key)?);
        *self.config.write() = config;
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read())
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).field("key", &self.key).finish_non_exhaustive()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let wrong = |path: &Path, wanted| {
        let path = path.to_owned();
        move |error| match error {
            pem::Error::Io(error) => TlsError::Read(path, error),
            other => TlsError::Pem(path, other.to_string(), wanted),
        }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(wrong(certificate, "certificates"))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "certificates")(pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(wrong(key, "a private key"))?;
    let pair = |error| TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), error };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs::write;

    use super::*;

    #[test]
    fn files_that_do_not_serve_are_named_with_the_remedy() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name| dir.path().join(name);
        let made = |name| rcgen::generate_simple_self_signed([String::from(name)]).expect("a certificate");
        let (one, two) = (made("one"), made("two"));
        write(path("one.pem"), one.cert.pem()).expect("written");
        write(path("one.key"), one.signing_key.serialize_pem()).expect("written");
        write(path("two.key"), two.signing_key.serialize_pem()).expect("written");
        write(path("none"), "no PEM here\n").expect("written");
        let ask = |certificate, key| Tls::from_files(path(certificate), path(key)).map_err(|e| e.to_string());
        let tls = ask("one.pem", "one.key").expect("a pair");
        for (certificate, key, expected) in [
            ("missing", "one.key", "missing: No such file"),
            ("one.pem", "missing", "missing: No such file"),
            ("none", "one.key", "a PEM file with certificates is needed"),
            ("one.pem", "none", "a PEM file with a private key is needed"),
            ("one.pem", "two.key", "the key that it was made for"),
        ] {
            let error = ask(certificate, key).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
        let before = tls.config();
        write(path("one.key"), two.signing_key.serialize_pem()).expect("written");
        assert!(tls.reload().is_err());
        assert!(Arc::ptr_eq(&before, &tls.config()));
        write(path("one.pem"), two.cert.pem()).expect("written");
        tls.reload().expect("a pair again");
        assert!(!Arc::ptr_eq(&before, &tls.config()));
    }
}
