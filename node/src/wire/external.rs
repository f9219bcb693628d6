//! External engines in advertisements. What a member says of its own is bounded; a word that a newer node uses for how it was
//! verified counts as none.

use std::collections::BTreeSet;

use fednode_proto::v1;

use crate::core::external::{ExternalReplica, Verification};
use crate::core::limits;
use crate::wire::catalog::slot_name;
use crate::wire::{WireError, at_most, field};

pub(super) fn to_proto(externals: &[ExternalReplica]) -> Vec<v1::ExternalReplica> {
    let one = |there: &ExternalReplica| v1::ExternalReplica {
        slot: there.slot.to_string(),
        ready: there.ready,
        in_flight: there.in_flight,
        verification: match there.verification {
            Verification::Verified => v1::Verification::Verified.into(),
            Verification::Unverified => v1::Verification::Unverified.into(),
        },
    };
    externals.iter().take(limits::EXTERNAL_ENGINES_MAX).map(one).collect()
}

pub(super) fn from_proto(externals: &[v1::ExternalReplica]) -> Result<Vec<ExternalReplica>, WireError> {
    at_most("external engines", externals, limits::EXTERNAL_ENGINES_MAX)?;
    let slots: BTreeSet<&str> = externals.iter().map(|there| there.slot.as_str()).collect();
    if slots.len() != externals.len() {
        return Err(field("external engines", "two of one slot"));
    }
    let one = |there: &v1::ExternalReplica| -> Result<ExternalReplica, WireError> {
        let verification = match v1::Verification::try_from(there.verification) {
            Ok(v1::Verification::Verified) => Verification::Verified,
            _ => Verification::Unverified,
        };
        let slot = slot_name("external engine", &there.slot)?;
        Ok(ExternalReplica { slot, ready: there.ready, in_flight: there.in_flight, verification })
    };
    externals.iter().map(one).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::types::SlotName;

    pub(in crate::wire) fn replica(slot: SlotName) -> ExternalReplica {
        ExternalReplica { slot, ready: true, in_flight: 64, verification: Verification::Unverified }
    }

    #[test]
    fn what_is_said_is_read_again_and_what_is_too_much_is_refused() {
        let name = |index: usize| SlotName::new(&format!("S{index}")).expect("a name");
        let all: Vec<_> = (0..limits::EXTERNAL_ENGINES_MAX).map(|index| replica(name(index))).collect();
        let mut said = to_proto(&all);
        assert_eq!(from_proto(&said), Ok(all.clone()));
        said[0].verification = 7;
        assert_eq!(from_proto(&said), Ok(all), "a later version's word is no proof");
        said[0].slot = "S1".into();
        assert!(from_proto(&said).is_err(), "two of one slot");
        said[0].slot = "../S".into();
        assert!(from_proto(&said).is_err());
        said[0].slot = "X".into();
        said.push(v1::ExternalReplica { slot: "Y".into(), ..said[0].clone() });
        assert!(from_proto(&said).is_err(), "one too many");
    }
}
