//! Which cipher TLS prefers. AES-256-GCM runs at 10 to 20 GB/s a core where the processor has instructions for it and far
//! below ChaCha20-Poly1305 (2.7 GB/s) where it has not (DESIGN 16), so the order follows the processor.

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};

/// Has this processor instructions for AES?
pub(super) fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// All suites of TLS 1.3, the fastest on a processor that has AES instructions, or has not, first.
pub(super) fn suites(has_aes: bool) -> Vec<SupportedCipherSuite> {
    let aes = [cipher_suite::TLS13_AES_256_GCM_SHA384, cipher_suite::TLS13_AES_128_GCM_SHA256];
    let chacha = [cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    if has_aes { [&aes[..], &chacha].concat() } else { [&chacha[..], &aes].concat() }
}

/// What rustls computes with.
pub(super) fn provider(has_aes: bool) -> CryptoProvider {
    CryptoProvider { cipher_suites: suites(has_aes), ..aws_lc_rs::default_provider() }
}
