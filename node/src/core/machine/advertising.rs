//! The machine's speaking half: what this node says of itself, and when it says it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::external::{ExternalHere, ExternalReplica};
use crate::core::limits;
use crate::core::machine::{Machine, Output};
use crate::core::membership::advert::{Advert, Gossip, Holding, Moving, ReplicaState, ReplicaStatus};
use crate::core::route::Place;
use crate::core::types::{Digest, Duration, SlotName, Time};

impl Machine {
    /// What this node would say of itself now.
    pub(super) fn statement(&self) -> Advert {
        let in_flight = self.router.in_flight_here(self.config.me);
        let whole = self.on_disk.iter().map(|&artifact| Holding { artifact, complete: true, chunks: 0 });
        let parts = self.partial.iter().filter(|(artifact, _)| !self.on_disk.contains(*artifact));
        let parts = parts.map(|(&artifact, &chunks)| Holding { artifact, complete: false, chunks });
        let plan = self.adopted.unwrap_or_default();
        Advert {
            node: self.config.me,
            incarnation: self.config.incarnation,
            sequence: 0,
            ttl_ms: u32::try_from(self.advert_life().as_millis()).unwrap_or(u32::MAX),
            name: self.config.name.clone(),
            role: self.config.role,
            on_battery: self.on_battery,
            priority: self.config.priority,
            domains: self.residency.ledger(),
            disk_free_bytes: self.disk_free_bytes,
            holdings: whole.chain(parts).take(limits::HOLDINGS_PER_ADVERT_MAX).collect(),
            replicas: self.replicas_said(&in_flight),
            member_roster_mark: self.config.members.mark(),
            catalog_digest: self.config.catalog.digest(),
            plan_epoch: plan.0,
            plan_revision: plan.1,
            epoch_highest: self.coordinator.epoch_highest(),
            addresses: self.addresses.clone(),
            wanted: self.wanted_here().into_iter().collect(),
            demand: self.meter.rates(),
            plan_author: self.adopted.map(|(_, _, author)| author),
            wishes_digest: Some(self.config.catalog.wishes_digest()),
            externals: self.own_externals(),
        }
    }

    /// What this node says of its replicas, and of how far they are.
    fn replicas_said(&self, in_flight: &BTreeMap<SlotName, u32>) -> Vec<ReplicaStatus> {
        let mut replicas = self.residency.statuses(in_flight, |artifact| self.precision_of(artifact));
        for replica in replicas.iter_mut().filter(|replica| replica.state == ReplicaState::Fetching) {
            let transfer = self.transfers.get(&replica.artifact).filter(|transfer| transfer.total_bytes() > 0);
            replica.moving = transfer.map(|transfer| Moving {
                done_bytes: transfer.done_bytes(),
                total_bytes: transfer.total_bytes(),
                bytes_per_s: transfer.bytes_per_s(),
            });
        }
        replicas
    }

    /// What this node says of its external engines.
    fn own_externals(&self) -> Vec<ExternalReplica> {
        let status = |here: &ExternalHere| {
            let at = Place { node: self.config.me, verification: here.verification };
            let in_flight = self.router.in_flight_at(at).get(&here.slot).copied().unwrap_or(0);
            let ready = self.external_answers(here);
            ExternalReplica { slot: here.slot, ready, in_flight, verification: here.verification }
        };
        self.externals.iter().map(status).collect()
    }

    fn precision_of(&self, artifact: &Digest) -> String {
        let published = self.config.catalog.publications().find(|publication| &publication.artifact == artifact);
        published.map(|publication| publication.shape.precision.name().to_owned()).unwrap_or_default()
    }

    /// Members speak at least this often.
    pub(super) fn advert_period(&self) -> Duration {
        limits::ADVERT_PERIOD.max(limits::ADVERT_SHARE.times(self.config.members.members.len() as u64))
    }

    /// What a member says is void after this.
    fn advert_life(&self) -> Duration {
        self.advert_period().times(limits::ADVERT_LIFE_PERIODS).max(limits::ADVERT_LIFE)
    }

    /// When this node speaks next: news once the last words have settled, else at the end of the period.
    pub(super) fn next_advert(&self) -> Time {
        let members = self.config.members.members.len() as u64;
        self.advertised_at.after(match self.has_news {
            News::None => self.advert_period(),
            News::Wanted => limits::SETTLE.max(limits::WANTED_SHARE.times(members)),
            News::Prompt => limits::SETTLE,
        })
    }

    /// Speaks if it is time to. `changed`: something may be otherwise than it was said.
    pub(super) fn advertise(&mut self, now: Time, changed: bool, outbox: &mut Vec<Output>) {
        if !changed && now < self.next_advert() {
            return;
        }
        let statement = self.statement();
        self.has_news = self.advertised.as_ref().map_or(News::Prompt, |said| self.news(said, &statement));
        if now < self.next_advert() && self.sequence > 0 {
            return;
        }
        self.sequence += 1;
        self.advertised_at = now;
        self.has_news = News::None;
        let said = Arc::new(Advert { sequence: self.sequence, ..statement });
        self.advertised = Some(Arc::clone(&said));
        outbox.push(Output::Gossip(Gossip::Advert(said)));
    }

    /// What there is to say at once. That nobody waits here any more is not, while others wait for the same: it is said with the
    /// next words, and in a large federation with many people at work that is most of what there would be to say.
    fn news(&self, said: &Advert, next: &Advert) -> News {
        let waits_no_more = |slot: &&SlotName| !next.wanted.contains(slot);
        match news(said, next) {
            News::Wanted
                if next.wanted.iter().all(|slot| said.wanted.contains(slot))
                    && said.wanted.iter().filter(waits_no_more).all(|slot| self.table.waits_for(slot)) =>
            {
                News::None
            }
            news => news,
        }
    }

    /// What this node said last: the first that a member it meets hears of it.
    pub fn greeting(&self) -> Option<Arc<Advert>> {
        self.advertised.clone()
    }
}

/// What there is that others act on, and should hear before the next period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// Nothing.
    None,
    /// People wait for other slots.
    Wanted,
    /// Anything else.
    Prompt,
}

/// Is there something in `next` that others act on, and should hear before the next period?
pub(super) fn news(said: &Advert, next: &Advert) -> News {
    let replicas = said.replicas.iter().map(|r| (&r.slot, r.state, &r.reason));
    let known = |advert: &Advert| (advert.catalog_digest, advert.wishes_digest, advert.member_roster_mark);
    let prompt = known(said) != known(next)
        || !replicas.eq(next.replicas.iter().map(|r| (&r.slot, r.state, &r.reason)))
        // That a transfer began is news too: those who fetch the same share out who asks for what. How far it is, is not.
        || !said.holds_as(next)
        || said.addresses != next.addresses
        || answering(said) != answering(next)
        || said.domains.len() != next.domains.len();
    match (prompt, said.wanted != next.wanted) {
        (true, _) => News::Prompt,
        (false, true) => News::Wanted,
        (false, false) => News::None,
    }
}

/// Which external engines answer: news for whoever routes.
fn answering(advert: &Advert) -> Vec<(&SlotName, bool)> {
    advert.externals.iter().map(|there| (&there.slot, there.ready)).collect()
}
