//! TLS 1.3 of the API: from PEM to what the server needs, each mistake with its remedy, and a certificate that a node makes
//! for itself. Clients pin such a one by its fingerprint or take the file as their root; nobody else vouches for it.

use std::net::IpAddr;
use std::sync::Arc;

use futures_rustls::TlsAcceptor;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Apple's systems refuse server certificates that live longer.
const SELF_SIGNED_DAYS: u64 = 825;
/// One that ends within so many days is made anew at the start.
const RENEW_DAYS: u64 = 30;
const DAY_S: u64 = 24 * 3600;

/// Why the API cannot speak TLS.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate in the file.
    #[error(
        "{0} holds no certificate in PEM (-----BEGIN CERTIFICATE-----); give the certificate, then its chain, in --api-tls-cert"
    )]
    NoCertificate(String),
    /// Not one X.509 knows.
    #[error("the certificate in {0} cannot be read; make or fetch it again, or use --api-tls self-signed")]
    BadCertificate(String),
    /// No key in the file.
    #[error(
        "{0} holds no private key in PEM that can be used: PKCS#8, PKCS#1 or SEC1, without a password (`openssl pkey -in KEY -out PLAIN` takes one away)"
    )]
    NoKey(String),
    /// Two files that do not belong together.
    #[error(
        "the key in {key} does not belong to the certificate in {certificate}; give the pair that was made together"
    )]
    Mismatch {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
    /// Too late.
    #[error("the certificate in {file} expired {days} days ago; renew it, or use --api-tls self-signed")]
    Expired {
        /// The certificate's file.
        file: String,
        /// Since its end.
        days: u64,
    },
    /// Too early: of the certificate or of this clock.
    #[error("the certificate in {0} is not valid yet; is this machine's clock right?")]
    NotYetValid(String),
    /// The library's refusal of something rarer.
    #[error("TLS cannot be set up: {0}; use --api-tls self-signed, or another certificate")]
    Unusable(String),
}

/// Where PEM came from, for errors, and its bytes.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// A file's name.
    pub called: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// What the server needs.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// SHA-256 of the certificate as browsers and `openssl x509 -fingerprint` write it.
    pub fingerprint: String,
}

impl Tls {
    /// Checks that certificate and key can be used now, and together.
    pub fn from_pem(certificate: Pem<'_>, key: Pem<'_>, now_unix_s: u64) -> Result<Tls, TlsError> {
        let none = || TlsError::NoCertificate(certificate.called.to_owned());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.bytes).collect();
        let chain = chain.map_err(|_| none())?;
        let first = chain.first().ok_or_else(none)?;
        check_time(certificate.called, first, now_unix_s)?;
        let fingerprint = fingerprint(first);
        let private = PrivateKeyDer::from_pem_slice(key.bytes).map_err(|_| TlsError::NoKey(key.called.to_owned()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // Apart from the rest, so that a key that cannot be used is not taken for one of another certificate.
        if provider.key_provider.load_private_key(private.clone_key()).is_err() {
            return Err(TlsError::NoKey(key.called.to_owned()));
        }
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]);
        let config = config.map_err(|error| TlsError::Unusable(error.to_string()))?;
        let config = config.with_no_client_auth().with_single_cert(chain, private);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { certificate: certificate.called.to_owned(), key: key.called.to_owned() }
            }
            rustls::Error::InvalidCertificate(_) => TlsError::BadCertificate(certificate.called.to_owned()),
            other => TlsError::Unusable(other.to_string()),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { acceptor: Arc::new(config).into(), fingerprint })
    }
}

fn check_time(called: &str, certificate: &CertificateDer<'_>, now_unix_s: u64) -> Result<(), TlsError> {
    let bad = || TlsError::BadCertificate(called.to_owned());
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
    let validity = parsed.validity();
    let unix_s = |time: i64| u64::try_from(time).unwrap_or(0);
    let (from, until) = (unix_s(validity.not_before.timestamp()), unix_s(validity.not_after.timestamp()));
    match now_unix_s {
        now if now < from => Err(TlsError::NotYetValid(called.to_owned())),
        now if now > until => Err(TlsError::Expired { file: called.to_owned(), days: (now - until) / DAY_S }),
        _ => Ok(()),
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// A certificate this node made, and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// May be given to anybody.
    pub certificate: String,
    /// Stays here.
    pub key: String,
}

impl SelfSigned {
    /// A new certificate for `names` (names and addresses), of the key in `key` if that can be used, else of a new one.
    pub fn make(names: &[String], key: Option<&[u8]>, now_unix_s: u64) -> Result<SelfSigned, TlsError> {
        let unusable = |error: rcgen::Error| TlsError::Unusable(error.to_string());
        let known = key.and_then(|pem| std::str::from_utf8(pem).ok()).and_then(|pem| KeyPair::from_pem(pem).ok());
        let key = known.map_or_else(KeyPair::generate, Ok).map_err(unusable)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(unusable)?;
        params.distinguished_name.push(DnType::CommonName, "fednode API");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // A day earlier: the clocks of clients differ.
        params.not_before = time(now_unix_s.saturating_sub(DAY_S))?;
        params.not_after = time(now_unix_s.saturating_add((SELF_SIGNED_DAYS - 1) * DAY_S))?;
        let certificate = params.self_signed(&key).map_err(unusable)?;
        Ok(SelfSigned { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn time(unix_s: u64) -> Result<time::OffsetDateTime, TlsError> {
    let time = i64::try_from(unix_s).ok().and_then(|unix_s| time::OffsetDateTime::from_unix_timestamp(unix_s).ok());
    time.ok_or_else(|| TlsError::Unusable("this machine's clock cannot be right".to_owned()))
}

/// Should the kept certificate be made anew: is it damaged, or at its end?
pub fn is_worn(certificate_pem: &[u8], now_unix_s: u64) -> bool {
    let later = now_unix_s.saturating_add(RENEW_DAYS * DAY_S);
    let first = CertificateDer::from_pem_slice(certificate_pem);
    first.map_or(true, |first| check_time("", &first, later).is_err())
}

/// The names among `wanted` that the first certificate in `certificate_pem` does not have.
pub fn names_missing(certificate_pem: &[u8], wanted: &[String]) -> Vec<String> {
    let Ok(first) = CertificateDer::from_pem_slice(certificate_pem) else { return wanted.to_vec() };
    let Ok((_, parsed)) = X509Certificate::from_der(&first) else { return wanted.to_vec() };
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let names: Vec<String> = alternative.iter().flat_map(|names| &names.value.general_names).filter_map(text).collect();
    let has = |name: &String| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    wanted.iter().filter(|name| !has(name)).cloned().collect()
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn made() -> SelfSigned {
        SelfSigned::make(&["desk.local".to_owned(), "192.168.1.5".to_owned()], None, NOW).unwrap()
    }

    fn load(certificate: &[u8], key: &[u8], now: u64) -> Result<String, TlsError> {
        let (certificate, key) = (Pem { called: "c.pem", bytes: certificate }, Pem { called: "k.pem", bytes: key });
        Tls::from_pem(certificate, key, now).map(|tls| tls.fingerprint)
    }

    #[test]
    fn a_made_certificate_can_be_used_until_it_ends() {
        let made = made();
        let (certificate, key) = (made.certificate.as_bytes(), made.key.as_bytes());
        let print = load(certificate, key, NOW).unwrap();
        assert_eq!((print.len(), print.matches(':').count()), (95, 31));
        assert!(!is_worn(certificate, NOW) && is_worn(certificate, NOW + 800 * DAY_S) && is_worn(b"", NOW));
        let late = load(certificate, key, NOW + 830 * DAY_S).unwrap_err();
        assert_eq!(late, TlsError::Expired { file: "c.pem".to_owned(), days: 6 });
        assert_eq!(load(certificate, key, NOW - 2 * DAY_S).unwrap_err(), TlsError::NotYetValid("c.pem".to_owned()));
        let wanted = ["desk.local", "192.168.1.5", "other"].map(str::to_owned);
        assert_eq!(names_missing(certificate, &wanted), ["other"]);
    }

    #[test]
    fn a_renewed_certificate_keeps_its_key() {
        let first = made();
        let second = SelfSigned::make(&["desk".to_owned()], Some(first.key.as_bytes()), NOW + DAY_S).unwrap();
        assert!(second.key == first.key && second.certificate != first.certificate);
        assert!(load(second.certificate.as_bytes(), first.key.as_bytes(), NOW + DAY_S).is_ok());
    }

    #[test]
    fn each_mistake_has_its_name_and_says_what_to_do() {
        let (one, other) = (made(), made());
        let (certificate, key) = (one.certificate.as_bytes(), one.key.as_bytes());
        let mismatch = TlsError::Mismatch { certificate: "c.pem".to_owned(), key: "k.pem".to_owned() };
        assert_eq!(load(certificate, other.key.as_bytes(), NOW), Err(mismatch));
        assert_eq!(load(b"hello", key, NOW), Err(TlsError::NoCertificate("c.pem".to_owned())));
        assert_eq!(load(key, key, NOW), Err(TlsError::NoCertificate("c.pem".to_owned())));
        for bad in [&b""[..], b"hello", certificate] {
            assert_eq!(load(certificate, bad, NOW), Err(TlsError::NoKey("k.pem".to_owned())));
        }
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(load(garbled.as_bytes(), key, NOW), Err(TlsError::BadCertificate("c.pem".to_owned())));
    }
}
