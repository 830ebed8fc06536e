//! The steps.

use std::io::Write;

use super::{Demo, Failed, Script, money};

/// Walks through the product's main job.
///
/// # Errors
/// With the first step whose answer was not what it should be.
pub async fn walk<W: Write>(demo: &mut Demo, script: &mut Script<W>) -> Result<(), Failed> {
    sell(script)?;
    subscribe(script)?;
    call(script)?;
    exhaust(script)?;
    move_up(script)?;
    revoke(script)?;
    survive_without_control_plane(demo, script).await?;
    survive_without_redis(demo, script)?;
    money::walk(script)
}

fn sell<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("# 1. The control plane started in an empty folder and made its first admin key.");
    script.show("TOLLGATE");
    script.show("API");
    script.show("ADMIN");
    script.say("# What is sold: two meters with their features, and four plans.");
    script.run(
        r#"for kind in meters features plans; do for file in tests/demo/$kind/*.json; do curl -s -o /dev/null -w "%{http_code} $file\n" -H "$ADMIN" $TOLLGATE/v1/$kind --json @$file; done; done"#,
        &[
            "201 tests/demo/meters/api_requests.json",
            "201 tests/demo/meters/tokens.json",
            "201 tests/demo/features/api_requests.json",
            "201 tests/demo/features/tokens.json",
            "201 tests/demo/plans/free.json",
            "201 tests/demo/plans/pro.json",
            "201 tests/demo/plans/starter.json",
            "201 tests/demo/plans/tiny.json",
        ],
    )?;
    script.run(
        r#"for plan in free tiny starter pro; do curl -s -o /dev/null -w "%{http_code} $plan\n" -X POST -H "$ADMIN" $TOLLGATE/v1/plans/$plan/publish; done"#,
        &["200 free", "200 tiny", "200 starter", "200 pro"],
    )?;
    Ok(())
}

fn subscribe<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# 2. A customer subscribes to `free` and gets an API key, shown once.");
    open_account(script, ("acme", "Acme"), "free", "KEY")
}

/// A customer, its subscription to a plan, and a key that later commands use as `variable`.
fn open_account<W: Write>(
    script: &mut Script<W>,
    (customer, name): (&str, &str),
    plan: &str,
    variable: &'static str,
) -> Result<(), Failed> {
    let document = format!(r#"{{"key": "{customer}", "name": "{name}"}}"#);
    script.run(&create("customers", &document), &[name])?;
    let document =
        format!(r#"{{"key": "{customer}-api", "customer": "{customer}", "plan": "{plan}"}}"#);
    script.run(
        &create("subscriptions", &document),
        &[r#""status":"active""#],
    )?;
    let issue =
        format!(r#"curl -s -X POST -H "$ADMIN" $TOLLGATE/v1/subscriptions/{customer}-api/keys"#);
    let key = script.run(&issue, &[r#""secret":"tg_test_"#])?;
    script.set(variable, &key, (r#""secret":""#, r#"""#))
}

fn call<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say(
        "\n# 3. Requests through Envoy: refused without a key; with one, the upstream sees who calls and not the key.",
    );
    script.run("curl -s $API/v1/hello", &[r#""code":"key_missing""#])?;
    let seen = script.run(
        r#"curl -s -H "authorization: Bearer $KEY" $API/v1/hello | grep -oE '"(authorization|x-tollgate-[a-z]*)":"[^"]*"'"#,
        &["x-tollgate-identity"],
    )?;
    if seen.contains("authorization") {
        return Err(Failed::because("the upstream does not see the key", seen));
    }
    script.run(
        r#"curl -s -o /dev/null -D - -H "authorization: Bearer $KEY" $API/v1/hello | grep -i '^ratelimit'"#,
        &["ratelimit-policy: \"api_requests\";q=1000;", "ratelimit: \"api_requests\";r=99"],
    )?;
    Ok(())
}

fn exhaust<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# A plan with a hard limit of 20: exactly 20 of 60 requests pass, over both workers of Envoy.");
    open_account(script, ("bolt", "Bolt"), "tiny", "BOLT")?;
    script.run(
        r#"for i in $(seq 60); do curl -s -o /dev/null -w '%{http_code}\n' -H "x-api-key: $BOLT" $API/v1/hello; sleep 0.1; done | sort | uniq -c"#,
        &["20 200", "40 403"],
    )?;
    script.run(
        r#"curl -s -H "x-api-key: $BOLT" $API/v1/hello"#,
        &[r#""code":"quota_exceeded""#, r#""limit":"20""#],
    )?;
    script.run_until(&usage("bolt-api"), &[r#""used":"20""#])?;
    Ok(())
}

fn move_up<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# A plan that allows more works at once; what was used is carried over.");
    script.run(
        &create(
            "subscriptions/bolt-api/change",
            r#"{"plan": "free", "key": "bolt-free"}"#,
        ),
        &[r#""plan":"free""#],
    )?;
    script.run_until(
        r#"curl -s -o /dev/null -w '%{http_code}\n' -H "x-api-key: $BOLT" $API/v1/hello"#,
        &["200"],
    )?;
    script.run_until(&usage("bolt-free"), &[r#""used":"21""#])?;
    Ok(())
}

fn revoke<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# A revoked key is refused within a second.");
    let keys = script.run(
        r#"curl -s -H "$ADMIN" $TOLLGATE/v1/subscriptions/bolt-free/keys"#,
        &[r#""id":"key_"#],
    )?;
    script.set("BOLT_ID", &keys, (r#""id":""#, r#"""#))?;
    script.run(
        r#"curl -s -o /dev/null -w '%{http_code}\n' -X POST -H "$ADMIN" $TOLLGATE/v1/keys/$BOLT_ID/revoke; sleep 1"#,
        &["200"],
    )?;
    script.run(
        r#"curl -s -H "x-api-key: $BOLT" $API/v1/hello"#,
        &[r#""code":"key_revoked""#],
    )?;
    Ok(())
}

async fn survive_without_control_plane<W: Write>(
    demo: &mut Demo,
    script: &mut Script<W>,
) -> Result<(), Failed> {
    script.say("\n# 4. The control plane is killed: requests go on. Started again, it has lost nothing and counts nothing twice.");
    script.run_until(&usage("acme-api"), &[r#""used":"2""#])?;
    script.run("kill -9 $CONTROL_PLANE_PID", &[])?;
    script.run(
        r#"for i in $(seq 30); do curl -s -o /dev/null -w '%{http_code}\n' -H "x-api-key: $KEY" $API/v1/hello; done | sort | uniq -c"#,
        &["30 200"],
    )?;
    script.by_hand("tollgate serve &");
    let pid = demo.restart_control_plane().await;
    script.assign("CONTROL_PLANE_PID", pid.to_string());
    script.run_until(&usage("acme-api"), &[r#""used":"32""#])?;
    Ok(())
}

fn survive_without_redis<W: Write>(demo: &mut Demo, script: &mut Script<W>) -> Result<(), Failed> {
    if !demo.owns_redis() {
        script.say("\n# Redis is yours (REDIS_URL), so it is not killed here.");
        return Ok(());
    }
    script.say(
        "\n# Redis is killed and started empty: keys, limits and usage come back from the ledger.",
    );
    script.run("kill -9 $REDIS_PID", &[])?;
    script.by_hand("redis-server &");
    demo.restart_redis();
    script.run_until(
        r#"curl -s -o /dev/null -w '%{http_code}\n' -H "x-api-key: $KEY" $API/v1/hello"#,
        &["200"],
    )?;
    script.run(
        r#"curl -s -H "x-api-key: $BOLT" $API/v1/hello"#,
        &[r#""code":"key_revoked""#],
    )?;
    script.run_until(&usage("acme-api"), &[r#""used":"33""#])?;
    Ok(())
}

/// The command that posts a document.
pub(super) fn create(path: &str, document: &str) -> String {
    format!(r#"curl -s -H "$ADMIN" $TOLLGATE/v1/{path} --json '{document}'"#)
}

pub(super) fn usage(subscription: &str) -> String {
    format!(r#"curl -s -H "$ADMIN" $TOLLGATE/v1/subscriptions/{subscription}/usage"#)
}
