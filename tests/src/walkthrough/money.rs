//! The steps that are about money: from Checkout to the end of a subscription, in a sandbox whose time is moved.

use std::io::Write;

use super::steps::{create, usage};
use super::{Failed, Script};

const GOOD_CARD: &str = "4242 4242 4242 4242";
/// Attaches, and is declined afterwards.
const BAD_CARD: &str = "4000 0000 0000 0341";

/// Walks through the life of paying customers.
///
/// # Errors
/// With the first step whose answer was not what it should be.
pub fn walk<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    check_out(script)?;
    use_more(script)?;
    renew(script)?;
    fall_behind(script)?;
    catch_up(script)?;
    upgrade(script)?;
    cancel(script)?;
    examine(script)
}

fn check_out<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# 5. Paid plans. A customer opens a Checkout link, which leads to Stripe; here Stripe is simulated.");
    script.show("STRIPE");
    script.run(
        &create("customers", r#"{"key": "cleo", "name": "Cleo"}"#),
        &["Cleo"],
    )?;
    let made = script.run(
        &create(
            "checkout-sessions",
            r#"{"plan": "starter", "customer": "cleo"}"#,
        ),
        &[r#""status":"open""#],
    )?;
    script.set("LINK", &made, (r#""url":""#, r#"""#))?;
    let page = script.run(
        r"curl -s -L -o /dev/null -w '%{url_effective}\n' -c $COOKIES $LINK",
        &["http"],
    )?;
    script.set("PAGE", &format!("{page}\n"), ("", "\n"))?;
    script.say("# There the customer enters a card, and is sent back to our page.");
    let back = script.run(
        &format!(
            r"curl -s -o /dev/null -w '%{{redirect_url}}\n' $PAGE -d 'cardNumber={GOOD_CARD}'"
        ),
        &["/success"],
    )?;
    script.set("BACK", &format!("{back}\n"), ("", "\n"))?;
    script.run_until(
        r"curl -s -b $COOKIES $BACK | grep -oE '<(h1|button).*</(h1|button)>'",
        &["You are subscribed", "<button"],
    )?;
    script.say("# The button shows the API key, once. The first invoice is paid.");
    let page = script.run(
        r"curl -s -X POST -b $COOKIES $LINK/claim | grep -oE 'tg_test_[A-Za-z0-9]+|shown before'",
        &["tg_test_"],
    )?;
    script.set("CLEO", &page, ("", "\n"))?;
    script.run(
        r"curl -s -X POST -b $COOKIES $LINK/claim | grep -oE 'tg_test_[A-Za-z0-9]+|shown before'",
        &["shown before"],
    )?;
    script.run_until(&invoices("cleo"), &["first", "paid", r#""total":"29.00""#])?;
    script.run(
        r#"curl -s -H "authorization: Bearer $STRIPE_KEY" $STRIPE/v1/invoices | grep -oE '"(amount_paid|status)": ?("[a-z]*"|[0-9]+)' | paste -sd' '"#,
        &["2900", "paid"],
    )?;
    script.run_until(&call("CLEO"), &["200"])?;
    Ok(())
}

fn use_more<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# The same in one go for another customer, who takes `pro` and uses more than the 50,000 it includes: a call of /v1/bulk costs 1,000.");
    subscribe(script, "dora", "pro", ("DORA", "DORA_SUBSCRIPTION"))?;
    script.run(&bulk_calls("DORA", 60), &["60 200"])?;
    script.run_until(&usage("$DORA_SUBSCRIPTION"), &[r#""used":"60000""#])?;
    Ok(())
}

fn renew<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# 6. The sandbox's clock moves past the end of the period: the next invoices are made and paid, one with the overage of 10,000 at 0.002.");
    advance(script, "P1M")?;
    advance(script, "PT1H")?;
    script.run_until(
        &invoices("cleo"),
        &[r#""kind":"recurring" "status":"paid""#],
    )?;
    script.run_until(
        &invoices("dora"),
        &[
            r#""kind":"recurring" "status":"paid""#,
            r#""amount":"20.00""#,
            r#""total":"119.00""#,
        ],
    )?;
    Ok(())
}

fn fall_behind<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# 7. In Stripe's portal, a card that will be declined replaces the first one. The renewal fails; access goes on for 3 days of grace.");
    let made = script.run(
        &create("customers/cleo/portal-sessions", "{}"),
        &[r#""url":"#],
    )?;
    script.set("PORTAL", &made, (r#""url":""#, r#"""#))?;
    script.run(&enter_card("$PORTAL", BAD_CARD), &["303"])?;
    advance(script, "P1M")?;
    advance(script, "PT1H")?;
    script.run_until(
        r#"curl -s -H "$ADMIN" $TOLLGATE/v1/customers/cleo/subscriptions | grep -oE '"(status|paymentStatus)":"[^"]*"'"#,
        &[r#""paymentStatus":"failed""#],
    )?;
    script.run(&call("CLEO"), &["200"])?;
    advance(script, "P3D")?;
    script.run_until(
        r#"curl -s -H "x-api-key: $CLEO" $API/v1/hello"#,
        &[r#""code":"payment_overdue""#],
    )?;
    Ok(())
}

fn catch_up<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say(
        "\n# The customer pays the open invoice with another card: access is back within a second.",
    );
    let open = script.run(
        r#"curl -s -H "$ADMIN" "$TOLLGATE/v1/invoices?customer=cleo&status=failed" | grep -oE '"hostedInvoiceUrl":"[^"]*"'"#,
        &["hostedInvoiceUrl"],
    )?;
    script.set("INVOICE", &open, (r#":""#, r#"""#))?;
    let pay = enter_card("$INVOICE", GOOD_CARD);
    script.run(&format!("{pay}; sleep 1"), &["303"])?;
    script.run(&call("CLEO"), &["200"])?;
    Ok(())
}

fn upgrade<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# 8. A customer of `starter` has used 7,000 of 10,000, and moves up to `pro` when a third of the period is over: of the 29.00 the 30 % that were not used are given back.");
    subscribe(script, "elmo", "starter", ("ELMO", "ELMO_SUBSCRIPTION"))?;
    script.run(&bulk_calls("ELMO", 7), &["7 200"])?;
    script.run_until(&usage("$ELMO_SUBSCRIPTION"), &[r#""used":"7000""#])?;
    advance(script, "P10D")?;
    script.run(
        &create(
            "subscriptions/$ELMO_SUBSCRIPTION/change/estimate-credit",
            r#"{"plan": "pro"}"#,
        ),
        &[r#""credit":"8.70""#, r#""total":"90.30""#],
    )?;
    script.run(
        &create(
            "subscriptions/$ELMO_SUBSCRIPTION/change",
            r#"{"plan": "pro", "key": "elmo-pro"}"#,
        ),
        &[r#""plan":"pro""#],
    )?;
    script.run_until(
        &invoices("elmo"),
        &[
            r#""kind":"change" "status":"paid""#,
            r#""credit":"8.70""#,
            r#""total":"90.30""#,
        ],
    )?;
    Ok(())
}

fn cancel<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# 9. Canceled for the end of the period, taken back, and canceled again: then the key stops at the end.");
    let cancel = create(
        "subscriptions/elmo-pro/cancel",
        r#"{"timing": "next_billing_cycle"}"#,
    );
    script.run(&cancel, &[r#""status":"canceled""#])?;
    script.run(
        r#"curl -s -X POST -H "$ADMIN" $TOLLGATE/v1/subscriptions/elmo-pro/unschedule-cancelation"#,
        &[r#""status":"active""#, r#""activeTo":null"#],
    )?;
    script.run(&cancel, &[r#""status":"canceled""#])?;
    script.run(&call("ELMO"), &["200"])?;
    advance(script, "P1M")?;
    script.run_until(
        r#"curl -s -H "x-api-key: $ELMO" $API/v1/hello"#,
        &[r#""code":"subscription_ended""#],
    )?;
    Ok(())
}

fn examine<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say(
        "\n# After all that, the doctor finds nothing in the database that must not be there.",
    );
    script.run(
        "tollgate doctor; echo \"exit status $?\"",
        &["exit status 0"],
    )?;
    Ok(())
}

/// A customer who has been through Checkout; later commands use the key and the subscription's id as variables.
fn subscribe<W: Write>(
    script: &mut Script<W>,
    customer: &str,
    plan: &str,
    (key, subscription): (&'static str, &'static str),
) -> Result<(), Failed> {
    let shown = script.run(
        &format!("tests/demo/subscribe {customer} {plan}"),
        &["tg_test_"],
    )?;
    script.set(key, &shown, ("", "\n"))?;
    let found = script.run(
        &format!(
            r#"curl -s -H "$ADMIN" $TOLLGATE/v1/customers/{customer}/subscriptions | grep -oE '"id":"sub_[^"]*"'"#
        ),
        &["sub_"],
    )?;
    script.set(subscription, &found, (r#"":""#, r#"""#))
}

fn advance<W: Write>(script: &mut Script<W>, by: &str) -> Result<(), Failed> {
    let document = format!(r#"{{"advance": "{by}"}}"#);
    script
        .run(&create("sandbox/clock", &document), &[r#""now":"#])
        .map(drop)
}

fn enter_card(page: &str, number: &str) -> String {
    format!(r"curl -s -o /dev/null -w '%{{http_code}}\n' {page} -d 'cardNumber={number}'")
}

fn call(key: &str) -> String {
    format!(r#"curl -s -o /dev/null -w '%{{http_code}}\n' -H "x-api-key: ${key}" $API/v1/hello"#)
}

/// So many calls with a key, counted by status.
fn bulk_calls(key: &str, count: usize) -> String {
    format!(
        r#"for i in $(seq {count}); do curl -s -o /dev/null -w '%{{http_code}}\n' -H "x-api-key: ${key}" $API/v1/bulk; done | sort | uniq -c"#
    )
}

/// What a customer's invoices say, the newest first, a line each.
fn invoices(customer: &str) -> String {
    format!(
        r#"curl -s -H "$ADMIN" $TOLLGATE/v1/customers/{customer}/invoices | grep -oE '"(kind|status|total|description|amount|credit)":"[^"]*"|\}}\]\}}' | paste -sd' ' | sed 's/ *}}]}} */\n/g'"#
    )
}
