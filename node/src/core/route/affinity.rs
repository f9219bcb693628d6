//! Which replica answered a conversation before: it still has most of the next prompt computed. A conversation is a hash of
//! its first messages, made at the edge. Only a hint: whoever chooses looks whether that replica is ready.

use std::collections::BTreeMap;

use crate::core::limits;
use crate::core::route::Place;
use crate::core::types::Time;

/// At most `CONVERSATIONS_MAX`; the one that was used longest ago makes way.
#[derive(Clone, Debug, Default)]
pub(super) struct Affinity {
    answered: BTreeMap<u64, (Place, Time)>,
}

impl Affinity {
    /// `place` answers this conversation.
    pub(super) fn answers(&mut self, now: Time, conversation: u64, place: Place) {
        if self.answered.len() >= limits::CONVERSATIONS_MAX && !self.answered.contains_key(&conversation) {
            let oldest = self.answered.iter().min_by_key(|(_, (_, used))| *used).map(|(known, _)| *known);
            oldest.and_then(|oldest| self.answered.remove(&oldest));
        }
        self.answered.insert(conversation, (place, now));
    }

    /// Who answered it before.
    pub(super) fn of(&self, now: Time, conversation: u64) -> Option<Place> {
        let (place, used) = self.answered.get(&conversation)?;
        (now.since(*used) < limits::CONVERSATION_LIFE).then_some(*place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::external::Verification;
    use crate::core::types::NodeId;

    fn place(node: u8) -> Place {
        Place { node: NodeId([node; 32]), verification: Verification::Verified }
    }

    #[test]
    fn a_conversation_is_remembered_for_a_while_and_the_longest_unused_makes_way() {
        let mut affinity = Affinity::default();
        for n in 0..limits::CONVERSATIONS_MAX as u64 {
            affinity.answers(Time(n), n, place(1));
        }
        affinity.answers(Time(5_000), 0, place(2));
        affinity.answers(Time(5_001), 1 << 40, place(3));
        assert_eq!(affinity.answered.len(), limits::CONVERSATIONS_MAX);
        let now = Time(5_002);
        assert_eq!(
            [0, 1, 2, 1 << 40].map(|c| affinity.of(now, c)),
            [Some(2), None, Some(1), Some(3)].map(|n| n.map(place))
        );
        assert_eq!(affinity.of(Time(5_000).after(limits::CONVERSATION_LIFE), 0), None);
    }
}
