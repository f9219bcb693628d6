//! The PEM files of the API's TLS: those of the owner, and the certificate that this node made for itself and keeps. The key
//! is written first, so that a crash in between costs a certificate, which is made again of the same key.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::core::limits;
use crate::store::datadir::{read_small, write_atomic};

const CERTIFICATE_FILE: &str = "api-tls.crt";
const KEY_FILE: &str = "api-tls.key";

/// A PEM file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}; give a PEM file that this user may read, or use --api-tls self-signed", path = .path.display())]
pub struct PemFileError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// What lies in the data directory: each `None` if it was never made.
pub struct Kept {
    /// The certificate in PEM.
    pub certificate: Option<Vec<u8>>,
    /// Its private key in PEM.
    pub key: Option<Vec<u8>>,
}

/// Where the node keeps its own certificate; clients may be given a copy of it.
pub fn certificate_path(folder: &Path) -> PathBuf {
    folder.join(CERTIFICATE_FILE)
}

/// The node's own certificate and key, as far as they were made.
pub fn kept(folder: &Path) -> Result<Kept, PemFileError> {
    let read = |name: &str| {
        let path = folder.join(name);
        read_small(&path).map_err(|source| PemFileError { what: "read", path, source })
    };
    Ok(Kept { certificate: read(CERTIFICATE_FILE)?, key: read(KEY_FILE)? })
}

/// Keeps the node's own certificate and key, readable by the owner alone.
pub fn keep(folder: &Path, certificate: &str, key: &str) -> Result<(), PemFileError> {
    for (name, text) in [(KEY_FILE, key), (CERTIFICATE_FILE, certificate)] {
        let path = folder.join(name);
        write_atomic(&path, text.as_bytes()).map_err(|source| PemFileError { what: "write", path, source })?;
    }
    Ok(())
}

/// A PEM file of the owner, bounded.
pub fn read(path: &Path) -> Result<Vec<u8>, PemFileError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(limits::PEM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > limits::PEM_BYTES_MAX {
            true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any PEM file")),
            false => Ok(bytes),
        }
    };
    read().map_err(|source| PemFileError { what: "read", path: path.to_owned(), source })
}

/// May anybody but its owner read this file? Unknown is no: what cannot be looked at is refused elsewhere.
pub fn others_may_read(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_private_and_read_again() {
        let base = tempfile::tempdir().unwrap();
        assert!(kept(base.path()).unwrap().certificate.is_none());
        keep(base.path(), "certificate", "key").unwrap();
        let found = kept(base.path()).unwrap();
        assert_eq!((found.certificate.unwrap(), found.key.unwrap()), (b"certificate".to_vec(), b"key".to_vec()));
        assert!(!others_may_read(&base.path().join(KEY_FILE)));
    }

    #[test]
    fn a_file_larger_than_any_certificate_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("large.pem");
        std::fs::write(&path, vec![b'a'; limits::PEM_BYTES_MAX as usize + 1]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("large.pem"));
    }
}
