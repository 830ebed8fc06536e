//! Golden answers for every code, and the tables behind them.

use serde_json::{Value, json};

use super::*;

/// The golden answer of a code; one file each.
macro_rules! golden {
    ($($variant:ident = $name:literal,)+) => {
        fn golden(code: Code) -> &'static str {
            match code {
                $(Code::$variant => include_str!(concat!(
                    "../../tests/golden/problems/", $name, ".json"
                )),)+
            }
        }
    };
}

golden! {
    KeyMissing = "key_missing",
    KeyMalformed = "key_malformed",
    KeyUnknown = "key_unknown",
    KeyExpired = "key_expired",
    KeyRevoked = "key_revoked",
    SubscriptionNotStarted = "subscription_not_started",
    SubscriptionEnded = "subscription_ended",
    PaymentRequired = "payment_required",
    PaymentOverdue = "payment_overdue",
    PaymentUncollectible = "payment_uncollectible",
    MeterNotInPlan = "meter_not_in_plan",
    FeatureNotInPlan = "feature_not_in_plan",
    QuotaExceeded = "quota_exceeded",
    RateLimited = "rate_limited",
    PathNotNormal = "path_not_normal",
    StoreUnavailable = "store_unavailable",
}

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

/// A refusal as it happens, with what belongs to its code.
fn example(code: Code) -> Problem<'static> {
    let problem = match code {
        Code::MeterNotInPlan => Problem::meter_not_in_plan(&slug("tokens")),
        Code::FeatureNotInPlan => Problem::feature_not_in_plan(&slug("chat")),
        Code::PathNotNormal => Problem::path_not_normal(PathRefused::EmptySegment),
        Code::QuotaExceeded => Problem::quota_exceeded(Quota {
            state: MeterState {
                meter: "api_requests",
                limit: "20".parse().unwrap(),
                remaining: "0.5".parse().unwrap(),
                window_seconds: 2_678_400,
                resets_in_seconds: 60,
            },
            resets_at_ms: 1_769_871_600_000,
        }),
        Code::RateLimited => Problem::rate_limited(MeterState {
            meter: "requests",
            limit: "100".parse().unwrap(),
            remaining: Units::ZERO,
            window_seconds: 1,
            resets_in_seconds: 2,
        }),
        Code::KeyMissing
        | Code::KeyMalformed
        | Code::KeyUnknown
        | Code::KeyExpired
        | Code::KeyRevoked
        | Code::SubscriptionNotStarted
        | Code::SubscriptionEnded
        | Code::PaymentRequired
        | Code::PaymentOverdue
        | Code::PaymentUncollectible
        | Code::StoreUnavailable => Problem::new(code),
    };
    problem.at(b"/v1/chat?api_key=secret").of_request("7f3c")
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn header<'a>(answer: &'a Answer, wanted: &str) -> Option<&'a str> {
    let found = answer.headers.iter().find(|(name, _)| *name == wanted)?;
    Some(&found.1)
}

fn headers(answer: &Answer) -> Value {
    let headers = answer.headers.iter();
    headers
        .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A whole answer as a golden file has it, over HTTP and over gRPC.
fn whole(responses: &Responses, problem: &Problem<'_>) -> Value {
    let (http, grpc) = (responses.answer(problem), responses.grpc_answer(problem));
    assert_eq!((http.grpc_status, grpc.status), (grpc.grpc_status, 200));
    json!({
        "status": http.status,
        "headers": headers(&http),
        "body": body(&http),
        "grpc": {
            "status": grpc.grpc_status.number(),
            "headers": headers(&grpc),
            "message": str::from_utf8(&grpc.body).unwrap(),
        },
    })
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn every_code_answers_as_its_golden_file_says() {
    let responses = Responses {
        upgrade_url: Some("https://example.com/plans".to_owned()),
        ..Responses::default()
    };
    for code in Code::ALL {
        let expected: Value = serde_json::from_str(golden(code)).unwrap();
        assert_eq!(whole(&responses, &example(code)), expected, "{code:?}");
        assert_eq!(expected["body"]["code"], code.as_str());
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn every_status_can_be_another() {
    let mut responses = Responses::default();
    for code in Code::ALL {
        responses.set_status(code, 403);
    }
    for code in Code::ALL {
        let mut expected: Value = serde_json::from_str(golden(code)).unwrap();
        let after = 403;
        expected["status"] = after.into();
        expected["body"]["status"] = after.into();
        // Only who is asked for a key is told how to send it, and nobody where to buy.
        let headers = expected["headers"].as_object_mut().unwrap();
        headers.remove("www-authenticate");
        expected["body"]
            .as_object_mut()
            .unwrap()
            .remove("upgradeUrl");
        assert_eq!(whole(&responses, &example(code)), expected, "{code:?}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn headers_follow_the_status_and_the_code() {
    let mut responses = Responses::default();
    let answer = responses.answer(&Problem::new(Code::KeyUnknown));
    assert_eq!(
        header(&answer, "www-authenticate"),
        Some("Bearer realm=\"tollgate\"")
    );
    assert_eq!(header(&answer, "retry-after"), None);

    let unavailable = Problem::new(Code::StoreUnavailable);
    assert_eq!(
        header(&responses.answer(&unavailable), "retry-after"),
        Some("1")
    );
    let later = unavailable.retry_after(30);
    assert_eq!(header(&responses.answer(&later), "retry-after"), Some("30"));

    let quota = example(Code::QuotaExceeded);
    let told = Some("\"api_requests\";r=0;t=60");
    assert_eq!(header(&responses.answer(&quota), "ratelimit"), told);
    responses.rate_limit_headers = false;
    assert_eq!(header(&responses.answer(&quota), "ratelimit"), None);

    responses.set_status(Code::KeyUnknown, 403);
    let answer = responses.answer(&Problem::new(Code::KeyUnknown));
    assert_eq!(answer.status, 403);
    assert_eq!(body(&answer)["status"], 403);
    assert_eq!(header(&answer, "www-authenticate"), None);
    assert_eq!(responses.status(Code::KeyRevoked), 401);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn the_instance_never_shows_a_credential() {
    let long = format!("/{}", "x".repeat(5_000));
    let shown_of_long = &long[..INSTANCE_MAX_BYTES];
    let table: &[(&[u8], Option<&str>)] = &[
        (b"/v1?api_key=secret", Some("/v1")),
        (b"/v1#api_key=secret?x", Some("/v1")),
        (b"https://user:secret@host/v1", None),
        (b"*", None),
        (b"", None),
        (b"/caf\xe9", Some("/caf\u{fffd}")),
        (b"/<script>\"\r\n", Some("/<script>\"\r\n")),
        (long.as_bytes(), Some(shown_of_long)),
    ];
    for (path, expected) in table {
        let answer = Responses::default().answer(&Problem::new(Code::KeyMissing).at(path));
        let body = body(&answer);
        assert_eq!(body.get("instance").and_then(Value::as_str), *expected);
    }
    let request = "x".repeat(ID_MAX_BYTES + 1);
    let answer = Responses::default().answer(&Problem::new(Code::KeyMissing).of_request(&request));
    assert_eq!(body(&answer).get("requestId"), None);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn instants_are_rfc_3339() {
    // Computed with Python's datetime.
    let table = [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00Z"),
        (1_709_251_199_001, "2024-02-29T23:59:59.001Z"),
        (1_769_871_600_000, "2026-01-31T15:00:00Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        (i64::MIN, "0000-01-01T00:00:00Z"),
        (i64::MAX, "9999-12-31T23:59:59.999Z"),
    ];
    for (unix_ms, expected) in table {
        assert_eq!(rfc3339(unix_ms), expected);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::prelude::*;

    use super::super::instant::civil_from_days;

    /// Days before a date by counting years and months one by one.
    fn days_by_counting(year: i64, month: i64, day: i64) -> i64 {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_of_month = |month: i64| match month {
            2 => 28 + i64::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let years: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
        let before: i64 = (year..1970).map(|year| 365 + i64::from(leap(year))).sum();
        years - before + (1..month).map(days_of_month).sum::<i64>() + day - 1
    }

    proptest! {
        #[test]
        fn dates_agree_with_counting(days in -719_528_i64..2_932_897) {
            let (year, month, day) = civil_from_days(days);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            prop_assert_eq!(days_by_counting(year, month, day), days);
        }
    }
}
