//! `fednode owner`: the owner's key to and from its recovery file, on the disk of a node that may or may not be running.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::types::FederationId;
use crate::driver::membership::{MembershipError, Registry};
use crate::store::datadir::{DataDir, DataDirError};
use crate::store::identity::IdentityError;
use crate::wire::{WireError, owner_key};

/// Why a key was not exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A file in it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The roster of members.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The recovery file.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A file is never overwritten: it might be the only copy of another key.
    #[error("{path} exists; choose another name, or remove it first", path = .0.display())]
    Exists(PathBuf),
    /// The recovery file could not be written.
    #[error("cannot write {path}: {source}", path = .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl OwnerError {
    /// Was it a refusal (exit code 3), rather than a failure (1)?
    pub fn is_refusal(&self) -> bool {
        !matches!(self, OwnerError::Write { .. } | OwnerError::Identity(IdentityError::Io { .. }))
    }
}

/// Writes the owner's key of this data directory to `file`, readable by its owner alone, whole or not at all.
pub fn export(data_dir: &Path, file: &Path) -> Result<FederationId, OwnerError> {
    let key = DataDir::peek(data_dir)?.owner_key()?.ok_or(MembershipError::NoOwnerKey)?;
    let failed = |source| OwnerError::Write { path: file.to_owned(), source };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut written = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    written.write_all(owner_key::to_text(&key).as_bytes()).map_err(failed)?;
    written.as_file().sync_all().map_err(failed)?;
    written.persist_noclobber(file).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => OwnerError::Exists(file.to_owned()),
        _ => failed(error.error),
    })?;
    Ok(FederationId(key.public().to_bytes()))
}

/// Keeps the key of a recovery file in the data directory of a node that is not running; true if it was there before.
pub fn import(data_dir: &Path, recovery: &str) -> Result<(FederationId, bool), OwnerError> {
    let key = owner_key::from_text(recovery)?;
    // Before anything is created: a machine without a federation stays as it is.
    match DataDir::peek(data_dir) {
        Ok(view) if view.membership()?.is_some() => {}
        Ok(_) | Err(DataDirError::Absent(_)) => return Err(MembershipError::NotEnrolled.into()),
        Err(error) => return Err(error.into()),
    }
    let dir = Arc::new(DataDir::open(data_dir)?);
    let membership = dir.view().membership()?.ok_or(MembershipError::NotEnrolled)?;
    let known = Registry::open(dir, membership)?.import_owner(&key)?.is_none();
    Ok((FederationId(key.public().to_bytes()), known))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::core::membership::change::Change;
    use crate::core::membership::roster::{Member, Role};
    use crate::core::types::NodeId;

    /// The owner's data directory and that of a member, and how they know each other.
    struct Two {
        _folder: tempfile::TempDir,
        desk: PathBuf,
        den: PathBuf,
        registry: Registry,
        den_id: NodeId,
    }

    fn two() -> Two {
        let folder = tempfile::tempdir().expect("a folder");
        let (desk, den) = (folder.path().join("desk"), folder.path().join("den"));
        let dir = Arc::new(DataDir::open(&desk).expect("a data directory"));
        let membership = Registry::create(&dir, dir.node_id().expect("a key"), "desk", Role::Full).expect("created");
        let registry = Registry::open(dir, membership).expect("open");
        let dir = DataDir::open(&den).expect("a data directory");
        let den_id = dir.node_id().expect("a key");
        let member = Member::new(den_id, "den", Role::Full);
        let sealed = registry.change(&Change::Admit(member)).expect("room");
        let membership = crate::store::identity::Membership::new(sealed.roster.federation, sealed.signed);
        dir.save_membership(&membership).expect("saved");
        Two { _folder: folder, desk, den, registry, den_id }
    }

    fn open(path: &Path) -> Registry {
        let dir = Arc::new(DataDir::open(path).expect("a data directory"));
        let membership = dir.view().membership().expect("readable").expect("enrolled");
        Registry::open(dir, membership).expect("open")
    }

    #[test]
    fn a_member_that_imports_the_key_signs_what_the_owner_takes() {
        let two = two();
        let file = two.desk.parent().expect("a folder").join("recovery");
        let federation = export(&two.desk, &file).expect("exported");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(export(&two.desk, &file), Err(OwnerError::Exists(_))));
        assert!(matches!(export(&two.den, &file), Err(OwnerError::Membership(MembershipError::NoOwnerKey))));
        let text = std::fs::read_to_string(&file).expect("text");
        assert_eq!(import(&two.den, &text).expect("imported"), (federation, false));
        assert_eq!(import(&two.den, &text).expect("again"), (federation, true));
        let den = open(&two.den);
        assert!(den.may_sign() && den.roster().is_owners(&two.den_id));
        let taken = two.registry.take(&den.signed_roster()).expect("signed by the owner").expect("newer");
        assert!(taken.is_owners(&two.den_id));
        let lost = taken.members.iter().find(|member| member.name == "desk").expect("the lost machine").node;
        let without = den.change(&Change::Revoke(lost)).expect("it owns the federation");
        assert!(without.roster.member(&lost).is_none());
        assert!(two.registry.take(&without.signed).expect("valid").is_some() && !two.registry.is_enrolled());
    }

    #[test]
    fn other_keys_damaged_files_and_machines_that_are_no_members_are_refused_and_left_as_they_are() {
        let two = two();
        let stranger = libp2p_identity::ed25519::Keypair::generate();
        let refused = import(&two.den, &owner_key::to_text(&stranger)).expect_err("another federation");
        assert!(matches!(refused, OwnerError::Membership(MembershipError::OtherOwner { .. })), "{refused}");
        let damaged = owner_key::to_text(&stranger).replace("fednode-owner-1:", "fednode-owner-1:0");
        assert!(matches!(import(&two.den, &damaged), Err(OwnerError::Wire(_))));
        assert!(!open(&two.den).may_sign());
        let fresh = two.den.parent().expect("a folder").join("fresh");
        let refused = import(&fresh, &owner_key::to_text(&stranger)).expect_err("not enrolled");
        assert!(matches!(refused, OwnerError::Membership(MembershipError::NotEnrolled)) && refused.is_refusal());
        assert!(!fresh.exists());
    }
}
