//! Gossip on its way: to everybody who is connected, directly or by way of another, with this message's share of loss and
//! jitter; and heard by one after the other.
//!
//! Not modelled: more than one step between two members, and what gossipsub does to be heard by all with less traffic.

use std::sync::Arc;

use fednode::core::machine::Input;
use fednode::core::membership::advert::Gossip;
use fednode::core::types::Time;

use crate::codec;
use crate::world::World;
use crate::world::event::{Event, Wave};

/// Gossip lost on a slow line, of a million.
const SLOW_LOSS_PPM: u32 = 100_000;

impl World {
    pub(super) fn gossip(&mut self, node: usize, gossip: &Gossip) {
        let (heard, digest) = match codec::gossip(&self.nodes[node].id, gossip) {
            Ok(decoded) => decoded,
            Err(error) => return self.checkers.unreadable(self.now, node, &error),
        };
        self.trace.bytes(&digest.0);
        if let Gossip::Advert(advert) = gossip {
            self.checkers.advert(self.now, node, &self.nodes[node], advert);
        }
        if let Gossip::Advert(advert) = &heard {
            self.nodes[node].said = Some(Arc::clone(advert));
        }
        let (loss, twice) = match self.calm {
            true => (0, 0),
            false => (self.run.options.loss_ppm, self.run.options.duplicate_ppm),
        };
        let mut hearers = Vec::with_capacity(self.nodes.len());
        let mut relays = None;
        for to in 0..self.nodes.len() {
            if to == node || self.links.is_alone(to) {
                continue;
            }
            let copies = if self.link_rng.chance(twice) { 2 } else { 1 };
            for _ in 0..copies {
                let slow = self.slow_links.times(node, to) > 1;
                if self.link_rng.chance(if slow { loss.max(SLOW_LOSS_PPM) } else { loss }) {
                    continue;
                }
                hearers.extend(self.gossip_arrives(node, to, &mut relays).map(|at| (at, to as u32)));
            }
        }
        hearers.sort_unstable_by(|a, b| b.cmp(a));
        if let Some((first, _)) = hearers.last() {
            self.at(*first, Event::Spreads { wave: Box::new(Wave { gossip: heard, hearers }) });
        }
    }

    /// Gossip is heard by one after the other, as long as nothing else happens before.
    pub(super) fn spreads(&mut self, mut wave: Box<Wave>) {
        let heard = Input::Gossip(wave.gossip.clone());
        let mut end = self.wave_end();
        while let Some(&(at, node)) = wave.hearers.last() {
            if at > end || self.is_over() {
                return self.at(at, Event::Spreads { wave });
            }
            wave.hearers.pop();
            self.now = at;
            let node = node as usize;
            if self.nodes[node].asleep_until.is_some() {
                self.nodes[node].missed.push(Event::Gossip { node, gossip: wave.gossip.clone() });
            } else if self.takes_lightly(node, &heard) {
                continue; // nothing came of it that could happen before the next hears it
            } else {
                self.heed(node, heard.clone());
            }
            end = self.wave_end();
        }
    }

    /// Nothing else happens before.
    fn wave_end(&self) -> Time {
        self.agenda.next().map_or(self.until, |next| next.min(self.until))
    }

    /// When gossip of `from` reaches `to`: over their connection, or by way of one member that is connected to both.
    /// `None`: never. `relays`: who could pass it on, as soon as that was asked.
    fn gossip_arrives(&mut self, from: usize, to: usize, relays: &mut Option<Vec<usize>>) -> Option<Time> {
        if self.links.passes(from, to) {
            let latency = self.latency(from, to);
            return Some(self.now.after(latency));
        }
        let passes_on = |relay: &usize| self.links.passes(from, *relay) && self.nodes[*relay].is_up();
        let relays = relays.get_or_insert_with(|| (0..self.nodes.len()).filter(passes_on).collect());
        let relay = relays.iter().copied().find(|&relay| relay != to && self.links.passes(relay, to))?;
        let (first, second) = (self.latency(from, relay), self.latency(relay, to));
        Some(self.now.after(first).after(second))
    }
}
