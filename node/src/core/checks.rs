//! The coordinator's spot checks: whose fingerprint is compared next, and who is not trusted until a later comparison matches.
//! What is decided here is published in the plan; every node's routing obeys it. Pure: the driver asks and compares.

use std::collections::BTreeMap;

use crate::core::chance;
use crate::core::fingerprint::Judgement;
use crate::core::limits;
use crate::core::placement::plan::Distrust;
use crate::core::types::{Digest, DomainName, Duration, NodeId, SlotName, Time};

/// One replica whose fingerprint can be compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Suspect {
    /// Its holder.
    pub node: NodeId,
    /// The slot it serves.
    pub slot: SlotName,
    /// One of its adapters; `None`: the base alone.
    pub domain: Option<DomainName>,
    /// The artifact that is compared: the adapter's, or the base's.
    pub artifact: Digest,
}

/// When somebody who is not trusted is looked at again, and for the how manieth time.
#[derive(Clone, Copy, Debug)]
struct Again {
    at: Time,
    times: u64,
}

/// What the coordinator keeps of its checks. Empty on everybody else.
#[derive(Clone, Debug)]
pub struct Checks {
    period: Duration,
    random: u64,
    /// When a replica is due that nothing is held against; `None`: this node does not sit.
    next_at: Option<Time>,
    /// The one comparison that is under way, and since when.
    asked: Option<(Suspect, Time)>,
    distrusted: BTreeMap<(NodeId, SlotName), (Distrust, Again)>,
}

impl Checks {
    /// One check each `period`, give or take; `seed` chooses whose.
    pub fn new(period: Duration, seed: u64) -> Checks {
        Checks { period, random: seed, next_at: None, asked: None, distrusted: BTreeMap::new() }
    }

    /// This node sits from now on; `inherited` is what the plan before said.
    pub fn begin(&mut self, now: Time, inherited: &[Distrust]) {
        let again = Again { at: now, times: 1 };
        let known = inherited.iter().map(|one| ((one.node, one.slot), (one.clone(), again)));
        self.distrusted = known.collect();
        self.asked = None;
        self.next_at = Some(self.soon(now));
    }

    /// This node sits no longer.
    pub fn end(&mut self) {
        self.next_at = None;
        self.asked = None;
        self.distrusted.clear();
    }

    /// Who is not trusted, in order.
    pub fn distrusted(&self) -> Vec<Distrust> {
        self.distrusted.values().map(|(distrust, _)| distrust.clone()).collect()
    }

    /// Forgets what is held against replicas that no longer can be; true if there were any.
    pub fn retain(&mut self, still: impl Fn(&Distrust) -> bool) -> bool {
        let before = self.distrusted.len();
        self.distrusted.retain(|_, (distrust, _)| still(distrust));
        self.distrusted.len() != before
    }

    /// Whose fingerprint is to be compared now, of those that answer: whoever is not trusted and has had time to mend, else
    /// anybody.
    pub fn due(&mut self, now: Time, ready: impl FnOnce() -> Vec<Suspect>) -> Option<Suspect> {
        let next_at = self.next_at?;
        if self.asked.as_ref().is_some_and(|(_, since)| now < since.after(limits::CHECK_WAIT)) {
            return None;
        }
        self.asked = None;
        let mends = self.distrusted.values().any(|(_, again)| again.at <= now);
        if !mends && now < next_at {
            return None;
        }
        let ready = ready();
        let first = ready.iter().find(|suspect| self.is_to_be_seen_again(now, suspect)).cloned();
        if first.is_none() && now < next_at {
            return None;
        }
        let chosen = match first {
            Some(first) => Some(first),
            None => {
                self.next_at = Some(self.soon(now));
                let at = chance::next(&mut self.random) as usize % ready.len().max(1);
                ready.into_iter().nth(at)
            }
        };
        self.asked = chosen.clone().map(|suspect| (suspect, now));
        chosen
    }

    fn is_to_be_seen_again(&self, now: Time, suspect: &Suspect) -> bool {
        let held = self.distrusted.get(&(suspect.node, suspect.slot));
        held.is_some_and(|(distrust, again)| distrust.artifact == suspect.artifact && again.at <= now)
    }

    /// A comparison ended, or could not be made. True if somebody is trusted no longer, or again.
    pub fn checked(&mut self, now: Time, suspect: &Suspect, judged: &Result<Judgement, String>) -> bool {
        if self.asked.as_ref().is_none_or(|(asked, _)| asked != suspect) {
            return false; // given up meanwhile, or asked for in another seat
        }
        self.asked = None;
        let key = (suspect.node, suspect.slot);
        let times = self.distrusted.get(&key).map_or(0, |(_, again)| again.times) + 1;
        let again = Again { at: now.after(self.pause(times)), times };
        match judged {
            Ok(judgement) if judgement.matches() => {
                let cleared = self.distrusted.get(&key).is_some_and(|(held, _)| held.artifact == suspect.artifact);
                cleared && self.distrusted.remove(&key).is_some()
            }
            Ok(judgement) => {
                if let Some((_, known)) = self.distrusted.get_mut(&key) {
                    *known = again; // what it was first told stands: a plan for each digit would help nobody
                    return false;
                }
                if self.distrusted.len() >= limits::DISTRUSTS_MAX {
                    return false;
                }
                let (artifact, why) = (suspect.artifact, judgement.to_string());
                let distrust = Distrust { node: suspect.node, slot: suspect.slot, artifact, why };
                self.distrusted.insert(key, (distrust, again));
                true
            }
            Err(_) => {
                if let Some((_, known)) = self.distrusted.get_mut(&key) {
                    *known = again;
                }
                false
            }
        }
    }

    /// Whoever does not mend is looked at ever more seldom.
    fn pause(&self, times: u64) -> Duration {
        limits::CHECK_AGAIN.times(times).min(self.period.max(limits::CHECK_AGAIN))
    }

    /// When [`Checks::due`] may have something to say although nothing happened.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let next_at = self.next_at?;
        if let Some((_, since)) = &self.asked {
            return Some(since.after(limits::CHECK_WAIT));
        }
        // Whoever is due and not there speaks before it can be asked.
        let mending = self.distrusted.values().map(|(_, again)| again.at).filter(|at| *at > now);
        mending.chain([next_at]).min()
    }

    /// A period from now, give or take a quarter, so that nobody can tell when it is looked at.
    fn soon(&mut self, now: Time) -> Time {
        let (period, random) = (self.period.0, chance::next(&mut self.random));
        now.after(Duration(period - period / 4 + random % (period / 2).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fingerprint::MicroNats;

    const FAR: Judgement = Judgement { distance: MicroNats(9_000), threshold: MicroNats(1_000) };
    const NEAR: Judgement = Judgement { distance: MicroNats(10), threshold: MicroNats(1_000) };

    fn suspect(node: u8, slot: &str) -> Suspect {
        let slot = SlotName::new(slot).expect("a name");
        Suspect { node: NodeId([node; 32]), slot, domain: None, artifact: Digest([node; 32]) }
    }

    fn second(n: u64) -> Time {
        Time(0).after(Duration::from_secs(n))
    }

    fn seated() -> Checks {
        let mut checks = Checks::new(Duration::from_secs(100), 7);
        checks.begin(Time(0), &[]);
        checks
    }

    /// Asks until somebody is due.
    fn next(checks: &mut Checks, from: u64, ready: &[Suspect]) -> (u64, Suspect) {
        let mut asked = (from..from + 1000).map(|at| (at, checks.due(second(at), || ready.to_vec())));
        asked.find_map(|(at, due)| due.map(|due| (at, due))).expect("somebody is due within ten periods")
    }

    #[test]
    fn everybody_has_a_turn_about_once_each_period_and_nobody_while_one_is_asked() {
        let ready = [suspect(1, "UFM"), suspect(2, "UFM"), suspect(3, "UCM")];
        let (mut checks, mut at, mut seen) = (seated(), 0, std::collections::BTreeSet::new());
        for _ in 0..40 {
            let (due_at, due) = next(&mut checks, at, &ready);
            assert!((75..=125).contains(&(due_at - at)), "{due_at} after {at}");
            assert_eq!(checks.due(second(due_at + 100), || ready.to_vec()), None, "one at a time");
            assert!(!checks.checked(second(due_at), &due, &Ok(NEAR)) && checks.distrusted().is_empty());
            seen.insert(due);
            at = due_at;
        }
        assert_eq!(seen.len(), ready.len());
    }

    #[test]
    fn nobody_is_asked_by_whoever_does_not_sit() {
        let mut checks = Checks::new(Duration::from_secs(100), 7);
        assert_eq!((checks.due(second(1000), Vec::new), checks.next_deadline(second(1000))), (None, None));
        checks.begin(second(0), &[]);
        checks.end();
        assert_eq!(checks.due(second(1000), || vec![suspect(1, "UFM")]), None);
    }

    #[test]
    fn whoever_differs_is_distrusted_until_a_later_check_matches() {
        let (mut checks, ready) = (seated(), [suspect(1, "UFM"), suspect(2, "UFM")]);
        let (at, accused) = next(&mut checks, 0, &ready);
        assert!(checks.checked(second(at), &accused, &Ok(FAR)));
        let held = checks.distrusted();
        assert_eq!((held.len(), held[0].node), (1, accused.node));
        assert!(held[0].why.contains("0.00900") && held[0].why.contains("0.00100"), "{}", held[0].why);
        // While it mends it does not answer, and nobody else is disturbed for it.
        assert_eq!(checks.due(second(at + 20), Vec::new), None);
        // It comes before whoever is next in turn.
        let (back, again) = next(&mut checks, at + 21, &ready);
        assert_eq!((back, &again), (at + 21, &accused));
        assert!(!checks.checked(second(back), &again, &Ok(FAR)), "nothing new is said");
        assert_eq!(checks.due(second(back + 9), || ready.to_vec()), None, "it is left alone for longer");
        let (third, again) = next(&mut checks, back, std::slice::from_ref(&accused));
        assert!((10..=20).contains(&(third - back)), "{third} after {back}");
        assert!(!checks.checked(second(third), &again, &Err("busy".to_owned())) && checks.distrusted().len() == 1);
        let (fourth, again) = next(&mut checks, third + 1, std::slice::from_ref(&accused));
        assert!(checks.checked(second(fourth), &again, &Ok(NEAR)) && checks.distrusted().is_empty());
    }

    #[test]
    fn a_new_coordinator_takes_over_what_the_plan_said_and_drops_what_is_gone() {
        let (mut checks, ready) = (seated(), [suspect(1, "UFM")]);
        let (at, accused) = next(&mut checks, 0, &ready);
        checks.checked(second(at), &accused, &Ok(FAR));
        let mut other = Checks::new(Duration::from_secs(100), 1);
        other.begin(second(500), &checks.distrusted());
        assert_eq!(other.due(second(500), || ready.to_vec()), Some(accused), "it is looked at at once");
        assert!(other.retain(|held| held.node != NodeId([1; 32])) && !other.retain(|_| false));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_counts_nothing() {
        let mut checks = seated();
        assert!(!checks.checked(second(1), &suspect(1, "UFM"), &Ok(FAR)) && checks.distrusted().is_empty());
    }

    #[test]
    fn a_check_that_never_ends_is_given_up() {
        let (mut checks, ready) = (seated(), [suspect(1, "UFM")]);
        let (at, _) = next(&mut checks, 0, &ready);
        let wait = limits::CHECK_WAIT.as_millis() / 1000;
        assert_eq!(checks.next_deadline(second(at)), Some(second(at + wait)));
        assert!(checks.due(second(at + wait - 1), || ready.to_vec()).is_none());
        assert!(checks.due(second(at + wait + 130), || ready.to_vec()).is_some());
    }
}
