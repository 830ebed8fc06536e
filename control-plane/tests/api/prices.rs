//! Prices of plans: what is taken, what is refused and with which words.

use serde_json::{Value, json};

use crate::both_databases;
use crate::catalog::{metered_feature, pairs};
use crate::shop::act;
use crate::till::{PAYS, Till, fee, sell};
use crate::world::{Answer, TestDatabase, World};

/// Tries to keep a draft with these cards.
async fn draft(world: &World, key: &str, cards: Value, fields: Value) -> Answer {
    let mut plan = json!({
        "key": key, "name": key, "currency": "USD", "billingCadence": "P1M",
        "phases": [{"key": "default", "name": "Default", "duration": null, "rateCards": cards}],
    });
    for (field, value) in fields.as_object().unwrap() {
        plan[field] = value.clone();
    }
    world.post("/v1/plans", &plan).await
}

async fn publish(world: &World, key: &str) -> Answer {
    let path = format!("/v1/plans/{key}/publish");
    world.post(&path, &json!({})).await
}

fn calls(price: Value) -> Value {
    json!({"type": "usage_based", "featureKey": "calls", "billingCadence": "P1M", "price": price,
        "entitlementTemplate": {"type": "metered", "issueAfterReset": 50_000, "isSoftLimit": true}})
}

both_databases! {
    async fn flat_and_graduated_prices_are_taken_as_others_write_them(database: TestDatabase) {
        use tollgate::catalog::plans::{PaymentTerm, Price, Proration, Rate, UsagePrice, find_active};

        let world = World::new(database).await;
        metered_feature(&world, "calls").await;
        let cards = json!([
            {"type": "flat_fee", "key": "base", "billingCadence": "P1M",
             "price": {"type": "flat", "amount": "99.00"}},
            {"type": "flat_fee", "key": "support", "billingCadence": "P3M",
             "price": {"type": "flat", "amount": 9.5, "paymentTerm": "in_arrears"}},
            {"type": "flat_fee", "key": "setup", "price":
                {"type": "flat", "amount": 500, "paymentTerm": "in_advance"}},
            calls(json!({"type": "tiered", "mode": "graduated", "tiers": [
                {"upToAmount": "50000", "flatPrice": {"type": "flat", "amount": "0"}, "unitPrice": null},
                {"upToAmount": 1e6, "unitPrice": {"amount": 0.002}},
                {"unitPrice": {"type": "unit", "amount": 1e-5}},
            ]})),
        ]);
        let fields = json!({"proRatingConfig": {"enabled": true, "mode": "prorate_prices"}});
        let kept = draft(&world, "pro", cards, fields).await.expect(201);
        let published = publish(&world, "pro").await.expect(200);
        assert_eq!(published["phases"], kept["phases"]);
        let mut reader = world.app.database.read().await.unwrap();
        let sold = find_active(&mut reader, &"pro".parse().unwrap()).await.unwrap().unwrap();
        let plan = sold.plan().unwrap();
        assert_eq!(plan.proration, Proration::Time);
        let flat = |index: usize| match &plan.phases[0].rate_cards[index].price {
            Some(Price::Flat(price)) => (price.amount.to_string(), price.term),
            other => panic!("{other:?}"),
        };
        assert_eq!(flat(0), ("99".to_owned(), PaymentTerm::InAdvance));
        assert_eq!(flat(1), ("9.5".to_owned(), PaymentTerm::InArrears));
        assert_eq!(flat(2), ("500".to_owned(), PaymentTerm::InAdvance));
        let Some(Price::Usage(UsagePrice { rate: Rate::Graduated(tiers), .. })) =
            &plan.phases[0].rate_cards[3].price
        else {
            panic!("{:?}", plan.phases[0].rate_cards[3])
        };
        let ends: Vec<_> =
            tiers.iter().map(|(up_to, _)| up_to.map(|end| end.to_string())).collect();
        assert_eq!(ends, [Some("50000".to_owned()), Some("1000000".to_owned()), None]);
        let units: Vec<_> =
            tiers.iter().map(|(_, tier)| tier.unit.map(|price| price.to_string())).collect();
        assert_eq!(units, [None, Some("0.002".to_owned()), Some("0.00001".to_owned())]);
    }

    async fn mistakes_of_prices_are_told_together(database: TestDatabase) {
        let world = World::new(database).await;
        metered_feature(&world, "calls").await;
        let flat = |price: Value| {
            let key = format!("card_{}", price["n"]);
            json!({"type": "flat_fee", "key": key, "billingCadence": "P1M", "price": price["price"]})
        };
        let tiers = json!([
            {"upToAmount": "10", "unitPrice": {"amount": "-1"}},
            {"upToAmount": "10", "unitPrice": {"amount": "1", "type": "flat"}},
            {"upToAmount": "1.0001"},
            {"upToAmount": "20", "flatPrice": {"amount": "1234567890.123"}},
        ]);
        let cards = json!([
            flat(json!({"n": 0, "price": {"type": "flat"}})),
            flat(json!({"n": 1, "price":
                {"type": "flat", "amount": "1", "paymentTerm": "later", "mode": "graduated"}})),
            flat(json!({"n": 2, "price": {"type": "tiered", "mode": "graduated", "amount": "1",
                "paymentTerm": "in_advance", "tiers": tiers}})),
            flat(json!({"n": 3, "price": {"type": "tiered", "mode": "volume", "tiers": []}})),
            flat(json!({"n": 4, "price": {"type": "package", "quantityPerPackage": 1}})),
            flat(json!({"n": 5, "price": {"type": "free", "minimumAmount": "1"}})),
            calls(json!({"type": "tiered", "mode": "graduated", "tiers": []})),
            calls(json!({"type": "tiered"})),
        ]);
        let refused = draft(&world, "bad", cards, json!({"proRatingConfig": {"mode": "half"}})).await;
        let at = |rest: &str| format!("$.phases[0].rateCards{rest}");
        let expected = [
            ("pro_rating_mode_unknown", "$.proRatingConfig.mode".to_owned()),
            ("price_amount_invalid", at("[0].price.amount")),
            ("unknown_field", at("[1].price.mode")),
            ("payment_term_unknown", at("[1].price.paymentTerm")),
            ("rate_card_only_flat_price_allowed", at("[2].price.type")),
            ("unknown_field", at("[2].price.amount")),
            ("price_amount_invalid", at("[2].price.tiers[0].unitPrice.amount")),
            ("price_tier_up_to_amount_invalid", at("[2].price.tiers[1].upToAmount")),
            ("price_type_unknown", at("[2].price.tiers[1].unitPrice.type")),
            ("invalid_units", at("[2].price.tiers[2].upToAmount")),
            ("price_tier_without_price", at("[2].price.tiers[2]")),
            ("price_tier_up_to_amount_invalid", at("[2].price.tiers[3].upToAmount")),
            ("price_amount_invalid", at("[2].price.tiers[3].flatPrice.amount")),
            ("payment_term_unknown", at("[2].price.paymentTerm")),
            ("rate_card_only_flat_price_allowed", at("[3].price.type")),
            ("price_tiers_invalid", at("[3].price.tiers")),
            ("rate_card_only_flat_price_allowed", at("[4].price.type")),
            ("price_amount_invalid", at("[4].price.amount")),
            ("rate_card_only_flat_price_allowed", at("[5].price.type")),
            ("price_type_unknown", at("[5].price.type")),
            ("price_tiers_invalid", at("[6].price.tiers")),
            ("rate_card_duplicated_key", at("[7].key")),
            ("price_mode_unknown", at("[7].price.mode")),
            ("price_tiers_invalid", at("[7].price.tiers")),
        ];
        assert_eq!(refused.mistakes(), expected.map(|(code, path)| (code.to_owned(), path)));
    }

    async fn a_priced_card_is_rated_by_its_own_cycles(database: TestDatabase) {
        let world = World::new(database).await;
        metered_feature(&world, "calls").await;
        let price = json!({"type": "tiered", "mode": "graduated",
            "tiers": [{"unitPrice": {"amount": "1"}}]});
        let mut card = calls(price);
        card["entitlementTemplate"]["usagePeriod"] = json!("P1D");
        draft(&world, "daily", json!([card.clone()]), json!({})).await.expect(201);
        let place = "$.phases[0].rateCards[0].entitlementTemplate.usagePeriod";
        let code = "rate_card_metered_entitlement_template_usage_period_mismatch";
        assert_eq!(publish(&world, "daily").await.mistakes(), pairs([(code, place)]));
        card["billingCadence"] = json!("P1D");
        draft(&world, "each_day", json!([card]), json!({})).await.expect(201);
        publish(&world, "each_day").await.expect(200);
    }

    async fn later_usage_that_makes_all_of_it_cheaper_is_a_credit(database: TestDatabase) {
        let till = Till::open(database).await;
        let tiers = json!([{"upToAmount": 10_000, "unitPrice": {"amount": "0.01"}},
            {"unitPrice": {"amount": "0.005"}}]);
        let volume = calls(json!({"type": "tiered", "mode": "volume", "tiers": tiers}));
        sell(&till.world, "volume", json!([fee("29.00"), volume])).await;
        let subscription = till.check_out("acme", "volume", PAYS).await;
        till.consume(&subscription, "2026-01-01T00:00:00Z", 10_000).await;
        till.go_to("02-01T00:02:00").await;
        till.settle().await;
        // 100.00 were billed; with these all come to 55.00.
        till.consume(&subscription, "2026-01-01T00:00:00Z", 1_000).await;
        for boundary in ["03-01T00:02:00", "04-01T00:02:00", "05-01T00:02:00"] {
            till.go_to(boundary).await;
            till.settle().await;
        }
        let totals: Vec<_> = till.invoices().await.iter().map(|it| it["total"].clone()).collect();
        assert_eq!(totals, ["29.00", "129.00", "0.00", "13.00", "29.00"]);
        let late = &till.invoices().await[2]["lines"][1];
        assert_eq!(late["description"], "volume: calls, later usage: 45.00 credited");
        till.assert_sound().await;
    }

    async fn a_period_that_is_cut_has_its_share_of_the_minimum_spend(database: TestDatabase) {
        let till = Till::open(database).await;
        let limited = json!({"type": "unit", "amount": "0.01", "minimumAmount": "31", "maximumAmount": 50});
        let mut card = calls(limited);
        card["discounts"] = json!({"percentage": {"percentage": "50"}, "usage": {"quantity": 100}});
        sell(&till.world, "limited", json!([card])).await;
        let subscription = till.check_out("acme", "limited", PAYS).await;
        till.consume(&subscription, "2026-01-01T00:00:00Z", 2_100).await;
        till.go_to("02-01T00:02:00").await;
        till.bill().await;
        let [month] = &till.invoices().await[..] else { panic!() };
        let shown = |line: &Value| ["amount", "discount", "total"].map(|field| line[field].clone());
        assert_eq!(shown(&month["lines"][0]), ["20.00", "10.00", "10.00"]);
        assert_eq!(shown(&month["lines"][1]), ["21.00", "0.00", "21.00"]);
        // Of the next one 7 of 28 days.
        till.go_to("02-08T00:00:00").await;
        act(&till.world, &subscription, "cancel", &json!({})).await.expect(200);
        till.go_to("02-08T00:02:00").await;
        till.bill().await;
        let last = &till.invoices().await[1];
        assert_eq!((&last["kind"], &last["total"]), (&json!("final"), &json!("7.75")));
        till.consume(&subscription, "2026-02-01T00:00:00Z", 20_100).await;
        till.go_to("02-09T00:02:00").await;
        till.bill().await;
        let late = &till.invoices().await[2];
        assert_eq!((&late["kind"], &late["total"]), (&json!("late"), &json!("42.25")));
        till.assert_sound().await;
    }
}
