//! What goes wrong with TLS and HTTP.

use gmetad_core::agent::Message;
use gmetad_core::message;
use rustls::{AlertDescription, CertificateError};

use super::{Said, quoted, without_credentials};

impl Said for rustls::Error {
    fn said(&self) -> Message {
        let why = match self {
            Self::InvalidCertificate(certificate) => return certificate.said(),
            Self::AlertReceived(alert) => match alert {
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                    message!("the other side accepts none of our ciphers")
                }
                AlertDescription::ProtocolVersion => message!("the other side has neither TLS 1.2 nor TLS 1.3"),
                AlertDescription::UnrecognisedName => message!("the other side does not know this name"),
                AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                    message!("the other side wants a certificate of ours")
                }
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA => {
                    message!("the other side does not accept our certificate ({})", format!("{alert:?}"))
                }
                AlertDescription::AccessDenied => message!("the other side denies access"),
                AlertDescription::InternalError => message!("the other side has an internal error"),
                other => message!("the other side sends the alert {}", format!("{other:?}")),
            },
            Self::InvalidMessage(_) => message!("what the other side sends is not TLS"),
            Self::PeerIncompatible(why) => {
                message!("the other side has no version or cipher of ours ({})", format!("{why:?}"))
            }
            Self::PeerMisbehaved(why) => message!("the other side violates the protocol ({})", format!("{why:?}")),
            Self::NoCertificatesPresented => message!("the other side shows no certificate"),
            Self::DecryptError => message!("what the other side sends cannot be decrypted"),
            Self::InappropriateMessage { .. } | Self::InappropriateHandshakeMessage { .. } => {
                message!("the other side sends what it should not send now")
            }
            Self::InconsistentKeys(_) => message!("the key does not belong to the certificate"),
            Self::NoApplicationProtocol => message!("the other side does not speak the protocol wanted"),
            other => quoted(&other.to_string()),
        };
        message!("TLS fails: {}", why)
    }
}

impl Said for CertificateError {
    fn said(&self) -> Message {
        match self {
            Self::Expired | Self::ExpiredContext { .. } => message!("the certificate has expired"),
            Self::NotValidYet | Self::NotValidYetContext { .. } => message!("the certificate is not valid yet"),
            Self::NotValidForName | Self::NotValidForNameContext { .. } => {
                message!("the certificate is for another name")
            }
            Self::UnknownIssuer => message!("the certificate is signed by nobody who is trusted"),
            Self::Revoked => message!("the certificate is revoked"),
            Self::BadEncoding => message!("the certificate cannot be understood; let it be made again"),
            Self::BadSignature => message!("the signature of the certificate is wrong; let it be made again"),
            Self::InvalidPurpose | Self::InvalidPurposeContext { .. } => {
                message!("the certificate is not for a server; let it be made with extendedKeyUsage = serverAuth")
            }
            Self::UnsupportedSignatureAlgorithmContext { .. }
            | Self::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                message!(
                    "the certificate is signed as nobody trusts it any more; let it be made with RSA of 2048 bits and SHA-256"
                )
            }
            Self::Other(other) => match &*other.0.to_string() {
                // webpki's, whose words are its names.
                "CaUsedAsEndEntity" => {
                    message!(
                        "the certificate is that of an authority, and none that is trusted; write ca = \"FILE\" with this certificate in PEM"
                    )
                }
                "UnsupportedCertVersion" => {
                    message!(
                        "the certificate is of the old version 1 of X.509; let it be made again, with `openssl req -x509`, say"
                    )
                }
                text => message!("the certificate is bad: {}", quoted(text)),
            },
            other => message!("the certificate is bad: {}", quoted(&other.to_string())),
        }
    }
}

impl Said for ureq::Error {
    fn said(&self) -> Message {
        match self {
            Self::Io(io) => io.said(),
            Self::Rustls(tls) => tls.said(),
            Self::Timeout(_) => message!("no answer in time"),
            Self::HostNotFound => message!("the name has no address"),
            Self::TooManyRedirects => message!("too many redirects"),
            Self::RedirectFailed => message!("the redirect leads nowhere"),
            Self::ConnectionFailed => message!("no connection"),
            Self::InvalidProxyUrl => message!("this is no proxy: write http://HOST:PORT"),
            Self::ConnectProxyFailed(why) => message!("the proxy refuses: {}", quoted(&without_credentials(why))),
            Self::Protocol(why) => message!("the answer is not proper HTTP: {}", quoted(&why.to_string())),
            Self::LargeResponseHeader(..) => message!("the head of the answer is too long"),
            Self::BodyStalled => message!("the data ended too early"),
            other => quoted(&without_credentials(&other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Lang;

    #[test]
    fn the_usual_failures_are_in_french() {
        let alert = |alert| ureq::Error::Rustls(rustls::Error::AlertReceived(alert));
        let certificate = |error: CertificateError| ureq::Error::Rustls(error.into());
        for (error, expected) in [
            (
                alert(AlertDescription::HandshakeFailure),
                "échec de TLS : l'autre côté n'accepte aucun de nos algorithmes de chiffrement",
            ),
            (
                alert(AlertDescription::UnknownCA),
                "échec de TLS : l'autre côté n'accepte pas notre certificat (UnknownCA)",
            ),
            (alert(AlertDescription::DecodeError), "échec de TLS : l'autre côté envoie l'alerte DecodeError"),
            (certificate(CertificateError::Expired), "le certificat a expiré"),
            (certificate(CertificateError::NotValidForName), "le certificat est au nom d'un autre hôte"),
            (
                certificate(CertificateError::UnhandledCriticalExtension),
                "le certificat est mauvais : « UnhandledCriticalExtension »",
            ),
            (ureq::Error::Rustls(rustls::Error::General("odd".into())), "échec de TLS : « unexpected error: odd »"),
            (ureq::Error::InvalidProxyUrl, "ceci n'est pas un proxy : écrire http://HÔTE:PORT"),
            (ureq::Error::Tls("odd"), "« odd »"),
        ] {
            assert_eq!(Lang::French.message(&error.said()), expected, "{error}");
        }
    }
}
