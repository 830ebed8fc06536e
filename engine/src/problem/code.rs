//! The stable codes of refusals.

use crate::grpc::GrpcStatus;

/// Declares the codes once: variant, name, default status, title and detail.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $status:literal, $title:literal, $detail:literal;)+) => {
        /// Why a request is refused; the names are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: [Self; [$($status),+].len()] = [$(Self::$variant),+];

            /// The name in documents and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status unless `responses.statuses` says otherwise.
            #[must_use]
            pub const fn default_status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// A short summary, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            pub(super) const fn detail(self) -> &'static str {
                match self { $(Self::$variant => $detail,)+ }
            }
        }
    };
}

codes! {
    /// No source of the configuration has a key.
    KeyMissing = "key_missing", 401, "API key missing", "The request carries no API key.";
    /// Not of the form of a key of this environment.
    KeyMalformed = "key_malformed", 401, "API key malformed",
        "What the request carries is not an API key of this environment.";
    /// Well formed, and nobody's.
    KeyUnknown = "key_unknown", 401, "API key unknown", "The API key is not known here.";
    /// Past its expiry.
    KeyExpired = "key_expired", 401, "API key expired", "The API key has expired.";
    /// Revoked.
    KeyRevoked = "key_revoked", 401, "API key revoked", "The API key has been revoked.";
    /// Before `activeFrom`.
    SubscriptionNotStarted = "subscription_not_started", 403, "Subscription not started",
        "The subscription of this API key has not started yet.";
    /// From `activeTo` on.
    SubscriptionEnded = "subscription_ended", 403, "Subscription ended",
        "The subscription of this API key has ended.";
    /// The first payment was not made.
    PaymentRequired = "payment_required", 403, "Payment required",
        "The first payment of the subscription has not been made.";
    /// Grace is over.
    PaymentOverdue = "payment_overdue", 403, "Payment overdue",
        "A payment is overdue. Please update the payment method.";
    /// An invoice was given up.
    PaymentUncollectible = "payment_uncollectible", 403, "Payment uncollectible",
        "An invoice could not be collected. Please settle it to go on.";
    /// The plan has no entitlement for a meter of the rule.
    MeterNotInPlan = "meter_not_in_plan", 403, "Meter not in plan",
        "The plan does not include a meter that this request needs.";
    /// The plan has no entitlement for a feature the rule requires.
    FeatureNotInPlan = "feature_not_in_plan", 403, "Feature not in plan",
        "The plan does not include a feature that this request needs.";
    /// A hard limit, or the overage limit of a soft one.
    QuotaExceeded = "quota_exceeded", 403, "Quota exceeded",
        "The quota of this period is used up.";
    /// More in a short time than a rate limit gives.
    RateLimited = "rate_limited", 429, "Rate limited",
        "Too many requests in a short time.";
    /// The path has other spellings.
    PathNotNormal = "path_not_normal", 400, "Path not in normal form",
        "The path is not in normal form.";
    /// The decision needs Redis and Redis does not answer.
    StoreUnavailable = "store_unavailable", 503, "Temporarily unavailable",
        "The request cannot be decided right now. Please try again.";
}

impl Code {
    /// The status of the response to a gRPC request, as its own errors have it.
    #[must_use]
    pub const fn grpc_status(self) -> GrpcStatus {
        match self {
            Self::KeyMissing
            | Self::KeyMalformed
            | Self::KeyUnknown
            | Self::KeyExpired
            | Self::KeyRevoked => GrpcStatus::UNAUTHENTICATED,
            Self::SubscriptionNotStarted
            | Self::SubscriptionEnded
            | Self::PaymentRequired
            | Self::PaymentOverdue
            | Self::PaymentUncollectible
            | Self::MeterNotInPlan
            | Self::FeatureNotInPlan => GrpcStatus::PERMISSION_DENIED,
            Self::QuotaExceeded | Self::RateLimited => GrpcStatus::RESOURCE_EXHAUSTED,
            Self::PathNotNormal => GrpcStatus::INVALID_ARGUMENT,
            Self::StoreUnavailable => GrpcStatus::UNAVAILABLE,
        }
    }
}
