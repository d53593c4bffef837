//! Certificates and TLS servers of tests.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

/// A certificate of a test and its key.
pub(in super::super) struct Made {
    pub(in super::super) pem: String,
    pub(super) der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    params: rcgen::CertificateParams,
}

impl Made {
    fn new(params: rcgen::CertificateParams, certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> Self {
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { pem, der, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(), params }
    }
}

/// Valid from and until that many days from now.
pub(in super::super) fn self_signed(name: &str, from: i64, until: i64) -> Made {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    made(params, from, until)
}

/// As `openssl req -x509` makes it: an authority, with no name but the common one.
pub(in super::super) fn usual(name: &str, until: i64) -> Made {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    made(params, -100, until)
}

/// As `openssl req -x509 -addext basicConstraints=CA:FALSE` makes it.
pub(in super::super) fn leaf(name: &str, until: i64) -> Made {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    made(params, -1, until)
}

/// For that name, by somebody who has the key of that certificate.
pub(in super::super) fn signed_by(issuer: &Made, name: &str) -> Made {
    let issuer = rcgen::Issuer::from_params(&issuer.params, rcgen::KeyPair::try_from(&issuer.key).unwrap());
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Made::new(params, &certificate, &key)
}

fn made(mut params: rcgen::CertificateParams, from: i64, until: i64) -> Made {
    let day = |days: i64| {
        let span = Duration::from_secs(days.unsigned_abs() * 86_400);
        if days < 0 { SystemTime::now() - span } else { SystemTime::now() + span }
    };
    (params.not_before, params.not_after) = (day(from).into(), day(until).into());
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Made::new(params, &certificate, &key)
}

/// A server with that certificate which answers anything by an empty page; its port.
pub(in super::super) fn tls_server(made: Arc<Made>) -> u16 {
    serve(made, "")
}

/// The same, after a talk in the clear: lines with `>` are said, others waited for.
pub(super) fn serve(made: Arc<Made>, talk: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.der.clone()], made.key.clone_key()).unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        while let Ok((mut tcp, _)) = listener.accept() {
            for line in talk.lines() {
                match line.strip_prefix('>') {
                    Some(say) => tcp.write_all(format!("{say}\r\n").as_bytes()).unwrap(),
                    None => {
                        let mut heard = vec![0; line.len() + 2];
                        tcp.read_exact(&mut heard).unwrap();
                        assert_eq!(heard, format!("{line}\r\n").as_bytes());
                    }
                }
            }
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = Stream::new(&mut tls, &mut tcp);
            let mut request = [0; 2048];
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
    port
}
