//! Periods tile: each that was charged or rated begins where the one before ended.

mod store;

use tollgate_engine::contract::WindowId;

use super::{Finding, Invariant};
use crate::clock::BusinessInstant;
use crate::database::Connection;
use crate::error::{Error, Result};
use crate::subscriptions::Loader;
use store::{Fee, Window};

/// The codes of everything that is found here.
pub(super) const CODES: [&str; 4] = [FEES.overlap, FEES.gap, WINDOWS.overlap, WINDOWS.gap];
const FEES: Codes = Codes {
    overlap: "periods_overlap",
    gap: "periods_gap",
};
const WINDOWS: Codes = Codes {
    overlap: "windows_overlap",
    gap: "windows_gap",
};

#[derive(Clone, Copy, Debug)]
struct Codes {
    overlap: &'static str,
    gap: &'static str,
}

impl Codes {
    fn finding(self, subject: String, ended_ms: i64, start_ms: i64) -> Finding {
        let [ended, start] = [ended_ms, start_ms].map(BusinessInstant::from_unix_ms);
        Finding {
            invariant: Invariant::B1,
            code: match start < ended {
                true => self.overlap,
                false => self.gap,
            },
            subject,
            detail: format!("a period ends at {ended}, and the next one begins at {start}"),
        }
    }
}

/// What does not begin where the one before ended, and has no reason not to.
pub(super) async fn untiled(
    connection: &mut Connection,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let fees = store::fees(connection).await?.into_iter();
    findings.extend(fees.filter(Fee::is_amiss).map(|fee| {
        let subject = format!("{} {}", fee.subscription_id, fee.rate_card);
        FEES.finding(subject, fee.ended_ms, fee.start_ms)
    }));
    let mut loader = Loader::default();
    for window in store::windows(connection).await? {
        if is_amiss(connection, &mut loader, &window).await? {
            let id = window.id()?;
            let subject = format!("{} {id}", window.chain_id);
            findings.push(WINDOWS.finding(subject, window.ended_ms, window.start_ms));
        }
    }
    Ok(())
}

impl Fee {
    /// A phase without the fee may come in between; and what waited to be paid is charged from when it was
    /// wished for, but begins later.
    fn is_amiss(&self) -> bool {
        let phase = |identity: &str| identity.split('/').nth(1).map(str::to_owned);
        let is_followed = phase(&self.identity) == phase(&self.before);
        let has_waited = self.began_ms < self.active_from_ms;
        self.start_ms < self.ended_ms || (is_followed && !has_waited)
    }
}

/// A phase without the price may come in between; and a change bills the last window at once, where those before
/// may wait for their boundary.
async fn is_amiss(
    connection: &mut Connection,
    loader: &mut Loader,
    window: &Window,
) -> Result<bool> {
    if window.start_ms < window.ended_ms {
        return Ok(true);
    }
    if window
        .billed_ms
        .is_none_or(|billed| billed < window.start_ms)
    {
        return Ok(false);
    }
    let ever = BusinessInstant::from_unix_ms(i64::MIN);
    let chain = window.chain_id.parse().map_err(Error::internal)?;
    let chain = loader.chain(connection, chain, ever).await?;
    let epoch = window.id()?.epoch;
    let members = chain.iter().flat_map(|chain| &chain.members);
    let mut terms = members
        .filter(|member| member.subscription.epoch == epoch)
        .flat_map(|member| member.terms());
    let [began, start] = [window.began_ms, window.start_ms].map(BusinessInstant::from_unix_ms);
    Ok(terms.any(|term| term.contains(began) && term.contains(start)))
}

impl Window {
    fn id(&self) -> Result<WindowId> {
        Ok(WindowId {
            epoch: u32::try_from(self.epoch).map_err(Error::internal)?,
            meter: self.meter.clone(),
            start_ms: self.start_ms,
        })
    }
}
