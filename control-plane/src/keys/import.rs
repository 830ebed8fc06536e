//! Keys that an API already has: their hashes are imported, and they go on working.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use tollgate_engine::api_key::{KeyHash, Tag};
use utoipa::ToSchema;

use super::{ApiKey, ApiKeyDocument, KEYS_PER_CHAIN_MAX, StoredKey, store};
use crate::app::App;
use crate::clock::{BusinessInstant, Clock};
use crate::database::Write;
use crate::error::Result;
use crate::http::document::{Document, Mistakes, Place};
use crate::ids::{ApiKeyId, EventId, SubscriptionId};
use crate::publisher;
use crate::subscriptions::{self, chain};

const KEYS_MAX: usize = 1_000;

/// What to send to import API keys.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportDocument {
    /// The keys; up to 1000.
    #[serde(default)]
    keys: Vec<ImportedKeyDocument>,
}

impl Document for ImportDocument {}

/// An API key that requests carry already.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ImportedKeyDocument {
    /// SHA-256 of its text: 64 lower-case hex digits.
    #[serde(default)]
    hash: String,
    /// The id or key of the subscription it is to be for.
    #[serde(default)]
    subscription: String,
    /// What the operator calls it; up to 100 characters.
    name: Option<String>,
    /// The operator's own name for whoever holds it: 1 to 256 printable ASCII characters.
    subject: Option<String>,
    /// From when it is refused as expired.
    expires_at: Option<BusinessInstant>,
    /// Whether it is metered but never refused for quota or payment; false when left out.
    #[serde(default)]
    bypass: bool,
}

/// The keys that were imported, in the order they were sent in.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportedKeys {
    /// Those that the subscription had already are as they were.
    pub items: Vec<ApiKey>,
}

/// A key of the right form.
pub(super) struct Checked {
    hash: KeyHash,
    subscription: String,
    document: ApiKeyDocument,
}

impl ImportDocument {
    pub(super) fn check(
        self,
        now: BusinessInstant,
        mistakes: &mut Mistakes,
    ) -> Option<Vec<Checked>> {
        let place = Place::root().field("keys");
        if !(1..=KEYS_MAX).contains(&self.keys.len()) {
            let detail = format!("keys has not 1 to {KEYS_MAX} members");
            mistakes.add(&place, "invalid_number_of_keys", detail);
            return None;
        }
        let mut hashes = HashSet::new();
        let keys = self.keys.into_iter().enumerate();
        let checked: Vec<_> = keys
            .map(|(index, key)| {
                let place = place.index(index);
                let checked = key.check(now, &place, mistakes)?;
                if !hashes.insert(checked.hash) {
                    let detail = "the same key stands before";
                    mistakes.add(&place.field("hash"), "duplicated_key", detail);
                }
                Some(checked)
            })
            .collect();
        checked.into_iter().collect()
    }
}

impl ImportedKeyDocument {
    fn check(
        self,
        now: BusinessInstant,
        place: &Place,
        mistakes: &mut Mistakes,
    ) -> Option<Checked> {
        let hash = self.hash.parse();
        if hash.is_err() {
            let detail = "hash is not the SHA-256 of a key in 64 lower-case hex digits";
            mistakes.add(&place.field("hash"), "invalid_hash", detail);
        }
        let document = ApiKeyDocument {
            name: self.name,
            subject: self.subject,
            expires_at: self.expires_at,
            bypass: self.bypass,
        };
        Some(Checked {
            document: document.check_at(place, now, mistakes)?,
            hash: hash.ok()?,
            subscription: self.subscription,
        })
    }
}

/// Imports keys, all or none; what the database says against them is told with their places.
pub(super) async fn import(
    app: &App,
    tx: &mut Write,
    keys: Vec<Checked>,
) -> Result<(ImportedKeys, Option<EventId>)> {
    let mut import = Import {
        now: app.clock.business_now(),
        mistakes: Mistakes::default(),
        chains: HashMap::new(),
        free: HashMap::new(),
    };
    let mut items = Vec::with_capacity(keys.len());
    let mut word = None;
    for (index, key) in keys.into_iter().enumerate() {
        let place = Place::root().field("keys").index(index);
        let Some(chain) = import.chain(tx, &key.subscription, &place).await? else {
            continue;
        };
        match store::find_by_hash(tx, &key.hash, app.config.environment).await? {
            Some(known) if known.chain == chain => items.push(known),
            Some(_) => {
                let detail = "another subscription has this key";
                import
                    .mistakes
                    .add(&place.field("hash"), "key_taken", detail);
            }
            None if import.takes_one_more(tx, chain, &place).await? => {
                let made = key.document.imported(&app.clock, chain);
                store::insert(tx, &made, &key.hash).await?;
                word = Some(publisher::key_changed(app, tx, &made).await?);
                items.push(made);
            }
            None => {}
        }
    }
    import.mistakes.finish()?;
    Ok((ImportedKeys { items }, word))
}

/// What is known of the subscriptions of one import.
struct Import {
    now: BusinessInstant,
    mistakes: Mistakes,
    /// By what the document calls a subscription.
    chains: HashMap<String, Option<SubscriptionId>>,
    /// How many keys a chain may still have.
    free: HashMap<SubscriptionId, i64>,
}

impl Import {
    /// The chain of a subscription that goes on.
    async fn chain(
        &mut self,
        tx: &mut Write,
        subscription: &str,
        place: &Place,
    ) -> Result<Option<SubscriptionId>> {
        let place = place.field("subscription");
        if !self.chains.contains_key(subscription) {
            let found = subscriptions::find(tx, subscription).await?;
            let chain = found.map(|found| found.chain);
            self.chains.insert(subscription.to_owned(), chain);
        }
        let Some(chain) = self.chains.get(subscription).copied().flatten() else {
            let detail = "there is no such subscription";
            self.mistakes.add(&place, "subscription_not_found", detail);
            return Ok(None);
        };
        if !chain::goes_on(tx, chain, self.now).await? {
            let detail = "the subscription has ended";
            self.mistakes.add(&place, "subscription_ended", detail);
            return Ok(None);
        }
        Ok(Some(chain))
    }

    async fn takes_one_more(
        &mut self,
        tx: &mut Write,
        chain: SubscriptionId,
        place: &Place,
    ) -> Result<bool> {
        if !self.free.contains_key(&chain) {
            let used = store::count_usable(tx, chain, self.now).await?;
            self.free.insert(chain, KEYS_PER_CHAIN_MAX - used);
        }
        let free = self.free.entry(chain).or_default();
        if *free <= 0 {
            let detail = format!("a subscription has at most {KEYS_PER_CHAIN_MAX} keys");
            self.mistakes
                .add(&place.field("subscription"), "too_many_keys", detail);
            return Ok(false);
        }
        *free -= 1;
        Ok(true)
    }
}

impl StoredKey {
    /// The tag its document stands under; an imported key has none of its own.
    #[must_use]
    pub fn place(&self) -> Tag {
        match self.key.imported {
            true => self.hash.imported_tag(),
            false => self.tag,
        }
    }
}

impl ApiKeyDocument {
    fn imported(self, clock: &Clock, chain: SubscriptionId) -> ApiKey {
        ApiKey {
            id: ApiKeyId::generate(clock.machine_now()),
            chain,
            name: self.name,
            subject: self.subject,
            bypass: self.bypass,
            imported: true,
            prefix: None,
            last_characters: None,
            created_at: clock.business_now(),
            expires_at: self.expires_at,
            revoked_at: None,
        }
    }
}
