//! What was decided, counted by rule, and what was done, for metrics.

use std::collections::BTreeMap;

use super::Verdict;
use crate::cost::Cost;
use crate::problem::Code;

/// What was decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It went on, metered by its key.
    Admitted,
    /// It went on without a key.
    Passed,
    /// It went on although its key could not be looked up.
    PassedUnknown,
    /// It was refused.
    Refused(Code),
}

const NOT_REFUSED: usize = 3;
const KINDS: usize = NOT_REFUSED + Code::ALL.len();

impl Decided {
    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Passed => "passed",
            Self::PassedUnknown => "passed_unknown",
            Self::Refused(code) => code.as_str(),
        }
    }

    /// What a verdict decides, if anything.
    #[must_use]
    pub const fn of(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Admit(_) => Some(Self::Admitted),
            Verdict::Pass => Some(Self::Passed),
            Verdict::PassUnknown => Some(Self::PassedUnknown),
            Verdict::Refuse(refusal) => Some(Self::Refused(refusal.code())),
            Verdict::Wait => None,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Admitted => 0,
            Self::Passed => 1,
            Self::PassedUnknown => 2,
            Self::Refused(code) => NOT_REFUSED + code as usize,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        [Self::Admitted, Self::Passed, Self::PassedUnknown]
            .into_iter()
            .chain(Code::ALL.map(Self::Refused))
    }
}

/// What a worker has done since it started, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls with a whole and good answer.
    pub calls_ok: u64,
    /// Calls without, by [`CallFailure`] in order.
    pub calls_failed: [u64; 5],
    /// Keys looked up in Redis.
    pub lookups: u64,
    /// Batches sent, repeats included.
    pub batches: u64,
    /// Leases granted.
    pub grants: u64,
    /// Windows whose unspent leases were given back.
    pub returns: u64,
    /// Times Redis had lost batches that were then sent again.
    pub gaps: u64,
    /// Batches given up after too long in doubt or lost on both sides.
    pub batches_lost: u64,
    /// Documents that could not be read.
    pub bad_documents: u64,
    /// Metered responses that did not tell a cost they should have told.
    pub costs_untold: u64,
    /// Requests of exact rules that went on, and responses that ended, before Redis had counted their units.
    pub exact_degraded: u64,
    /// Thousandths of units spent while Redis was away.
    pub offline_milli: u64,
}

/// Decisions and metered responses of each rule.
#[derive(Clone, Debug)]
pub struct Tally {
    /// One more row than rules: the last is for paths that no rule is looked up for.
    decisions: Vec<[u64; KINDS]>,
    metered: Vec<u64>,
    /// By rule and place of the meter, thousandths of units that responses told.
    told: BTreeMap<(usize, usize), u64>,
}

impl Tally {
    pub(super) fn new(rules: usize) -> Self {
        Self {
            decisions: vec![[0; KINDS]; rules + 1],
            metered: vec![0; rules],
            told: BTreeMap::new(),
        }
    }

    pub(super) fn note(&mut self, rule: Option<usize>, verdict: &Verdict) {
        let row = rule.unwrap_or(self.metered.len());
        if let Some(decided) = Decided::of(verdict)
            && let Some(row) = self.decisions.get_mut(row)
        {
            row[decided.index()] += 1;
        }
    }

    pub(super) fn note_metered(&mut self, rule: usize) {
        if let Some(metered) = self.metered.get_mut(rule) {
            *metered += 1;
        }
    }

    pub(super) fn note_told(&mut self, rule: usize, cost: Cost) {
        *self.told.entry((rule, cost.place)).or_default() += cost.milli;
    }

    /// Answers what was counted since it was last asked, and begins anew.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.metered.len()))
    }

    /// How often what was decided, by rule; by no rule where the path is not in normal form.
    pub fn decisions(&self) -> impl Iterator<Item = (Option<usize>, Decided, u64)> {
        let rules = self.metered.len();
        let rows = self.decisions.iter().enumerate();
        rows.flat_map(move |(row, counts)| {
            Decided::all().map(move |decided| {
                let rule = Some(row).filter(|row| *row < rules);
                (rule, decided, counts[decided.index()])
            })
        })
        .filter(|(_, _, count)| *count > 0)
    }

    /// How many responses of each rule were metered.
    pub fn metered(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.metered.iter().copied().enumerate();
        counts.filter(|(_, count)| *count > 0)
    }

    /// Thousandths of units that responses told, by rule and place of the meter in it.
    pub fn told(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        self.told
            .iter()
            .map(|((rule, place), milli)| (*rule, *place, *milli))
    }
}
