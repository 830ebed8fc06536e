//! The only place that reads the time.
//!
//! Two notions, two types, never mixed: business time decides what customers get and owe (periods,
//! phases, grace, expiry), machine time what the software does (idempotency, retries, leases, rate
//! limits). A sandbox may move the first; nothing moves the second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::watch;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};

macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Timestamp);

        impl $name {
            /// The instant `unix_ms` milliseconds after 1970, clamped to the years -9999 to 9999.
            #[must_use]
            pub fn from_unix_ms(unix_ms: i64) -> Self {
                let bound = if unix_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
                Self(Timestamp::from_millisecond(unix_ms).unwrap_or(bound))
            }

            /// Milliseconds since 1970, as the database stores it.
            #[must_use]
            pub fn unix_ms(self) -> i64 {
                self.0.as_millisecond()
            }

            /// The instant for calendar arithmetic.
            #[must_use]
            pub fn timestamp(self) -> Timestamp {
                self.0
            }

            /// The instant `duration` later.
            #[must_use]
            pub fn after(self, duration: Duration) -> Self {
                let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                Self::from_unix_ms(self.unix_ms().saturating_add(ms))
            }

            /// The instant `duration` earlier.
            #[must_use]
            pub fn before(self, duration: Duration) -> Self {
                let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                Self::from_unix_ms(self.unix_ms().saturating_sub(ms))
            }
        }

        impl From<Timestamp> for $name {
            /// Cuts to whole milliseconds, so that what is compared is what is stored.
            fn from(timestamp: Timestamp) -> Self {
                Self::from_unix_ms(timestamp.as_millisecond())
            }
        }

        impl std::str::FromStr for $name {
            type Err = jiff::Error;

            fn from_str(text: &str) -> Result<Self, jiff::Error> {
                text.parse().map(Timestamp::into)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Timestamp::deserialize(deserializer).map(Self::from)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

instant! {
    /// An instant of business time, in whole milliseconds; RFC 3339 in JSON.
    BusinessInstant
}

instant! {
    /// An instant of machine time, in whole milliseconds; RFC 3339 in JSON.
    MachineInstant
}

/// Where the time comes from: the system, or a test's hand; clones show the same.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    /// Business time minus machine time in ms, as a sandbox has moved it.
    lead: Arc<watch::Sender<i64>>,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Hands>),
}

#[derive(Debug)]
struct Hands {
    business_ms: AtomicI64,
    machine_ms: AtomicI64,
}

impl Clock {
    /// The system's clock, for both notions.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Source::System)
    }

    /// A clock that stands at `start` until it is moved, for tests.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::of(Source::Manual(Arc::new(Hands {
            business_ms: AtomicI64::new(start.as_millisecond()),
            machine_ms: AtomicI64::new(start.as_millisecond()),
        })))
    }

    fn of(source: Source) -> Self {
        let lead = Arc::new(watch::Sender::new(0));
        Self { source, lead }
    }

    /// The instant by which periods, phases, grace and expiry are decided.
    #[must_use]
    pub fn business_now(&self) -> BusinessInstant {
        let unmoved_ms = match &self.source {
            Source::System => Timestamp::now().as_millisecond(),
            Source::Manual(hands) => hands.business_ms.load(Ordering::SeqCst),
        };
        BusinessInstant::from_unix_ms(unmoved_ms.saturating_add(self.lead_ms()))
    }

    /// The instant by which idempotency, retries, leases and rate limits are decided.
    #[must_use]
    pub fn machine_now(&self) -> MachineInstant {
        match &self.source {
            Source::System => Timestamp::now().into(),
            Source::Manual(hands) => {
                MachineInstant::from_unix_ms(hands.machine_ms.load(Ordering::SeqCst))
            }
        }
    }

    /// How far a sandbox has moved business time, in ms.
    #[must_use]
    pub fn lead_ms(&self) -> i64 {
        *self.lead.borrow()
    }

    /// Has business time be so far ahead of where it would be by itself: a sandbox's way to move it. It never goes back.
    pub fn advance_to_lead_ms(&self, lead_ms: i64) {
        self.lead.send_if_modified(|lead| {
            let is_ahead = *lead < lead_ms;
            *lead = lead_ms.max(*lead);
            is_ahead
        });
    }

    /// Tells of every time that a sandbox moves business time.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.lead.subscribe()
    }

    /// Moves business time of a manual clock; the system's clock stays.
    pub fn advance_business(&self, by: Duration) {
        if let Source::Manual(hands) = &self.source {
            hands.business_ms.fetch_add(whole_ms(by), Ordering::SeqCst);
        }
    }

    /// Moves machine time of a manual clock; the system's clock stays.
    pub fn advance_machine(&self, by: Duration) {
        if let Source::Manual(hands) = &self.source {
            hands.machine_ms.fetch_add(whole_ms(by), Ordering::SeqCst);
        }
    }
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Measures how long something takes, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
