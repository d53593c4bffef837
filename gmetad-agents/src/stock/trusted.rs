//! TLS for `http` that trusts what curl and OpenSSL trust: besides certificates that an authority has signed, those that are
//! named themselves. The usual certificate that a device or `openssl req -x509` makes says that it is an authority, and webpki
//! takes no authority for a server.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use gmetad_core::agent::Message;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector,
    Transport, TransportAdapter,
};
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Version;

use crate::said::{Said, quoted};

/// What connects, with these certificates as all that is trusted.
pub(super) fn connector(trusted: Vec<CertificateDer<'static>>) -> Result<impl Connector, Message> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().filter(|certificate| is_authority(certificate)).cloned());
    let signed = (!roots.is_empty())
        .then(|| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build());
    let signed = signed.transpose().map_err(|error| quoted(&error.to_string()))?;
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.said())?;
    let named = Named { trusted, signed, algorithms: provider.signature_verification_algorithms };
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(named));
    let tls = Tls(Arc::new(config.with_no_client_auth()));
    Ok(().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(tls))
}

/// Whether a certificate may sign others. webpki asks that of no root, so the key of any server that is named would do for all
/// servers. Those of the old version 1 cannot say it; only authorities are still made so.
fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else { return false };
    match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => certificate.version() == X509Version::V1,
        Err(_) => false,
    }
}

/// As ureq's own, whose verifier cannot be chosen.
#[derive(Debug)]
struct Tls(Arc<ClientConfig>);

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, Secure>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HostNotFound)?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Secure { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

struct Secure {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").finish_non_exhaustive()
    }
}

impl Transport for Secure {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
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

/// Takes certificates that are named themselves, and those that a named authority has signed.
#[derive(Debug)]
struct Named {
    trusted: Vec<CertificateDer<'static>>,
    /// `None`: none of them is an authority.
    signed: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.trusted.iter().any(|trusted| trusted == shown) {
            let Some(signed) = &self.signed else { return Err(CertificateError::UnknownIssuer.into()) };
            return signed.verify_server_cert(shown, chain, name, ocsp, now);
        }
        let parsed = ParsedCertificate::try_from(shown)?;
        let (_, certificate) = parse_x509_certificate(shown).map_err(|_| CertificateError::BadEncoding)?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let validity = certificate.validity();
        if now.as_secs() < seconds(validity.not_before) {
            return Err(CertificateError::NotValidYet.into());
        }
        if now.as_secs() > seconds(validity.not_after) {
            return Err(CertificateError::Expired.into());
        }
        // Those without other names are still made; curl looks at the common name then, too.
        let has_names = !matches!(certificate.subject_alternative_name(), Ok(None));
        let is_common = |wanted: &str| {
            let mut common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
            common.any(|common| common.eq_ignore_ascii_case(wanted))
        };
        if has_names || !is_common(&name.to_str()) {
            rustls::client::verify_server_name(&parsed, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
