//! The steps.

use std::io::Write;

use super::{Demo, Failed, Script};

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
    survive_without_redis(demo, script)
}

fn sell<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("# 1. What is sold: two meters with their features, and two plans.");
    for document in [
        r#"meters -d '{"slug": "api_requests", "name": "API requests", "eventType": "request", "aggregation": "SUM", "valueProperty": "$.units"}'"#,
        r#"meters -d '{"slug": "tokens", "name": "Tokens", "eventType": "request", "aggregation": "SUM", "valueProperty": "$.tokens"}'"#,
        r#"features -d '{"key": "api_requests", "name": "API requests", "meterSlug": "api_requests"}'"#,
        r#"features -d '{"key": "tokens", "name": "Tokens", "meterSlug": "tokens"}'"#,
        "plans -d @tests/demo/plan-free.json",
        "plans -d @tests/demo/plan-tiny.json",
    ] {
        script.run(&created(document), &["201"])?;
    }
    for plan in ["free", "tiny"] {
        let publish = format!(
            r#"curl -s -o /dev/null -w '%{{http_code}}\n' -X POST -H "$ADMIN" $TOLLGATE/v1/plans/{plan}/publish"#
        );
        script.run(&publish, &["200"])?;
    }
    Ok(())
}

fn subscribe<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# 2. A customer subscribes to `free` and gets an API key, shown once.");
    script.run(
        r#"curl -s -H "$ADMIN" -H 'content-type: application/json' $TOLLGATE/v1/customers -d '{"key": "acme", "name": "Acme"}'"#,
        &[r#""key":"acme""#],
    )?;
    script.run(
        r#"curl -s -H "$ADMIN" -H 'content-type: application/json' $TOLLGATE/v1/subscriptions -d '{"key": "acme-api", "customer": "acme", "plan": "free"}'"#,
        &[r#""status":"active""#],
    )?;
    let key = script.run(&issue("acme-api"), &[r#""secret":"tg_test_"#])?;
    script.set("KEY", &key, (r#""secret":""#, r#"""#))
}

fn call<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# 3. Requests through Envoy: refused without a key; with one, the upstream sees who calls and not the key.");
    script.run("curl -s $API/v1/hello", &[r#""code":"key_missing""#])?;
    let seen = script.run(
        r#"curl -s -H "authorization: Bearer $KEY" $API/v1/hello"#,
        &["x-tollgate-identity"],
    )?;
    if seen.contains("tg_test_") {
        return Err(Failed::because("the upstream does not see the key", seen));
    }
    script.run(
        r#"curl -s -o /dev/null -D - -H "authorization: Bearer $KEY" $API/v1/hello | grep -i '^ratelimit'"#,
        &["r=998"],
    )?;
    Ok(())
}

fn exhaust<W: Write>(script: &mut Script<W>) -> Result<(), Failed> {
    script.say("\n# A plan with a hard limit of 20: exactly 20 of 60 requests pass, over both workers of Envoy.");
    script.run(
        r#"curl -s -o /dev/null -w '%{http_code}\n' -H "$ADMIN" -H 'content-type: application/json' $TOLLGATE/v1/customers -d '{"key": "bolt", "name": "Bolt"}'"#,
        &["201"],
    )?;
    script.run(
        r#"curl -s -o /dev/null -w '%{http_code}\n' -H "$ADMIN" -H 'content-type: application/json' $TOLLGATE/v1/subscriptions -d '{"key": "bolt-api", "customer": "bolt", "plan": "tiny"}'"#,
        &["201"],
    )?;
    let key = script.run(&issue("bolt-api"), &[r#""secret":"tg_test_"#])?;
    script.set("BOLT", &key, (r#""secret":""#, r#"""#))?;
    let counted = script.run(
        r#"for i in $(seq 60); do curl -s -o /dev/null -w '%{http_code}\n' -H "x-api-key: $BOLT" $API/v1/hello; sleep 0.1; done | sort | uniq -c"#,
        &["20 200", "40 403"],
    )?;
    drop(counted);
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
        r#"curl -s -H "$ADMIN" -H 'content-type: application/json' $TOLLGATE/v1/subscriptions/bolt-api/change -d '{"plan": "free", "key": "bolt-free"}'"#,
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
        r#"curl -s -o /dev/null -D - -H "x-api-key: $KEY" $API/v1/hello | grep -i '^ratelimit:'"#,
        &["r=967"],
    )?;
    script.run(
        r#"curl -s -H "x-api-key: $BOLT" $API/v1/hello"#,
        &[r#""code":"key_revoked""#],
    )?;
    script.run_until(&usage("acme-api"), &[r#""used":"33""#])?;
    Ok(())
}

/// The command that makes something, answered by its status.
fn created(document: &str) -> String {
    format!(
        r#"curl -s -o /dev/null -w '%{{http_code}}\n' -H "$ADMIN" -H 'content-type: application/json' $TOLLGATE/v1/{document}"#
    )
}

fn issue(subscription: &str) -> String {
    format!(r#"curl -s -X POST -H "$ADMIN" $TOLLGATE/v1/subscriptions/{subscription}/keys"#)
}

fn usage(subscription: &str) -> String {
    format!(r#"curl -s -H "$ADMIN" $TOLLGATE/v1/subscriptions/{subscription}/usage"#)
}
