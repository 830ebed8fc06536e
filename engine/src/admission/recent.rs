//! What the requests of keys used lately found out, for the next ones.

use std::rc::Rc;

use smallvec::SmallVec;

use super::keys::KnownKey;
use super::standing::{Caller, Standing};
use crate::api_key::KeyHash;
use crate::contract::AccessDocument;
use crate::lease::Chain;
use crate::limits::{RECENT_HEADERS_MAX_BYTES, RECENT_KEYS_MAX, STANDINGS_PER_KEY_MAX};
use crate::problem::IdentityHeaders;

/// Where that of a key is, unless another key has taken its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecentRef(u32);

impl RecentRef {
    /// Nowhere: what the same key found out by an earlier document of it must not hold any more.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// A key used lately.
#[derive(Debug)]
struct Recent {
    owner: KeyHash,
    /// Whether it was used since the hand last passed.
    is_used: bool,
    /// By rule, newest first; all by one version of the access document.
    standings: SmallVec<[Standing; 1]>,
}

impl Recent {
    fn bytes(&self) -> usize {
        self.standings.iter().map(Standing::bytes).sum()
    }
}

/// As many keys as there is room for. A hand goes round over their places, and whose key was not used since it last
/// passed is the next one's.
#[derive(Debug, Default)]
pub(super) struct Recents {
    places: Vec<Recent>,
    hand: usize,
    /// What their headers take of [`RECENT_HEADERS_MAX_BYTES`].
    bytes: usize,
}

impl Recents {
    /// What holds for a key and a rule at `now_ms`, by that version of the document.
    pub(super) fn find(
        &mut self,
        (RecentRef(place), owner): (RecentRef, &KeyHash),
        (rule, version): (usize, u64),
        chain: &Chain,
        now_ms: i64,
    ) -> Option<&Standing> {
        let recent = self.places.get_mut(place as usize)?;
        if recent.owner != *owner {
            return None;
        }
        recent.is_used = true;
        let mut standings = recent.standings.iter();
        let held = standings.find(|standing| standing.holds(rule, version, now_ms))?;
        held.is_known_to(chain).then_some(held)
    }

    /// Keeps what holds for a key, and answers it; `place` is where that of the key is from now on.
    pub(super) fn keep(
        &mut self,
        (place, owner): (&mut RecentRef, &KeyHash),
        standing: Standing,
    ) -> &Standing {
        let before = self.places.get_mut(place.0 as usize);
        let mut standings = match before.filter(|recent| recent.owner == *owner) {
            Some(recent) => {
                self.bytes -= recent.bytes();
                std::mem::take(&mut recent.standings)
            }
            None => {
                *place = self.next_place(*owner);
                SmallVec::new()
            }
        };
        standings.retain(|known| known.is_beside(&standing));
        standings.truncate(STANDINGS_PER_KEY_MAX - 1);
        standings.insert(0, standing);
        self.make_room(standings.iter().map(Standing::bytes).sum());
        let recent = &mut self.places[place.0 as usize];
        recent.standings = standings;
        recent.is_used = true;
        self.bytes += recent.bytes();
        &recent.standings[0]
    }

    /// Who calls with a key in a term: as another of its standings has it, or made anew.
    pub(super) fn caller(
        &self,
        (known, (RecentRef(place), owner)): (&KnownKey, (RecentRef, &KeyHash)),
        access: &AccessDocument,
        term: usize,
        form: IdentityHeaders,
    ) -> Rc<Caller> {
        let recent = self.places.get(place as usize);
        let recent = recent.filter(|recent| recent.owner == *owner);
        let mut standings = recent.into_iter().flat_map(|recent| &recent.standings);
        match standings.find(|standing| standing.is_of(access.version, term)) {
            Some(alike) => Rc::clone(&alike.caller),
            None => Rc::new(Caller::new(known, access, term, form)),
        }
    }

    fn next_place(&mut self, owner: KeyHash) -> RecentRef {
        const MORE: usize = RECENT_KEYS_MAX / 16;
        let recent = Recent {
            owner,
            is_used: true,
            standings: SmallVec::new(),
        };
        if self.places.len() < RECENT_KEYS_MAX {
            if self.places.len() == self.places.capacity() {
                self.places.reserve_exact(MORE);
            }
            self.places.push(recent);
            return RecentRef(u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX));
        }
        while std::mem::take(&mut self.places[self.hand].is_used) {
            self.pass();
        }
        let place = self.hand;
        self.clear(place);
        self.places[place] = recent;
        self.pass();
        RecentRef(u32::try_from(place).unwrap_or(u32::MAX))
    }

    fn make_room(&mut self, bytes: usize) {
        while self.bytes > 0 && self.bytes + bytes > RECENT_HEADERS_MAX_BYTES {
            if !std::mem::take(&mut self.places[self.hand].is_used) {
                self.clear(self.hand);
            }
            self.pass();
        }
    }

    fn clear(&mut self, place: usize) {
        self.bytes -= self.places[place].bytes();
        self.places[place].standings = SmallVec::new();
    }

    const fn pass(&mut self) {
        self.hand = (self.hand + 1) % self.places.len();
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}
