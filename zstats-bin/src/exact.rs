//! TLS to the own service: exactly its certificate is taken, whoever signed it, whatever its name and its dates.

use std::io::{Error, Result};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use gmetad_agents::said::Said;
use gmetad_core::agent::Message;
use gmetad_core::message;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// The certificate that the service shows: the first one of the file.
pub(crate) fn certificate(file: &Path) -> std::result::Result<CertificateDer<'static>, Message> {
    let shown = file.display().to_string();
    CertificateDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::Io(error) => message!("{}: cannot be read: {}", shown, error.said()),
        _ => message!("{}: a file in PEM with certificates is needed", shown),
    })
}

/// A connection to who has that certificate, and its key.
pub(crate) fn connection(
    stream: TcpStream,
    certificate: CertificateDer<'static>,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(Error::other)?.dangerous();
    let config = config.with_custom_certificate_verifier(Arc::new(Exact { certificate, algorithms }));
    let name = ServerName::from(stream.peer_addr()?.ip());
    let connection = ClientConnection::new(Arc::new(config.with_no_client_auth()), name).map_err(Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Whether that was the reason: it has another certificate.
pub(crate) fn is_another(error: &Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

#[derive(Debug)]
struct Exact {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

type Signed = std::result::Result<HandshakeSignatureValid, rustls::Error>;

impl ServerCertVerifier for Exact {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let is_it = *shown == self.certificate;
        is_it.then(ServerCertVerified::assertion).ok_or(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(&self, text: &[u8], by: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Signed {
        verify_tls12_signature(text, by, signed, &self.algorithms)
    }

    fn verify_tls13_signature(&self, text: &[u8], by: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Signed {
        verify_tls13_signature(text, by, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
