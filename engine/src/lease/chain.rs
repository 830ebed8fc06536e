//! One chain of subscriptions as one worker sees it: its document, its windows, its batches.

mod claims;
mod document;
mod totals;

use std::rc::Rc;

use super::batch::{Batch, Need, Sequence, Wanted};
use super::claims::{Claim, Counted};
use super::{Bucket, LeaseRules, Window};
use crate::api_key::Tag;
use crate::contract::answer::{Outcome, Receipt};
use crate::contract::{self, WindowId};
use crate::limits::{BATCH_RETAINED_MS, CLAIM_SIGN_MS};
use crate::packed::pack_fields;

use document::PackedDocument;

pub use totals::Totals;

/// What an answer of Redis did to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The batch counts.
    Counted,
    /// Redis lost batches; they are sent again.
    SendAgain,
    /// The batch counts, but the document that came with it cannot be read.
    BadDocument,
}

/// A worker's part in one chain of subscriptions.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The id of the first subscription.
    pub id: Rc<str>,
    /// Where the chain's state stands in Redis.
    pub tag: Tag,
    windows: Vec<Window>,
    windows_made: u32,
    buckets: Vec<Bucket>,
    document: Option<PackedDocument>,
    stale: bool,
    sequence: Sequence,
    unsettled_since_ms: Option<u64>,
    last_batch_ms: u64,
    retained_ms: u64,
    paused_until_ms: u64,
    declares: bool,
    round: u64,
    counted: Option<Counted>,
    hurries: bool,
}

pack_fields!(
    Chain: id, tag, windows, windows_made, buckets, document, stale, sequence, unsettled_since_ms,
    last_batch_ms, retained_ms, paused_until_ms, declares, round, counted, hurries
);

impl Chain {
    /// A chain whose last batch of this worker, if Redis knows one, has number `last`.
    #[must_use]
    pub fn new(id: Rc<str>, tag: Tag, last: u64) -> Self {
        Self {
            id,
            tag,
            windows: Vec::new(),
            windows_made: 0,
            buckets: Vec::new(),
            document: None,
            stale: true,
            sequence: Sequence::from_last(last),
            unsettled_since_ms: None,
            last_batch_ms: 0,
            retained_ms: 0,
            paused_until_ms: 0,
            declares: false,
            round: 0,
            counted: None,
            hurries: false,
        }
    }

    /// Notes that the document may have changed, and that Redis may have forgotten what the worker holds.
    pub fn distrust(&mut self) {
        self.stale = true;
        self.paused_until_ms = 0;
        self.declares |=
            self.sequence.retains() || self.windows.iter().any(|window| window.held() > 0);
        for window in &mut self.windows {
            window.ask_again();
        }
    }

    /// Whether Redis grants nothing on hard limits for now.
    #[must_use]
    pub const fn is_paused(&self, now_ms: u64) -> bool {
        now_ms < self.paused_until_ms
    }

    /// Whether a batch is in doubt.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.sequence.in_doubt()
    }

    /// Batches given up, ever.
    #[must_use]
    pub const fn lost_batches(&self) -> u64 {
        self.sequence.lost_batches()
    }

    /// Since when usage waits to be settled.
    #[must_use]
    pub const fn unsettled_since_ms(&self) -> Option<u64> {
        self.unsettled_since_ms
    }

    /// Whether nothing would be lost if the worker forgot the chain.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sequence.is_settled() && self.windows.iter().all(Window::is_idle)
    }

    /// The worker's part in a window, made when it is first touched.
    pub fn window_for(
        &mut self,
        epoch: u32,
        meter: &str,
        described: &contract::Window,
    ) -> &mut Window {
        let found = self.windows.iter().position(|known| {
            known.start_ms == described.start_ms && known.epoch == epoch && *known.meter == *meter
        });
        let index = found.unwrap_or_else(|| {
            self.windows_made += 1;
            let new = Window::new(self.windows_made, epoch, meter, described);
            // Most chains have one or two, and a worker has many chains.
            self.windows.reserve_exact(1);
            self.windows.push(new);
            self.windows.len() - 1
        });
        &mut self.windows[index]
    }

    /// The window of that number.
    pub fn window_mut(&mut self, number: u32) -> Option<&mut Window> {
        self.windows
            .iter_mut()
            .find(|window| window.number == number)
    }

    /// The window of that number.
    #[must_use]
    pub fn window(&self, number: u32) -> Option<&Window> {
        self.windows.iter().find(|window| window.number == number)
    }

    /// The worker's part in a rate limit, made when it is first touched.
    pub fn bucket_for(&mut self, feature: &str) -> &mut Bucket {
        let found = self.buckets.iter().position(|it| *it.feature == *feature);
        let index = found.unwrap_or_else(|| {
            self.buckets.push(Bucket::new(feature));
            self.buckets.len() - 1
        });
        &mut self.buckets[index]
    }

    /// Whether Redis need not be asked for what a request lacks yet.
    #[must_use]
    pub fn is_exhausted(&self, window: &str, least: u64, now_ms: u64) -> bool {
        self.windows
            .iter()
            .any(|known| *known.id == *window && known.is_exhausted(least, now_ms))
    }

    /// Notes that usage was consumed at `now_ms`.
    pub const fn note_usage(&mut self, now_ms: u64) {
        if self.unsettled_since_ms.is_none() {
            self.unsettled_since_ms = Some(now_ms);
        }
    }

    /// When the chain next has something to say without being asked.
    #[must_use]
    pub fn due_ms(&self, rules: &LeaseRules) -> Option<u64> {
        if self.in_doubt() || self.declares || self.hurries {
            return Some(0);
        }
        let usage_ms = self.unsettled_since_ms.map(|since_ms| {
            let presses = |window: &Window| window.is_half_spent() || window.gives_claims_back();
            if self.windows.iter().any(presses) {
                since_ms
            } else {
                since_ms + rules.max_unsettled_ms
            }
        });
        let leases_ms = self
            .windows
            .iter()
            .filter_map(|window| window.give_back_due_ms(rules));
        let batch_ms = leases_ms
            .chain(usage_ms)
            .min()
            .map(|due_ms| due_ms.max(self.last_batch_ms + rules.flush_interval_ms));
        let forget_ms = self
            .sequence
            .retains()
            .then_some(self.retained_ms + BATCH_RETAINED_MS);
        let sign_ms = self
            .windows
            .iter()
            .any(Window::has_open_claims)
            .then_some(self.last_batch_ms + CLAIM_SIGN_MS);
        batch_ms.into_iter().chain(forget_ms).chain(sign_ms).min()
    }

    /// Makes the next batch, unless one is in doubt or there is nothing to say. Claims come only while none is.
    pub fn prepare(&mut self, needs: &[Need], claims: Vec<Claim>, now_ms: u64, rules: &LeaseRules) {
        while let Some(given_up) = self.sequence.give_up(now_ms) {
            self.acknowledge(&given_up);
        }
        if self.in_doubt() {
            return;
        }
        // A chain without a window has nothing to declare; it must not stay due for it.
        let declares = std::mem::take(&mut self.declares);
        self.hurries = false;
        let mut batch = Batch::default();
        self.add_claims(&mut batch, claims);
        for window in &mut self.windows {
            window.give_back(now_ms, rules);
            let touched = window.has_lease_news();
            window.drain_into(&mut batch);
            let (least, need) = needs
                .iter()
                .find(|need| need.window == window.id)
                .map_or((0, 0), |need| (need.least, need.milli));
            let want = window.want(now_ms, rules);
            if touched || need > 0 {
                batch.wanted.push(Wanted {
                    meter: Rc::clone(&window.meter),
                    window: Rc::clone(&window.id),
                    least: least.saturating_sub(window.free()),
                    need,
                    want,
                });
            }
            if declares {
                window.declare_in(&mut batch);
            }
        }
        self.unsettled_since_ms = None;
        let gives_sign = self.windows.iter().any(Window::has_open_claims)
            && now_ms >= self.last_batch_ms + CLAIM_SIGN_MS;
        if batch.entries().next().is_some() || self.stale || gives_sign {
            self.last_batch_ms = now_ms;
            self.sequence.push(batch, now_ms);
        }
    }

    /// What goes out now.
    pub fn to_send(&self) -> impl Iterator<Item = &Batch> {
        self.sequence.to_send()
    }

    /// Takes in the answer to batch `number`, which is ignored unless that is the oldest in doubt. `store` counts the identities Redis has had.
    pub fn settle(
        &mut self,
        number: u64,
        receipt: &Receipt<'_>,
        now_ms: u64,
        store: u32,
        rules: &LeaseRules,
    ) -> Settlement {
        self.paused_until_ms = now_ms + receipt.paused_ms;
        if self.sequence.to_send().next().map(|batch| batch.number) != Some(number) {
            return Settlement::Counted;
        }
        let counted = self.sequence.settle(
            receipt.outcome,
            receipt.last,
            &receipt.claims,
            now_ms,
            store,
        );
        let Some((batch, counts)) = counted else {
            self.declares = true;
            return Settlement::SendAgain;
        };
        self.retained_ms = now_ms;
        self.acknowledge(&batch);
        let read = self.read_document(receipt);
        match receipt.outcome {
            Outcome::Applied | Outcome::Repeated => self.learn(receipt, &batch, now_ms, rules),
            Outcome::Gap | Outcome::Stale => self.declares = true,
        }
        self.note_counted(batch, counts);
        read
    }

    /// Takes in the first answer of all, to a look-up by key that was sent at `sent_ms`.
    pub fn learn_first(
        &mut self,
        receipt: &Receipt<'_>,
        batch: Batch,
        now_ms: u64,
        store: u32,
        rules: &LeaseRules,
    ) -> Settlement {
        let sent_ms = batch.first_sent_ms;
        self.sequence.push(batch, sent_ms);
        let number = self.sequence.last();
        self.settle(number, receipt, now_ms, store, rules)
    }

    /// Takes in documents alone: nothing was counted, and Redis may remember this worker.
    pub fn read(&mut self, receipt: &Receipt<'_>) -> Settlement {
        self.declares = receipt.last > 0;
        self.read_document(receipt)
    }

    /// Lets go of batches Redis has had for long enough, given when it last answered.
    pub fn forget(&mut self, answered_ms: u64, store: u32) {
        self.sequence.forget(answered_ms, store);
        self.retained_ms = answered_ms;
    }

    /// Drops windows that are over and settled; `business_ms` is unix time.
    pub fn drop_windows_ended_before(&mut self, business_ms: i64) {
        // An answer may bring units of any.
        if self.in_doubt() {
            return;
        }
        self.windows
            .retain(|window| !window.is_idle() || window.end_ms >= business_ms);
    }

    fn acknowledge(&mut self, batch: &Batch) {
        for consumed in &batch.consumed {
            let known = self
                .windows
                .iter_mut()
                .find(|window| window.id == consumed.window);
            if let Some(window) = known {
                window.acknowledge(consumed.milli);
            }
        }
    }

    fn learn(&mut self, receipt: &Receipt<'_>, batch: &Batch, now_ms: u64, rules: &LeaseRules) {
        for state in &receipt.windows {
            let Some(window) = self.window_named(state.window) else {
                continue;
            };
            let asked = batch.wanted.iter().find(|wanted| {
                wanted.window == window.id
                    || (wanted.window.is_empty() && wanted.meter == window.meter)
            });
            let claimed = || batch.least_short_claim(&receipt.claims, &window.id);
            window.learn(
                state,
                asked.map_or_else(claimed, |wanted| wanted.need),
                batch.first_sent_ms,
                now_ms,
                rules.flush_interval_ms,
            );
        }
    }

    /// A window by its id; the first answer names windows the worker has not touched, by Redis's clock.
    fn window_named(&mut self, id: &str) -> Option<&mut Window> {
        if let Some(known) = self.windows.iter().position(|window| *window.id == *id) {
            return self.windows.get_mut(known);
        }
        let id: WindowId = id.parse().ok()?;
        let document = self.last_document()?;
        let described = document.window(id.epoch, &id.meter, id.start_ms)?;
        Some(self.window_for(id.epoch, &id.meter, described))
    }
}
