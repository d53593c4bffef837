//! The certificate that a TLS service shows.

use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;

use gmetad_core::agent::Message;
use gmetad_core::message;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use x509_parser::parse_x509_certificate;

use super::super::net::{Address, Timed, Until, problem};
use super::{Found, found};
use crate::said::{Said, quoted};

/// What is said before TLS begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Before {
    Nothing,
    Smtp,
    Imap,
    Pop3,
}

/// The certificate that a service shows for the name by which it is called.
pub(super) fn of_service(address: &Address, before: Before, until: Until) -> Result<Found, Message> {
    let failed = |error: std::io::Error| problem(&error);
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.said())?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth();
    let name = ServerName::try_from(address.host.clone())
        .map_err(|_| message!("{} is no name that a certificate can be for", &address.host))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.said())?;
    let mut stream = Timed { stream: address.connect(until).map_err(failed)?, until };
    begin(&mut stream, before).map_err(failed)?;
    while connection.is_handshaking() {
        // The certificate comes early; what fails after it (a client's certificate is wanted, say) is not our matter.
        if let Err(error) = connection.complete_io(&mut stream)
            && connection.peer_certificates().is_none()
        {
            return Err(failed(error));
        }
        if connection.peer_certificates().is_some() {
            break;
        }
    }
    let certificate = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
        .ok_or_else(|| message!("the service shows no certificate"))?;
    let (_, certificate) = parse_x509_certificate(certificate)
        .map_err(|error| message!("the certificate cannot be read: {}", quoted(&error.to_string())))?;
    Ok(found(&certificate))
}

/// Asks for TLS where it is not there from the start.
fn begin(stream: &mut Timed, before: Before) -> std::io::Result<()> {
    let (ready, ask, go) = match before {
        Before::Nothing => return Ok(()),
        Before::Smtp => ("220 ", "EHLO localhost\r\nSTARTTLS\r\n", "220 "),
        Before::Imap => ("* OK", "a STARTTLS\r\n", "a OK"),
        Before::Pop3 => ("+OK", "STLS\r\n", "+OK"),
    };
    answered(stream, ready)?;
    // A server that does not pipeline still reads one line after the other.
    for line in ask.split_inclusive('\n') {
        stream.write_all(line.as_bytes())?;
        answered(stream, if line.starts_with("EHLO") { "250 " } else { go })?;
    }
    Ok(())
}

/// Reads up to the line that begins so.
fn answered(stream: &mut Timed, wanted: &str) -> std::io::Result<()> {
    // Byte by byte: what comes after the line is TLS.
    let mut lines = BufReader::with_capacity(1, stream);
    for _ in 0..100 {
        let mut line = Vec::new();
        std::io::Read::take(&mut lines, 4096).read_until(b'\n', &mut line)?;
        if line.starts_with(wanted.as_bytes()) {
            return Ok(());
        }
        // `250-…` and `* …` go on; anything else is a refusal.
        if !matches!(line.get(3), Some(b'-')) && !line.starts_with(b"* ") {
            break;
        }
    }
    Err(std::io::Error::other(message!("the service does not begin TLS")))
}

/// Takes any certificate: it is only looked at, and nothing is said over the connection.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use gmetad_core::agent::Status;

    use super::super::super::measure_once;
    use super::super::KIND;
    use super::super::made::{self_signed, serve, tls_server};
    use super::*;

    #[test]
    fn services_also_with_bad_certificates() {
        let port = tls_server(Arc::new(self_signed("elsewhere", -20, 5)));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let measurement =
            measure_once(&KIND, &format!("services = {{ \"localhost:{port}\" = \"A\", \"{closed}\" = \"B\" }}"));
        let (name, certificate) = measurement.instances().next().unwrap();
        assert_eq!((name, certificate.get_number("days").unwrap().ceil()), ("A", 5.0));
        assert_eq!(measurement.status().unwrap().to_string(), "Error: B: connection refused");
    }

    #[test]
    fn services_that_begin_in_the_clear() {
        let made = Arc::new(self_signed("mail", -1, 50));
        for (talk, starttls) in [
            (">220-hello\n>220 mail\nEHLO localhost\n>250-mail\n>250 STARTTLS\nSTARTTLS\n>220 go", "smtp"),
            (">* OK hello\na STARTTLS\n>a OK go", "imap"),
            (">+OK\nSTLS\n>+OK", "pop3"),
        ] {
            let port = serve(Arc::clone(&made), talk);
            let measurement = measure_once(
                &KIND,
                &format!("services = {{ \"127.0.0.1:{port}\" = \"M\" }}\nstarttls = \"{starttls}\""),
            );
            assert_eq!(measurement.status(), Some(&Status::ok()), "{starttls}");
        }
        let port = serve(made, ">220 mail\nEHLO localhost\n>502 no");
        let measurement =
            measure_once(&KIND, &format!("services = {{ \"127.0.0.1:{port}\" = \"M\" }}\nstarttls = \"smtp\""));
        assert_eq!(measurement.status().unwrap().to_string(), "Error: M: the service does not begin TLS");
    }
}
