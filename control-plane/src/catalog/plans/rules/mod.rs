//! The rules of plans: every mistake of a document at once, each with a stable code.
//!
//! A critical mistake is refused at once. A draft with others can be kept and worked on; it is
//! published when it has none. Codes that OpenMeter has keep their names and messages.

mod entitlement;
mod price;
mod rate_card;
mod rate_limit;
mod tiers;

use std::collections::{BTreeMap, BTreeSet};

use tollgate_engine::slug::Slug;

use super::{Phase, PhaseDocument, Plan, PlanDocument, RateCard, RateCardDocument};
use crate::calendar::{NotPeriod, Period};
use crate::catalog::{Feature, check_key, check_name, check_slug};
use crate::http::document::{Mistakes, Place};

const PHASES_MAX: usize = 20;
const RATE_CARDS_MAX: usize = 100;

/// What a document is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be kept: only critical mistakes matter.
    Draft,
    /// To be sold: every mistake matters.
    Publish,
}

/// The features a plan may name, by key.
#[derive(Debug, Default)]
pub(super) struct Features(BTreeMap<Slug, FeatureState>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FeatureState {
    Metered,
    Static,
    Archived,
}

impl Features {
    /// From every feature, archived ones first.
    pub(super) fn new(features: Vec<Feature>) -> Self {
        let state = |feature: &Feature| match (&feature.archived_at, &feature.meter_slug) {
            (Some(_), _) => FeatureState::Archived,
            (None, Some(_)) => FeatureState::Metered,
            (None, None) => FeatureState::Static,
        };
        Self(
            features
                .into_iter()
                .map(|feature| (feature.key.clone(), state(&feature)))
                .collect(),
        )
    }
}

/// Checks a document, and gives the plan it describes when there is no mistake at all.
pub(super) fn check(
    document: &PlanDocument,
    features: &Features,
    purpose: Purpose,
    mistakes: &mut Mistakes,
) -> Option<Plan> {
    let mut check = Check::new(Some(features));
    let plan = check.plan(document);
    let sound = check.critical.is_empty() && check.other.is_empty();
    // A document that is refused is told everything.
    if purpose == Purpose::Publish || !check.critical.is_empty() || !mistakes.is_empty() {
        mistakes.append(check.critical);
        mistakes.append(check.other);
    }
    plan.filter(|_| sound)
}

/// The plan of a document that was published: what was true of its features then stays true of it.
pub(super) fn read_published(document: &PlanDocument) -> Option<Plan> {
    let mut check = Check::new(None);
    let plan = check.plan(document);
    plan.filter(|_| check.critical.is_empty() && check.other.is_empty())
}

/// Checks a rate card that is in no plan, and gives what it describes when there is no mistake at all.
pub(crate) fn check_rate_card(
    document: &RateCardDocument,
    place: &Place,
    mistakes: &mut Mistakes,
) -> Option<RateCard> {
    let mut check = Check::new(None);
    // A plan of which it is the only card.
    let cadence = document.billing_cadence.as_deref().unwrap_or("P1M");
    let card = check.rate_card(document, cadence.parse().ok(), place);
    let sound = check.critical.is_empty() && check.other.is_empty();
    mistakes.append(check.critical);
    mistakes.append(check.other);
    card.filter(|_| sound)
}

struct Check<'a> {
    /// None when they were checked before.
    features: Option<&'a Features>,
    critical: Mistakes,
    other: Mistakes,
}

impl<'a> Check<'a> {
    fn new(features: Option<&'a Features>) -> Self {
        Self {
            features,
            critical: Mistakes::default(),
            other: Mistakes::default(),
        }
    }

    fn plan(&mut self, document: &PlanDocument) -> Option<Plan> {
        let root = Place::root();
        let key = check_key(&document.key, &root.field("key"), &mut self.critical);
        check_name(&document.name, &root.field("name"), &mut self.critical);
        document
            .metadata
            .check(&root.field("metadata"), &mut self.critical);
        let currency = document.currency.parse();
        if currency.is_err() {
            self.critical.add(
                &root.field("currency"),
                "currency_invalid",
                "currency is invalid",
            );
        }
        let cadence = document
            .billing_cadence
            .parse()
            .ok()
            .filter(|cadence: &Period| cadence.is_plan_cadence());
        if cadence.is_none() {
            let detail = "billing cadence must be one of the following: \
                P1W, P2W, P4W, P1M, P3M, P6M, P12M, P1Y";
            let place = root.field("billingCadence");
            self.critical
                .add(&place, "plan_billing_cadence_invalid", detail);
        }
        let pro_rating = document.pro_rating_config.as_ref();
        let proration = self.proration(pro_rating, &root.field("proRatingConfig"));
        let phases = self.phases(&document.phases, cadence, &root.field("phases"));
        Some(Plan {
            key: key?,
            name: document.name.clone(),
            currency: currency.ok()?,
            billing_cadence: cadence?,
            payment_method_required: document.payment_method_required,
            proration: proration?,
            metadata: document.metadata.clone(),
            phases: phases?,
        })
    }

    fn phases(
        &mut self,
        documents: &[PhaseDocument],
        plan_cadence: Option<Period>,
        place: &Place,
    ) -> Option<Vec<Phase>> {
        if documents.is_empty() {
            let detail = "plan must have at least one phase";
            self.other.add(place, "plan_with_no_phases", detail);
        }
        if documents.len() > PHASES_MAX {
            let detail = format!("a plan has at most {PHASES_MAX} phases");
            self.critical.add(place, "too_many_phases", detail);
            return None;
        }
        let mut keys = BTreeSet::new();
        let mut phases = Vec::with_capacity(documents.len());
        for (index, document) in documents.iter().enumerate() {
            let place = place.index(index);
            if !keys.insert(&document.key) {
                let place = place.field("key");
                self.critical
                    .add(&place, "plan_phase_duplicated_key", "duplicated key");
            }
            let position = match index + 1 == documents.len() {
                true => Position::Last,
                false => Position::Earlier,
            };
            phases.push(self.phase(document, position, plan_cadence, &place));
        }
        phases.into_iter().collect()
    }

    fn phase(
        &mut self,
        document: &PhaseDocument,
        position: Position,
        plan_cadence: Option<Period>,
        place: &Place,
    ) -> Option<Phase> {
        let key = check_slug(&document.key, &place.field("key"), &mut self.critical);
        check_name(&document.name, &place.field("name"), &mut self.critical);
        document
            .metadata
            .check(&place.field("metadata"), &mut self.critical);
        let duration = self.duration(document.duration.as_deref(), position, place);
        let cards = place.field("rateCards");
        if document.rate_cards.is_empty() {
            let detail = "plan phase must have at least one rate card";
            self.other
                .add(&cards, "plan_phase_has_no_rate_cards", detail);
        }
        if document.rate_cards.len() > RATE_CARDS_MAX {
            let detail = format!("a phase has at most {RATE_CARDS_MAX} rate cards");
            self.critical.add(&cards, "too_many_rate_cards", detail);
            return None;
        }
        let mut keys = BTreeSet::new();
        let mut rate_cards = Vec::with_capacity(document.rate_cards.len());
        for (index, card) in document.rate_cards.iter().enumerate() {
            let place = cards.index(index);
            if !keys.insert(card.key.as_ref().or(card.feature_key.as_ref())) {
                let place = place.field("key");
                self.critical
                    .add(&place, "rate_card_duplicated_key", "duplicated key");
            }
            rate_cards.push(self.rate_card(card, plan_cadence, &place));
        }
        Some(Phase {
            key: key?,
            name: document.name.clone(),
            duration: duration?,
            rate_cards: rate_cards.into_iter().collect::<Option<_>>()?,
        })
    }

    /// The duration that a phase at this position has, if it has one.
    fn duration(
        &mut self,
        text: Option<&str>,
        position: Position,
        place: &Place,
    ) -> Option<Option<Period>> {
        let place = place.field("duration");
        match (text, position) {
            (None, Position::Last) => Some(None),
            (None, Position::Earlier) => {
                let detail = "duration must be set for plan phase if it is not the last one";
                self.other
                    .add(&place, "plan_has_non_last_phase_with_no_duration", detail);
                None
            }
            (Some(text), position) => {
                if position == Position::Last {
                    let detail = "duration must not be set for the last plan phase";
                    self.other
                        .add(&place, "plan_has_last_phase_with_duration", detail);
                }
                let codes = PeriodCodes {
                    negative: "plan_phase_with_negative_duration",
                    too_short: "plan_phase_duration_less_then_an_hour",
                    subject: "duration",
                };
                self.period(text, &codes, &place).map(Some)
            }
        }
    }

    fn period(&mut self, text: &str, codes: &PeriodCodes, place: &Place) -> Option<Period> {
        let error = match text.parse().and_then(Period::at_least_an_hour) {
            Ok(period) => return Some(period),
            Err(error) => error,
        };
        let detail = format!("{} {error}", codes.subject);
        match error {
            NotPeriod::NotIso => self.critical.add(place, "invalid_duration", detail),
            NotPeriod::NotPositive => self.other.add(place, codes.negative, detail),
            NotPeriod::TooShort => self.other.add(place, codes.too_short, detail),
        }
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Earlier,
    Last,
}

/// How a period's mistakes are told.
struct PeriodCodes {
    negative: &'static str,
    too_short: &'static str,
    subject: &'static str,
}
