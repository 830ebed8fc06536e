//! Redis as the filter sees it: scripts, documents, and the state of the store.

use std::collections::BTreeSet;

use redis::aio::ConnectionManager;
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisResult, ServerErrorKind};
use tollgate_engine::contract::{Names, Script};
use tollgate_engine::limits::CHANGES_KEPT_MAX;

use super::document::{access_document, key_document};
use crate::app::{App, Redis};
use crate::clock::{BusinessInstant, MachineInstant};
use crate::keys::StoredKey;
use crate::payments::grace::Block;
use crate::subscriptions::Chain;

/// Members of a set looked through in one go.
const MEMBERS_PER_SCAN: usize = 1_000;

/// The part of Redis that the filter reads.
#[derive(Clone)]
pub struct Edge {
    connection: ConnectionManager,
    names: Names,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Edge").field(&self.names).finish()
    }
}

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Which of its lives this is, if it has begun one.
    pub generation: Option<i64>,
    /// Whether the filter may use it.
    pub readiness: Readiness,
    /// How far a sandbox's business time is ahead, in ms; nothing in a store that is of no sandbox.
    pub offset_ms: Option<i64>,
    /// When the last complete drain began that it was told of.
    pub drained: Option<MachineInstant>,
    /// The replication id of the process: another one after each start.
    pub node: String,
}

/// Whether the filter may use a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is filled.
    Ready,
    /// It is empty or being filled.
    Unready,
}

impl Edge {
    /// The part of the application's Redis under the configured prefix.
    #[must_use]
    pub fn new(app: &App) -> Self {
        Self::on(&app.redis, &app.config.redis.prefix)
    }

    /// The part of a Redis under a prefix.
    #[must_use]
    pub fn on(redis: &Redis, prefix: &str) -> Self {
        Self {
            connection: redis.connection(),
            names: Names::new(prefix),
        }
    }

    /// The names in it.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Runs commands in one go and gives their answers in order.
    ///
    /// Scripts that Redis does not know are loaded, and a connection that was lost is made anew, once:
    /// every command here may run twice.
    ///
    /// # Errors
    /// When Redis does not answer or refuses one of them.
    pub async fn run<T: FromRedisValue>(&self, commands: &[Cmd]) -> RedisResult<Vec<T>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        match self.send(&pipeline).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.load_scripts().await?;
                self.send(&pipeline).await
            }
            other => other,
        }
    }

    async fn send<T: FromRedisValue>(&self, pipeline: &Pipeline) -> RedisResult<T> {
        let mut connection = self.connection.clone();
        match pipeline.query_async(&mut connection).await {
            Err(error) if error.is_unrecoverable_error() => {
                pipeline.query_async(&mut connection).await
            }
            other => other,
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: Cmd) -> RedisResult<T> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        self.send(&pipeline).await.map(|(answer,)| answer)
    }

    /// Asks Redis for an answer, and nothing else.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> RedisResult<()> {
        self.ask(redis::cmd("PING")).await
    }

    /// Loads every script of the contract.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn load_scripts(&self) -> RedisResult<()> {
        let mut pipeline = Pipeline::with_capacity(Script::ALL.len());
        for script in Script::ALL {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script.text());
        }
        self.send::<Vec<String>>(&pipeline).await.map(drop)
    }

    /// The state of the store.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn state(&self) -> RedisResult<StoreState> {
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("HMGET")
            .arg(self.names.store())
            .arg(&["generation", "ready", "offset", "drained"])
            .cmd("INFO")
            .arg("replication");
        type Fields = (
            Option<String>,
            Option<String>,
            Option<String>,
            Option<String>,
        );
        let ((generation, ready, offset, drained), info): (Fields, String) =
            self.send(&pipeline).await?;
        // What is no number was written by somebody else.
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        Ok(StoreState {
            generation: number(generation),
            readiness: match ready.as_deref() {
                Some("1") => Readiness::Ready,
                _ => Readiness::Unready,
            },
            offset_ms: number(offset),
            drained: number(drained).map(MachineInstant::from_unix_ms),
            node: field_of(&info, "master_replid").unwrap_or_default(),
        })
    }

    /// Has the filter stop using the store.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn set_unready(&self) -> RedisResult<()> {
        self.set_in_store("ready", 0).await
    }

    /// Notes in the store when the last complete drain began.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn mark_drained(&self, mark: MachineInstant) -> RedisResult<()> {
        self.set_in_store("drained", mark.unix_ms()).await
    }

    /// Moves the store's business time, or makes it a store of no sandbox.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn set_offset(&self, offset_ms: Option<i64>) -> RedisResult<()> {
        let Some(offset_ms) = offset_ms else {
            let mut remove = redis::cmd("HDEL");
            remove.arg(self.names.store()).arg("offset");
            return self.ask::<i64>(remove).await.map(drop);
        };
        self.set_in_store("offset", offset_ms).await
    }

    async fn set_in_store(&self, field: &str, value: i64) -> RedisResult<()> {
        let mut set = redis::cmd("HSET");
        set.arg(self.names.store()).arg(field).arg(value);
        self.ask::<i64>(set).await.map(drop)
    }

    /// Chains whose counters changed since the ledger read them, each once: what its names begin with, and its id.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn pending(&self) -> RedisResult<Vec<(String, String)>> {
        let mut pending = BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SSCAN");
            scan.arg(self.names.pending()).arg(cursor);
            scan.arg("COUNT").arg(MEMBERS_PER_SCAN);
            let (next, members): (u64, Vec<String>) = self.ask(scan).await?;
            let members = members.iter().filter_map(|member| member.rsplit_once(' '));
            pending.extend(members.map(|(tagged, chain)| (tagged.to_owned(), chain.to_owned())));
            if next == 0 {
                return Ok(pending.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// Some of the names under the prefix, and where to go on; 0 at the end.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn scan(&self, cursor: u64, count: usize) -> RedisResult<(u64, Vec<String>)> {
        // Characters that mean something in a pattern are taken as they are.
        let literal = self
            .names
            .prefix()
            .chars()
            .flat_map(|character| ['\\', character]);
        let pattern: String = literal.chain(['*']).collect();
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(count);
        self.ask(scan).await
    }

    /// What Redis does when its memory is full, as `INFO memory` names it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn maxmemory_policy(&self) -> RedisResult<String> {
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        let info: String = self.ask(info).await?;
        Ok(field_of(&info, "maxmemory_policy").unwrap_or_default())
    }

    /// The command that writes a chain's access document of `now`.
    #[must_use]
    pub fn publish_access(
        &self,
        chain: &Chain,
        block: Option<&Block>,
        now: BusinessInstant,
    ) -> Cmd {
        let id = chain.id.to_string();
        let document = access_document(chain, block, now);
        let key = self.names.access(chain.tag, &id);
        self.publish(&key, "s", &id, chain.version, document.fields())
    }

    /// The command that writes a key's document.
    #[must_use]
    pub fn publish_key(&self, stored: &StoredKey) -> Cmd {
        let document = key_document(&stored.key, stored.tag);
        let key = self.names.key(stored.place(), &stored.hash);
        let id = stored.hash.to_string();
        self.publish(&key, "k", &id, stored.version, document.fields())
    }

    fn publish(
        &self,
        key: &str,
        kind: &str,
        id: &str,
        version: u64,
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Cmd {
        let (store, changes) = (self.names.store(), self.names.changes());
        let mut publish = script(Script::Publish, &[&store, &changes, key]);
        publish.arg(kind).arg(id).arg(version).arg(CHANGES_KEPT_MAX);
        for (field, value) in fields {
            publish.arg(field).arg(value);
        }
        publish
    }
}

/// The command that runs a script on these keys; its arguments are to be added.
#[must_use]
pub fn script(script: Script, keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.sha1()).arg(keys.len()).arg(keys);
    command
}

/// The value of a field of `INFO`.
fn field_of(info: &str, name: &str) -> Option<String> {
    let values = info
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.map(|value| value.trim().to_owned()).next()
}
