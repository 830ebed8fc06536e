//! What `/readyz` asks about Redis and the documents in it.

use std::time::Duration;

use super::PUBLISH;
use super::edge::{Edge, Readiness};
use super::store;
use crate::app::Redis;
use crate::clock::MachineInstant;
use crate::config::RedisConfig;
use crate::database::Database;
use crate::health::NotReady;
use crate::outbox;

/// What Redis must do when its memory is full: refuse, since nothing in it may be dropped.
pub const POLICY: &str = "noeviction";
/// How long a change may wait to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the filter can use the store and Redis never drops anything.
///
/// # Errors
/// When not, or when Redis or the database does not answer.
pub async fn check_store(edge: &Edge, database: &Database) -> Result<(), NotReady> {
    let state = edge.state().await.map_err(NotReady::unreachable)?;
    let mut reader = database.read().await.map_err(NotReady::unreachable)?;
    let latest = store::latest(&mut reader).await;
    let latest = latest.map_err(NotReady::unreachable)?;
    let policy = edge
        .maxmemory_policy()
        .await
        .map_err(NotReady::unreachable)?;
    if policy != POLICY {
        let reason = format!("Redis's maxmemory-policy is {policy}, not {POLICY}");
        return Err(NotReady::because(reason));
    }
    match (state.readiness, latest) {
        (Readiness::Unready, _) | (_, None) => Err(NotReady::because("is being filled")),
        (Readiness::Ready, Some(latest)) if state.generation != Some(latest.number) => {
            Err(NotReady::because("belongs to another database"))
        }
        (Readiness::Ready, Some(_)) => Ok(()),
    }
}

/// What Redis does when its memory is full; nothing when it does not answer.
pub async fn policy_of(config: &RedisConfig) -> Option<String> {
    let redis = Redis::new(config).ok()?;
    Edge::on(&redis, &config.prefix)
        .maxmemory_policy()
        .await
        .ok()
}

/// Whether documents are written soon after they change.
///
/// # Errors
/// When the oldest change has waited for too long, or the database does not answer.
pub async fn check_publisher(database: &Database, now: MachineInstant) -> Result<(), NotReady> {
    let oldest = outbox::oldest(database, PUBLISH).await;
    let oldest = oldest.map_err(NotReady::unreachable)?;
    match oldest {
        Some(oldest) if oldest.after(PATIENCE) < now => {
            Err(NotReady::because("changes wait to be written to Redis"))
        }
        _ => Ok(()),
    }
}
