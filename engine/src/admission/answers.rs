//! What the answer to a call changes.

use super::chains::ChainRef;
use super::keys::KnownKey;
use super::{Call, CallFailure, Now, Part, RequestId, Verdict, Worker};
use crate::api_key::KeyHash;
use crate::contract::KeyDocument;
use crate::contract::answer::{
    AnswerError, Change, ChangedDocument, Entered, KeyAnswer, Outcome, RateAnswer, Receipt,
    Settled, Store,
};
use crate::lease::{Batch, Chain, Settlement};
use crate::resp::Replies;

/// What the host says of a call.
#[derive(Clone, Copy, Debug)]
pub enum CallResult<'a> {
    /// The bytes Redis answered, perhaps not all.
    Answer(&'a [u8]),
    /// None.
    Failed(CallFailure),
}

/// Why the replies of a call are not all taken in.
enum Trouble {
    /// The call failed.
    Failed(CallFailure),
    /// Redis refused a command and said why.
    Refused(String),
    /// Redis has forgotten the scripts; the same call with them is next.
    ScriptsMissing,
}

/// The store is not, or not yet again, filled.
const UNREADY: Trouble = Trouble::Failed(CallFailure::Unready);

impl From<AnswerError> for Trouble {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::NoScript => Self::ScriptsMissing,
            AnswerError::Refused(message) => Self::Refused(message),
            AnswerError::Unexpected => Self::Failed(CallFailure::Error),
        }
    }
}

impl Worker {
    /// Takes in the result of the call under way; answers the requests that can be decided now.
    pub fn answer(&mut self, result: CallResult<'_>, now: Now) -> Vec<(RequestId, Verdict)> {
        let Some(call) = self.call.take() else {
            return Vec::new();
        };
        let outcome = match result {
            CallResult::Answer(bytes) => self.take_replies(&call, bytes, now),
            CallResult::Failed(failure) => Err(Trouble::Failed(failure)),
        };
        match outcome {
            Ok(()) => {
                self.stats.calls_ok += 1;
                self.link.succeed(call.sent_ms, now.monotonic_ms);
                if self.is_behind {
                    self.link.read_again();
                }
            }
            Err(Trouble::ScriptsMissing) => self.load_scripts = true,
            Err(Trouble::Failed(failure)) => self.fail(failure, String::new(), now),
            Err(Trouble::Refused(message)) => self.fail(CallFailure::Error, message, now),
        }
        for part in &call.parts {
            if let Part::Batch(chain, _) = part {
                self.chains.schedule(*chain, &self.rules);
            }
        }
        let mut decided = self.resolve_claims(now);
        decided.append(&mut self.decide_waiting(now));
        decided
    }

    fn fail(&mut self, failure: CallFailure, message: String, now: Now) {
        self.stats.calls_failed[failure as usize] += 1;
        self.failure = Some((failure, message));
        self.link.fail(failure, now.monotonic_ms);
    }

    fn take_replies(&mut self, call: &Call, bytes: &[u8], now: Now) -> Result<(), Trouble> {
        let mut replies = Replies::new(bytes);
        for part in &call.parts {
            let Some(Ok(reply)) = replies.next() else {
                return Err(Trouble::Failed(CallFailure::ShortAnswer));
            };
            match part {
                Part::Authenticate | Part::Load => {
                    if let Some(error) = AnswerError::of(&reply) {
                        return Err(error.into());
                    }
                }
                Part::Enter => self.enter(&Entered::read(&reply)?, now)?,
                Part::Batch(chain, number) => {
                    self.take_batch(*chain, *number, &Settled::read(&reply)?, now)?;
                }
                Part::Lookup(hash) => self.take_lookup(*hash, &Settled::read(&reply)?, now)?,
                Part::Key(hash) => {
                    let answer = KeyAnswer::read(&reply)?.ok_or(UNREADY)?;
                    self.take_key(*hash, answer, now);
                }
                Part::Rate(chain, feature) => {
                    let answer = RateAnswer::read(&reply)?.ok_or(UNREADY)?;
                    let times = (call.sent_ms, now.monotonic_ms);
                    self.take_rate(Some(*chain), feature, answer, times);
                }
                Part::FirstRate(hash, feature) => {
                    let answer = RateAnswer::read(&reply)?.ok_or(UNREADY)?;
                    let times = (call.sent_ms, now.monotonic_ms);
                    let chain = self.keys.find(hash);
                    self.take_rate(chain, feature, answer, times);
                }
            }
        }
        self.load_scripts = false;
        Ok(())
    }

    fn enter(&mut self, entered: &Entered<'_>, now: Now) -> Result<(), Trouble> {
        let store = match entered {
            // A filter that is not of the sandbox has no business in a store whose time is moved.
            Entered::Ready(store) if store.offset_ms.is_none() || self.policy.sandbox => store,
            Entered::Ready(_) | Entered::Unready => {
                return Err(Trouble::Failed(CallFailure::Unready));
            }
        };
        self.skew_ms = store.time_ms - now.unix_ms;
        self.offset_ms = store.offset_ms.unwrap_or(0);
        let is_same = self
            .store
            .as_ref()
            .is_some_and(|(node, generation)| node == store.node && generation == store.generation);
        if is_same {
            self.read_changes(store);
        } else {
            self.store = Some((store.node.to_owned(), store.generation.to_owned()));
            self.store_number += 1;
            self.empty_cache();
            self.position = Some(store.last_change);
        }
        self.is_behind = self.position != Some(store.last_change);
        Ok(())
    }

    /// Forgets what changed; everything when changes are missing.
    fn read_changes(&mut self, store: &Store<'_>) {
        let mut position = self.position.unwrap_or(store.last_change);
        for change in &store.changes {
            if change.number != position + 1 {
                break;
            }
            position = change.number;
            self.forget(change);
        }
        let read = store
            .changes
            .last()
            .map_or(store.last_change, |last| last.number);
        if position != read {
            self.empty_cache();
        }
        self.position = Some(read);
    }

    fn forget(&mut self, change: &Change<'_>) {
        match change.subject {
            ChangedDocument::Chain(id) => {
                if let Some(reference) = self.chains.find(id)
                    && let Some(chain) = self.chains.get(reference)
                {
                    chain.changed(change.version);
                }
            }
            ChangedDocument::Key(hash) => {
                if let Ok(hash) = hash.parse() {
                    self.keys.remove(&hash);
                    self.lookups.distrust(Some(&hash));
                }
            }
        }
    }

    /// Trusts nothing it remembers of documents; leases and unsettled usage stay.
    fn empty_cache(&mut self) {
        self.keys.clear();
        self.lookups.distrust(None);
        self.chains.distrust();
        self.chains.schedule_all(&self.rules);
    }

    fn take_batch(
        &mut self,
        reference: ChainRef,
        number: u64,
        settled: &Settled<'_>,
        now: Now,
    ) -> Result<(), Trouble> {
        let receipt = match settled {
            Settled::Known(receipt) => receipt,
            Settled::Unready | Settled::Unknown => {
                return Err(Trouble::Failed(CallFailure::Unready));
            }
        };
        let (now_ms, store) = (now.monotonic_ms, self.store_number);
        let Some(chain) = self.chains.get(reference) else {
            return Ok(());
        };
        let lost = chain.lost_batches();
        let settlement = chain.settle(number, receipt, now_ms, store, &self.rules);
        self.stats.batches_lost += chain.lost_batches() - lost;
        if receipt.document.is_some() {
            self.chains.weigh(reference, now_ms);
        }
        self.note(settlement, receipt);
        self.note_counted(reference);
        Ok(())
    }

    fn note(&mut self, settlement: Settlement, receipt: &Receipt<'_>) {
        let granted = receipt.windows.iter().filter(|window| window.granted > 0);
        self.stats.grants += granted.count() as u64;
        match settlement {
            Settlement::Counted => {}
            Settlement::SendAgain => self.stats.gaps += 1,
            Settlement::BadDocument => self.stats.bad_documents += 1,
        }
    }

    fn take_lookup(
        &mut self,
        hash: KeyHash,
        settled: &Settled<'_>,
        now: Now,
    ) -> Result<(), Trouble> {
        if matches!(settled, Settled::Unready) {
            return Err(Trouble::Failed(CallFailure::Unready));
        }
        let Some(lookup) = self.lookups.answered(&hash) else {
            return Ok(());
        };
        let Settled::Known(receipt) = settled else {
            self.keys.remember_unknown(hash, now.monotonic_ms);
            return Ok(());
        };
        let document = match lookup.key {
            Some(document) => Some(document),
            None => receipt
                .key_document
                .and_then(|document| serde_json::from_slice(document).ok()),
        };
        let Some(document) = document else {
            self.stats.bad_documents += 1;
            return Ok(());
        };
        let chain = match self.chains.find(&document.chain) {
            // Whatever the look-up leased to a chain that is known by now, its own batches say what it holds.
            Some(known) => known,
            None => self.meet_chain(&document, receipt, lookup.batch, now),
        };
        if lookup.is_stale {
            self.lookups.begin_again(hash, lookup.tag);
        } else {
            self.remember_key(hash, document, chain);
        }
        Ok(())
    }

    pub(super) fn remember_key(&mut self, hash: KeyHash, document: KeyDocument, chain: ChainRef) {
        self.keys.insert(hash, KnownKey::new(document, chain));
    }

    /// Takes a chain up that this worker does not remember; Redis may.
    fn meet_chain(
        &mut self,
        key: &KeyDocument,
        receipt: &Receipt<'_>,
        batch: Batch,
        now: Now,
    ) -> ChainRef {
        let is_counted = !batch.wanted.is_empty()
            && matches!(receipt.outcome, Outcome::Applied | Outcome::Repeated);
        let last = if is_counted { 0 } else { receipt.last };
        let mut chain = Chain::new(key.chain.as_str().into(), key.tag, last);
        let settlement = if is_counted {
            let (now_ms, store) = (now.monotonic_ms, self.store_number);
            chain.learn_first(receipt, batch, now_ms, store, &self.rules)
        } else {
            chain.read(receipt)
        };
        self.note(settlement, receipt);
        let reference = self.chains.insert(chain, now.monotonic_ms);
        self.chains.schedule(reference, &self.rules);
        reference
    }
}
