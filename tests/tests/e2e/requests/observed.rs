//! What an operator sees: metrics by labels, and decisions in the access log.

use tollgate_tests::envoy::AccessLog;
use tollgate_tests::wait;

use super::Scene;
use crate::world::alone;

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_decisions_units_calls_and_what_is_cached() {
    let _alone = alone().await;
    let scene = Scene::set_with(|options| options.concurrency = 1).await;
    for _ in 0..3 {
        assert_eq!(scene.get("/", &scene.customer).await.status, 200);
    }
    for target in ["/", "/healthz", "/healthz"] {
        scene.client.get(target).await.unwrap();
    }
    wait::until("the metrics", async || {
        let answer = scene.envoy.admin().get("/stats/prometheus").await.unwrap();
        let has = |series: &str, value: &str| {
            answer.body.lines().any(|line| {
                let labels: Vec<_> = series.split(' ').collect();
                labels.iter().all(|label| line.contains(label)) && line.ends_with(value)
            })
        };
        let missing: Vec<_> = [
            (r#"tollgate_decisions{ code="admitted" rule="1""#, " 3"),
            (r#"tollgate_decisions{ code="key_missing" rule="1""#, " 1"),
            (r#"tollgate_decisions{ code="passed" rule="0""#, " 2"),
            (r#"tollgate_milli_units{ meter="api_requests""#, " 3000"),
            (r#"tollgate_calls{ outcome="ok""#, ""),
            ("tollgate_key_lookups{", " 1"),
            ("tollgate_cached_keys{", " 1"),
            ("tollgate_stores_away{", " 0"),
            ("tollgate_settle_lag_ms_count{", ""),
            ("tollgate_batches_per_call_count{", ""),
        ]
        .into_iter()
        .filter(|(series, value)| !has(series, value))
        .collect();
        let ours = answer
            .body
            .lines()
            .filter(|line| line.contains("tollgate_") && !line.contains("_bucket"));
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("{missing:?} among {:#?}", ours.collect::<Vec<_>>()))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_tells_decision_and_identity() {
    let _alone = alone().await;
    let scene = Scene::set_with(|options| options.access_log = AccessLog::Reference).await;
    scene.get("/let-in", &scene.customer).await;
    scene.client.get("/left-out").await.unwrap();
    wait::until("the access log", async || {
        let log = scene.envoy.log();
        let line = |path: &str| {
            log.lines()
                .find(|line| line.contains(path))
                .unwrap_or_default()
                .to_owned()
        };
        let told = line("/let-in").contains("customer=cus_of_sub_1")
            && line("/left-out").contains("decision=tollgate_key_missing");
        assert!(!log.contains(&scene.customer.key));
        if told { Ok(()) } else { Err(log) }
    })
    .await;
}
