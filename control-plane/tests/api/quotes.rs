//! Quotes: what prices come to, by the program and over HTTP.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use axum::http::Method;
use serde_json::{Value, json};
use tollgate::invoicing::quote::{Lines, quote_lines};

use crate::both_databases;
use crate::catalog::pairs;
use crate::shop::text;
use crate::world::{TestDatabase, World};

/// Every line, quoted.
fn quoted(input: &[Value]) -> (Vec<Value>, Lines) {
    let lines: String = input.iter().map(|line| format!("{line}\n")).collect();
    let mut output = Vec::new();
    let outcome = quote_lines(lines.as_bytes(), &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let answers = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (answers.collect(), outcome)
}

fn quote(input: &Value) -> Value {
    quoted(std::slice::from_ref(input)).0.remove(0)
}

fn number(value: &Value) -> f64 {
    text(value).parse().unwrap()
}

fn card(price: Value) -> Value {
    json!({"type": "usage_based", "key": "calls", "featureKey": "calls", "billingCadence": "P1M", "price": price})
}

/// Figures of OpenMeter's, Lago's, Meteroid's and Polar's test suites, and of Zuplo's documentation.
#[test]
fn prices_come_to_published_figures() {
    let figures: Value = serde_json::from_str(include_str!("../cases/quote.json")).unwrap();
    let cases = figures["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 63);
    for case in cases {
        let (name, expected) = (&case["name"], &case["expected"]);
        let quote = quote(&case["input"]);
        assert_eq!(
            number(&quote["total"]),
            number(&expected["total"]),
            "{name}: {quote}"
        );
        let lines = quote["lines"].as_array().unwrap();
        let show = |line: &Value| (text(&line["id"]).to_owned(), number(&line["total"]));
        if let Some(expected) = expected["lines"].as_array() {
            let expected: Vec<_> = expected.iter().map(show).collect();
            assert_eq!(
                lines.iter().map(show).collect::<Vec<_>>(),
                expected,
                "{name}"
            );
        }
        let minor = |value: &Value| (number(value) * 100.0).round();
        let sum: f64 = lines.iter().map(|line| minor(&line["total"])).sum();
        assert_eq!(sum, minor(&quote["total"]), "{name}");
    }
}

#[test]
fn a_line_says_what_was_reckoned() {
    let price =
        json!({"type": "unit", "amount": "0.5", "minimumAmount": 20, "maximumAmount": "100.00"});
    let mut rate_card = card(price);
    rate_card["name"] = json!("API calls");
    rate_card["discounts"] = json!({"percentage": {"percentage": 10}, "usage": {"quantity": "5"}});
    let input = |quantity: &str| json!({"currency": "USD", "rateCard": rate_card, "quantity": quantity, "credits": "7.5"});
    let few = json!({"lines": [
        {"id": "unit-price-usage", "description": "API calls", "quantity": "20", "unitAmount": "0.5",
         "amount": "10.00", "charges": "0.00", "discounts": "1.00", "credits": "7.50", "total": "1.50"},
        {"id": "min-spend", "description": "API calls, up to the minimum spend", "quantity": "1",
         "unitAmount": "11", "amount": "0.00", "charges": "11.00", "discounts": "0.00", "credits": "0.00",
         "total": "11.00"},
    ], "total": "12.50"});
    assert_eq!(quote(&input("25")), few);
    let many = json!({"lines": [
        {"id": "unit-price-usage", "description": "API calls", "quantity": "995", "unitAmount": "0.5",
         "amount": "497.50", "charges": "0.00", "discounts": "397.50", "credits": "7.50", "total": "92.50"},
    ], "total": "92.50"});
    assert_eq!(quote(&input("1000")), many);
    let free = json!({"currency": "USD", "rateCard": {"type": "flat_fee", "key": "free"}});
    assert_eq!(quote(&free), json!({"lines": [], "total": "0.00"}));
}

#[test]
fn currencies_round_to_what_is_charged_in_them() {
    for (currency, amount, quantity, total) in [
        ("USD", "0.000000001", "1000000000.999", "1.00"),
        ("USD", "999.999999999", "999999999.999", "999999999998.00"),
        ("JPY", "0.5", "3", "2"),
        ("KRW", "0.49", "1", "0"),
        ("KWD", "1.0049", "1", "1.000"),
        ("KWD", "1.005", "1", "1.010"),
        ("ISK", "0.5", "1", "1.00"),
        ("UGX", "1.49", "1", "1.00"),
        ("BHD", "0.0033", "3", "0.010"),
    ] {
        let price = card(json!({"type": "unit", "amount": amount}));
        let input = json!({"currency": currency, "rateCard": price, "quantity": quantity});
        assert_eq!(
            quote(&input)["total"],
            total,
            "{currency} {amount} {quantity}"
        );
    }
}

/// Lines with one mistake, the code and where it is told.
fn wrong_fields(good: &Value) -> Vec<(Value, &'static str, &'static str)> {
    let with = |field: &str, value: Value| {
        let mut line = good.clone();
        line[field] = value;
        line
    };
    vec![
        (
            with("currency", json!("eur")),
            "currency_invalid",
            "$.currency",
        ),
        (
            with("quantity", json!("1.0001")),
            "invalid_units",
            "$.quantity",
        ),
        (with("quantity", json!(-1)), "invalid_units", "$.quantity"),
        (
            with("quantity", json!(null)),
            "quantity_missing",
            "$.quantity",
        ),
        (with("quantity", json!([])), "invalid_type", "$.quantity"),
        (with("credits", json!("-1")), "credits_invalid", "$.credits"),
        (
            with("rateCard", json!(null)),
            "rate_card_missing",
            "$.rateCard",
        ),
        (with("tier", json!(1)), "unknown_field", "$.tier"),
        (json!(7), "invalid_type", "$"),
    ]
}

fn wrong_prices(good: &Value) -> Vec<(Value, &'static str, &'static str)> {
    let priced = |price: Value| {
        let mut line = good.clone();
        line["rateCard"] = card(price);
        line
    };
    let mut flat = priced(json!({"type": "flat", "amount": "1"}));
    flat["rateCard"]["discounts"] = json!({"usage": {"quantity": 1}});
    let tiers = json!([{"upToAmount": 5}, {"unitPrice": {"amount": "1"}}]);
    let tiered = json!({"type": "tiered", "mode": "volume", "tiers": tiers});
    let package = json!({"type": "package", "amount": "1", "quantityPerPackage": 0});
    let dynamic = json!({"type": "dynamic", "multiplier": "-1"});
    let limited = json!({"type": "unit", "amount": 1, "minimumAmount": 2, "maximumAmount": 1});
    let (amount, multiplier) = ("$.rateCard.price.amount", "$.rateCard.price.multiplier");
    let (tier, size) = (
        "$.rateCard.price.tiers[0]",
        "$.rateCard.price.quantityPerPackage",
    );
    vec![
        (
            priced(json!({"type": "unit"})),
            "price_amount_invalid",
            amount,
        ),
        (priced(tiered), "price_tier_without_price", tier),
        (priced(package), "price_quantity_per_package_invalid", size),
        (priced(dynamic), "price_amount_invalid", multiplier),
        (
            priced(limited),
            "price_minimum_above_maximum",
            "$.rateCard.price.minimumAmount",
        ),
        (
            flat,
            "usage_discount_with_flat_price",
            "$.rateCard.discounts.usage",
        ),
    ]
}

#[test]
fn a_wrong_line_says_so_and_the_others_are_priced() {
    let price = |amount: &str| card(json!({"type": "unit", "amount": amount}));
    let good = json!({"currency": "EUR", "rateCard": price("2"), "quantity": 3});
    let cases = [wrong_fields(&good), wrong_prices(&good)].concat();
    let mut input = vec![good.clone()];
    input.extend(cases.iter().map(|(line, _, _)| line.clone()));
    input.push(good);
    let (answers, outcome) = quoted(&input);
    assert_eq!(outcome, Lines::Refused);
    assert_eq!(answers.len(), input.len());
    for (answer, (line, code, path)) in answers[1..].iter().zip(&cases) {
        let error = &answer["error"];
        assert_eq!(
            (text(&error["code"]), text(&error["path"])),
            (*code, *path),
            "{line}: {answer}"
        );
        assert!(!text(&error["detail"]).is_empty());
    }
    assert_eq!(answers[0]["total"], "6.00");
    assert_eq!(answers[0], answers[answers.len() - 1]);
    let much = json!({"currency": "USD", "quantity": 3, "rateCard": price("999999999999")});
    assert_eq!(quote(&much)["total"], "2999999999997.00");
    let too_much =
        json!({"currency": "USD", "quantity": "1000000000", "rateCard": price("999999999999")});
    assert_eq!(quote(&too_much)["error"]["code"], "amount_too_great");
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_program_quotes_and_says_by_its_status_whether_all_lines_were_right() {
    let good = json!({"currency": "USD", "quantity": 1, "rateCard": card(json!({"type": "unit", "amount": 2}))});
    let done = run(&["quote"], &format!("{good}\n{good}"));
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(done.stdout.iter().filter(|byte| **byte == b'\n').count(), 2);
    let done = run(&["quote"], &format!("{{\n\n{good}\n"));
    assert_eq!(done.status.code(), Some(2));
    let lines = String::from_utf8(done.stdout).unwrap();
    let codes = lines.lines().map(|line| {
        let answer: Value = serde_json::from_str(line).unwrap();
        answer["error"]["code"].as_str().map(str::to_owned)
    });
    let invalid = Some("invalid_json".to_owned());
    assert_eq!(codes.collect::<Vec<_>>(), [invalid.clone(), invalid, None]);
}

#[test]
fn the_program_prints_boundaries() {
    let periods = |arguments: &[&str]| {
        let done = run(&[&["periods"], arguments].concat(), "");
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (status, lines) = periods(&[
        "--anchor",
        "2026-01-31T15:00:00Z",
        "--cadence",
        "P1M",
        "--count",
        "5",
    ]);
    let expected = "2026-01-31T15:00:00Z\n2026-02-28T15:00:00Z\n2026-03-31T15:00:00Z\n\
        2026-04-30T15:00:00Z\n2026-05-31T15:00:00Z\n";
    assert_eq!((status, lines.as_str()), (Some(0), expected));
    let (_, lines) = periods(&[
        "--anchor",
        "2026-03-28T00:00:00+01:00",
        "--cadence",
        "P1D",
        "--count",
        "3",
        "--time-zone",
        "Europe/Berlin",
    ]);
    assert_eq!(
        lines,
        "2026-03-27T23:00:00Z\n2026-03-28T23:00:00Z\n2026-03-29T22:00:00Z\n"
    );
    let (status, _) = periods(&["--anchor", "today", "--cadence", "P1M", "--count", "1"]);
    assert_eq!(status, Some(2));
    let (status, _) = periods(&[
        "--anchor",
        "2026-01-01T00:00:00Z",
        "--cadence",
        "P0D",
        "--count",
        "1",
    ]);
    assert_eq!(status, Some(2));
}

both_databases! {
    async fn a_quote_is_given_over_http(database: TestDatabase) {
        let world = World::new(database).await;
        let price = json!({"type": "tiered", "mode": "graduated", "tiers": [
            {"upToAmount": "1000", "unitPrice": {"amount": "0.10"}},
            {"upToAmount": "10000", "unitPrice": {"amount": "0.05"}},
            {"upToAmount": null, "unitPrice": {"amount": "0.01"}}]});
        let document = json!({"currency": "USD", "rateCard": card(price), "quantity": "15000", "credits": "0"});
        let quote = world.post("/v1/quote", &document).await.expect(200);
        assert_eq!(quote["total"], "600.00");
        assert_eq!(quote["lines"][2]["id"], "graduated-tiered-3-price-usage");
        let wrong = json!({"currency": "usd", "rateCard": {"type": "usage_based"}, "quantity": "x"});
        let refused = world.post("/v1/quote", &wrong).await;
        let expected = pairs([
            ("currency_invalid", "$.currency"),
            ("resource_key_empty", "$.rateCard.key"),
            ("billing_cadence_invalid_value", "$.rateCard.billingCadence"),
            ("usage_based_price_with_no_feature", "$.rateCard.featureKey"),
            ("invalid_units", "$.quantity"),
        ]);
        assert_eq!(refused.mistakes(), expected);
        let anonymous = axum::http::Request::builder().method(Method::POST).uri("/v1/quote");
        let answer = world.send(anonymous.body(axum::body::Body::empty()).unwrap()).await;
        answer.problem(401, "admin_key_missing");
    }
}
