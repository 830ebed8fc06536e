//! Typed, sortable ids: a prefix that names the kind, then a ULID.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ulid::Ulid;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::clock::MachineInstant;

/// What every id type offers, for code that is generic over them.
pub trait Id: Copy + Ord + fmt::Display + FromStr<Err = NotAnId> {
    /// What an id of this kind starts with, underscore included.
    const PREFIX: &'static str;
}

/// Longest key that an operator gives an object of its own.
pub const KEY_MAX_CHARACTERS: usize = 256;

/// Whether a text can be an operator's own key for an object with ids `I`.
///
/// Paths take keys beside ids, so that no key may look like an id or need a second segment.
#[must_use]
pub fn is_key_beside<I: Id>(key: &str) -> bool {
    (1..=KEY_MAX_CHARACTERS).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/')
        && !key.starts_with(I::PREFIX)
}

/// The text is no id of the kind that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an id of the form {prefix}ULID")]
pub struct NotAnId {
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// A new id that sorts by the instant it is made at.
            #[must_use]
            pub fn generate(now: MachineInstant) -> Self {
                Self(generate_ulid(now))
            }
        }

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse_ulid(text, $prefix).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some(concat!("^", $prefix, "[0-7][0-9A-HJKMNP-TV-Z]{25}$")))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    )+};
}

ids! {
    /// Identifies an admin key.
    AdminKeyId = "adm_";
    /// Identifies an API key of a customer.
    ApiKeyId = "key_";
    /// Identifies a credit.
    CreditId = "crd_";
    /// Identifies one opening of a Checkout.
    CheckoutAttemptId = "cha_";
    /// Identifies a Checkout.
    CheckoutId = "chk_";
    /// Identifies a customer.
    CustomerId = "cus_";
    /// Identifies a message of the outbox.
    EventId = "evt_";
    /// Identifies a feature.
    FeatureId = "feat_";
    /// Identifies an invoice.
    InvoiceId = "inv_";
    /// Identifies a meter.
    MeterId = "mtr_";
    /// Identifies an invite to a private plan.
    PlanInviteId = "pinv_";
    /// Identifies one version of a plan.
    PlanId = "plan_";
    /// Identifies a session of the customer portal.
    PortalSessionId = "prt_";
    /// Identifies a request in answers and logs.
    RequestId = "req_";
    /// Identifies an event that Stripe told us of.
    StripeEventId = "sev_";
    /// Identifies a subscription.
    SubscriptionId = "sub_";
    /// Identifies one running process among the replicas.
    WorkerId = "wrk_";
}

/// Random bits of an id: what is left of a ULID's 80 beside the counter's.
const RANDOM_BITS: u32 = 56;

/// A ULID whose random part begins with a counter, so that ids that one process makes in the same
/// millisecond sort in the order they were made in.
fn generate_ulid(now: MachineInstant) -> Ulid {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    // Instants before 1970 do not occur on a machine whose clock is worth sorting by.
    let ms = u64::try_from(now.unix_ms()).unwrap_or(0);
    let count = u128::from(COUNTER.fetch_add(1, Ordering::Relaxed) & 0xff_ffff);
    let random = rand::random::<u128>() >> (u128::BITS - RANDOM_BITS);
    Ulid::from_parts(ms, count << RANDOM_BITS | random)
}

fn parse_ulid(text: &str, prefix: &'static str) -> Result<Ulid, NotAnId> {
    let refused = NotAnId { prefix };
    let ulid = text.strip_prefix(prefix).ok_or(refused)?;
    let parsed = Ulid::from_string(ulid).map_err(|_| refused)?;
    // One id has one spelling: lower case and look-alike letters are refused.
    if parsed.to_string() == ulid {
        Ok(parsed)
    } else {
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_writes() {
        let id = PlanId::generate(MachineInstant::from_unix_ms(1_700_000_000_000));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_value(id).unwrap(), id.to_string());
    }

    #[test]
    fn ids_sort_by_the_instant_they_were_made_at() {
        let ids = [1_700_000_000_000, 1_700_000_000_001, 1_800_000_000_000]
            .map(|ms| CustomerId::generate(MachineInstant::from_unix_ms(ms)).to_string());
        assert!(ids.is_sorted(), "{ids:?}");
    }

    #[test]
    fn ids_of_one_millisecond_sort_in_the_order_they_were_made_in() {
        let now = MachineInstant::from_unix_ms(1_700_000_000_000);
        let ids: Vec<_> = (0..1_000).map(|_| CustomerId::generate(now)).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn another_kind_or_spelling_is_refused() {
        let id = PlanId::generate(MachineInstant::from_unix_ms(0)).to_string();
        for text in [
            id.replace("plan_", "cus_"),
            id.to_lowercase(),
            id[..id.len() - 1].to_owned(),
            format!("{id} "),
            "plan_".to_owned(),
            "plan_8ZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned(),
        ] {
            assert!(text.parse::<PlanId>().is_err(), "{text}");
        }
    }
}
