//! What must hold of the money, checked over the real database: every violation is named.

mod periods;
mod store;

use std::fmt;

use serde::Serialize;
use tollgate_engine::contract::WindowId;

use crate::clock::BusinessInstant;
use crate::config::{Config, Environment};
use crate::database::{Connection, Database};
use crate::error::{Error, Result};
use crate::invoicing;
use crate::publisher::readiness::{POLICY, policy_of};
use crate::sandbox;
use crate::subscriptions::{Chain, Loader};

/// Events looked at in one go.
const EVENTS_PER_PAGE: i64 = 500;

/// Codes of what no single statement finds.
const OTHER_CODES: [&str; 5] = [
    SLICES_DIFFER,
    WINDOW_OF_NOBODY,
    WINDOW_NEVER_RATED,
    EVENT_OF_ANOTHER_MODE,
    TIME_OF_A_SANDBOX,
];
const FILE_IS_DAMAGED: &str = "file_is_damaged";
const SLICES_DIFFER: &str = "slices_differ";
const WINDOW_OF_NOBODY: &str = "window_of_nobody";
const WINDOW_NEVER_RATED: &str = "window_never_rated";
const EVENT_OF_ANOTHER_MODE: &str = "event_of_another_mode";
const TIME_OF_A_SANDBOX: &str = "time_of_a_sandbox";

/// What must hold, by the specification's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Invariant {
    /// Periods tile.
    B1,
    /// Every unit of the ledger is rated once, or has no price.
    B2,
    /// One invoice for each boundary.
    B3,
    /// Lines and credits sum to the total.
    B4,
    /// What is rated in slices comes to the whole.
    B5,
    /// Credits never exceed what was paid.
    B6,
    /// Nothing older overwrites what Stripe told.
    B7,
    /// Checkouts that race end in one subscription, one key and one charge.
    B8,
    /// Who lost its claim commits nothing.
    B9,
    /// Test and live, and customers among each other, never mix.
    B10,
    /// The database's file can be read.
    #[serde(rename = "database")]
    Database,
    /// Redis never drops anything.
    #[serde(rename = "redis")]
    Redis,
}

impl Invariant {
    /// Those that the database can tell of.
    const IN_DATABASE: [Self; 10] = [
        Self::B1,
        Self::B2,
        Self::B3,
        Self::B4,
        Self::B5,
        Self::B6,
        Self::B7,
        Self::B8,
        Self::B9,
        Self::B10,
    ];
}

/// The codes of everything that can be found in the database.
pub fn codes() -> impl Iterator<Item = &'static str> {
    store::CHECKS
        .iter()
        .map(|check| check.code)
        .chain(periods::CODES)
        .chain(OTHER_CODES)
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What could be looked at.
    pub checked: Vec<Invariant>,
    /// What does not hold.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(formatter, "{finding}")?;
        }
        let checked: Vec<_> = self.checked.iter().map(|one| format!("{one:?}")).collect();
        let found = match self.findings.len() {
            0 => "nothing".to_owned(),
            1 => "1 violation".to_owned(),
            several => format!("{several} violations"),
        };
        writeln!(formatter, "checked {}: {found} found", checked.join(" "))
    }
}

/// A question to the database.
#[derive(Clone, Copy, Debug)]
struct Check {
    invariant: Invariant,
    code: &'static str,
    /// What the answer shows.
    says: &'static str,
    sql: &'static str,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it breaks.
    pub invariant: Invariant,
    /// A stable code.
    pub code: &'static str,
    /// The id of what it is about.
    pub subject: String,
    /// What was found, for people.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            code,
            subject,
            detail,
        } = self;
        write!(formatter, "{invariant:?} {code} {subject}: {detail}")
    }
}

/// Looks at the database, and at Redis if it answers.
///
/// # Errors
/// When the database refuses.
pub async fn examine(database: &Database, config: &Config) -> Result<Diagnosis> {
    let findings = damage(database).await;
    if !findings.is_empty() {
        // What else it says cannot be believed.
        return Ok(Diagnosis {
            checked: vec![Invariant::Database],
            findings,
        });
    }
    let mut reader = database.read().await?;
    let mut diagnosis = Diagnosis {
        checked: Invariant::IN_DATABASE.to_vec(),
        findings: examine_database(&mut reader, config.environment).await?,
    };
    drop(reader);
    if let Some(policy) = policy_of(&config.redis).await {
        diagnosis.checked.push(Invariant::Redis);
        if policy != POLICY {
            diagnosis.findings.push(Finding {
                invariant: Invariant::Redis,
                code: "may_drop_data",
                subject: "maxmemory-policy".to_owned(),
                detail: format!("is {policy}, not {POLICY}"),
            });
        }
    }
    Ok(diagnosis)
}

/// What of the database's file cannot be read.
async fn damage(database: &Database) -> Vec<Finding> {
    let damage = database.damage().await;
    let damage = damage.unwrap_or_else(|failure| vec![failure.to_string()]);
    let finding = |detail| Finding {
        invariant: Invariant::Database,
        code: FILE_IS_DAMAGED,
        subject: "file".to_owned(),
        detail,
    };
    damage.into_iter().map(finding).collect()
}

/// Everything in the database that does not hold.
///
/// # Errors
/// When the database refuses.
pub async fn examine_database(
    connection: &mut Connection,
    environment: Environment,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in &store::CHECKS {
        for (subject, found) in store::broken(connection, check).await? {
            findings.push(Finding {
                invariant: check.invariant,
                code: check.code,
                subject,
                detail: format!("{}: {found}", check.says),
            });
        }
    }
    periods::untiled(connection, &mut findings).await?;
    unrated_windows(connection, &mut findings).await?;
    for (window, [slices, whole]) in invoicing::uneven(connection).await? {
        findings.push(Finding {
            invariant: Invariant::B5,
            code: SLICES_DIFFER,
            subject: window,
            detail: format!("a window came to {slices} in slices, and comes to {whole}"),
        });
    }
    other_mode(connection, environment, &mut findings).await?;
    moved_time(connection, environment, &mut findings).await?;
    Ok(findings)
}

/// Windows that were used, have a price and were passed over when their end was billed.
async fn unrated_windows(connection: &mut Connection, findings: &mut Vec<Finding>) -> Result<()> {
    let ever = BusinessInstant::from_unix_ms(i64::MIN);
    let mut loader = Loader::default();
    let mut current: Option<Chain> = None;
    for unrated in store::unrated(connection).await? {
        let id = unrated.chain_id.parse().map_err(Error::internal)?;
        if current.as_ref().is_none_or(|chain| chain.id != id) {
            current = loader.chain(connection, id, ever).await?;
        }
        let window = WindowId {
            epoch: u32::try_from(unrated.epoch).map_err(Error::internal)?,
            meter: unrated.meter,
            start_ms: unrated.start_ms,
        };
        let found = passed_over(
            current.as_ref(),
            &window,
            unrated.billed_ms,
            unrated.taken_over_ms,
        );
        findings.extend(found.map(|(code, detail)| Finding {
            invariant: Invariant::B2,
            code,
            subject: format!("{} {window}", unrated.chain_id),
            detail,
        }));
    }
    Ok(())
}

/// What is wrong with a window of a chain that was not rated, though its subscription was billed until
/// some instant, or who took over from that.
fn passed_over(
    chain: Option<&Chain>,
    window: &WindowId,
    billed_ms: Option<i64>,
    taken_over_ms: Option<i64>,
) -> Option<(&'static str, String)> {
    let nobody = || Some((WINDOW_OF_NOBODY, "no subscription has it".to_owned()));
    let start = BusinessInstant::from_unix_ms(window.start_ms);
    let Some(chain) = chain else { return nobody() };
    let mut members = chain.members.iter();
    let member = members.find(|member| member.subscription.epoch == window.epoch);
    let Some((member, term)) = member.and_then(|member| Some((member, member.term_at(start)?)))
    else {
        return nobody();
    };
    // Who took over bills everything since the boundary before.
    let taken_since = term
        .end
        .filter(|end| term.subscription.active_to == Some(*end));
    let taken_since = taken_since.map(|end| {
        let last = BusinessInstant::from_unix_ms(end.unix_ms() - 1);
        let cadence = member.plan.billing_cadence;
        term.boundaries(cadence).period_at(last).start
    });
    let mut priced = term
        .phase
        .rate_cards
        .iter()
        .filter(|card| card.usage_price().is_some());
    let is_priced = priced.any(|card| {
        let feature = card.feature.as_ref().map(|grant| grant.feature.as_str());
        feature == Some(window.meter.as_str())
    });
    match (is_priced, chain.end_of(window)) {
        (false, _) => None,
        (true, None) => nobody(),
        (true, Some(end)) => {
            let is_taken = taken_since.is_some_and(|since| since < end);
            let billed = taken_over_ms.filter(|_| is_taken).or(billed_ms);
            let is_passed = billed.is_some_and(|billed| end.unix_ms() <= billed);
            is_passed.then(|| {
                let detail = format!("its end, {end}, was billed without what was used in it");
                (WINDOW_NEVER_RATED, detail)
            })
        }
    }
}

/// Events of the mode that this environment is not in.
async fn other_mode(
    connection: &mut Connection,
    environment: Environment,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let expected = environment == Environment::Production;
    let mut after = String::new();
    loop {
        let page = store::events(connection, &after, EVENTS_PER_PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for (id, payload) in page {
            let payload: serde_json::Value = serde_json::from_str(&payload).unwrap_or_default();
            if payload["livemode"].as_bool() != Some(expected) {
                findings.push(Finding {
                    invariant: Invariant::B10,
                    code: EVENT_OF_ANOTHER_MODE,
                    subject: id,
                    detail: format!("livemode of an event where it should be {expected}"),
                });
            }
        }
    }
}

/// Time that was moved where it must not be.
async fn moved_time(
    connection: &mut Connection,
    environment: Environment,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let lead_ms = sandbox::lead_ms(connection).await?;
    if environment != Environment::Sandbox && lead_ms != 0 {
        findings.push(Finding {
            invariant: Invariant::B10,
            code: TIME_OF_A_SANDBOX,
            subject: "clock".to_owned(),
            detail: format!("business time is {lead_ms} ms ahead in no sandbox"),
        });
    }
    Ok(())
}
