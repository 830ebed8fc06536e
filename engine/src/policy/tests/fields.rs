//! What is read of a document that says something else everywhere than the default.

use super::configuration::demand;
use crate::api_key::Environment;
use crate::grpc::GrpcStatus;
use crate::policy::{Access, Demand, Fallback, KeySource, LostLeases, MeteringMode, Paths, Policy};
use crate::problem::{Code, IdentityHeaders};

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn every_field_is_read() {
    let policy = Policy::parse(include_str!("../../../tests/golden/policy-other.json")).unwrap();
    assert_eq!(policy.environment, Environment::Test);
    assert!(policy.sandbox);
    assert_eq!(policy.paths, Paths::AsGiven);
    assert_eq!(policy.redis.username.as_deref(), Some("filter"));
    assert_eq!(policy.redis.password_env.as_deref(), Some("SECRET"));
    assert_eq!(
        (policy.redis.timeout_ms, policy.redis.max_calls_per_second),
        (100, 0)
    );
    let [
        KeySource::Header {
            name,
            scheme: Some(scheme),
        },
        KeySource::Query { name: query },
    ] = policy.auth.sources.as_slice()
    else {
        panic!("other sources: {:?}", policy.auth.sources);
    };
    assert_eq!((&**name, &**scheme, &**query), ("x-key", "Token", "key"));
    assert!(!policy.auth.hide_credentials && policy.auth.allow_preflight);
    assert!(policy.auth.foreign_keys);
    let metering = &policy.metering;
    assert_eq!(
        (metering.flush_interval_ms, metering.max_unsettled_ms),
        (50, 60)
    );
    assert_eq!(
        (metering.lease_ttl_ms, metering.wait_for_units_ms),
        (100, 200)
    );
    assert_eq!(metering.mode, MeteringMode::Exact);
    assert_eq!(metering.lost_leases, LostLeases::Return);
    let outage = &policy.on_unavailable;
    assert_eq!(
        (outage.unknown_key, outage.known_key),
        (Fallback::Allow, Fallback::Deny)
    );
    assert_eq!(outage.offline_units.milli(), 500);
    assert_eq!(outage.offline_hard_units.milli(), 1_250);
    assert_eq!(outage.stale_for_seconds, 0);
    let responses = &policy.responses;
    assert_eq!(responses.status(Code::QuotaExceeded), 429);
    assert_eq!(responses.status(Code::KeyMissing), 403);
    assert_eq!(responses.status(Code::KeyUnknown), 401);
    assert!(!responses.rate_limit_headers && responses.access_log);
    assert_eq!(responses.identity, IdentityHeaders::Separate);
    assert_eq!(
        responses.upgrade_url.as_deref(),
        Some("https://example.com/plans")
    );

    check_rules(&policy);
}

fn check_rules(policy: &Policy) {
    let rules: Vec<_> = policy.rules().collect();
    assert_eq!(rules.len(), 3);
    assert_eq!(*rules[0].access(), Access::Public);
    assert_eq!(demand(rules[1]).mode, Some(MeteringMode::Leased));
    let costs: Vec<_> = demand(rules[1])
        .meters
        .iter()
        .map(|cost| (cost.meter.as_str(), cost.units.milli()))
        .collect();
    assert_eq!(costs, [("api_requests", 1_000), ("tokens", 2_500)]);
    assert_eq!(demand(rules[1]).requires[0].as_str(), "chat");
    assert!(demand(rules[1]).metered_statuses.contains(304));
    assert!(!demand(rules[1]).metered_statuses.contains(200));
    let grpc = demand(rules[1]).metered_grpc_statuses;
    let metered = (0..=16).filter(|number| grpc.contains(GrpcStatus::new(*number).unwrap()));
    assert_eq!(metered.collect::<Vec<_>>(), [1, 16]);
    let [rate] = &*demand(rules[1]).rates else {
        panic!("other rates");
    };
    assert_eq!(
        (rate.feature.as_str(), rate.units.milli()),
        ("requests", 2_500)
    );
    assert_eq!(*demand(rules[2]), Demand::default());
}
