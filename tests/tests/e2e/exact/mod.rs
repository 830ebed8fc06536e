//! Units that Redis counts before a request goes on: the limit holds, and a gateway that dies loses nothing that a client
//! saw complete (E1, E3, E5 in `exact` mode).

mod grpc;
mod rates;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;
use tollgate_tests::envoy::{Envoy, EnvoyOptions};
use tollgate_tests::http::Connections;
use tollgate_tests::proxy::{Fate, Proxy};
use tollgate_tests::scripted::{Piece, Scripted};
use tollgate_tests::wait;

use crate::customer::{Customer, Quota};
use crate::load::{Load, Seen};
use crate::shop::Shop;
use crate::world::{TIMEOUT_MS, World, alone};

const CLIENTS: u32 = 6;

fn exact(mut options: EnvoyOptions) -> EnvoyOptions {
    options.policy["metering"]["mode"] = "exact".into();
    options
}

async fn stat(envoy: &Envoy, name: &str) -> u64 {
    let stats = envoy.stats(&format!("tollgate.{name}$")).await;
    stats.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_let_exactly_the_limit_through() {
    const LIMIT: u64 = 500;
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Hard(LIMIT)).await;
    let subscriber = shop.subscribe("plan").await;
    let options = exact(shop.options());
    let envoys = [
        Envoy::start(options.clone()).await,
        Envoy::start(options).await,
    ];
    let load = Load::start(&envoys, CLIENTS, "/", subscriber.key());
    wait::until("demand for more than the limit", async || {
        let sent = load.sent();
        if sent > LIMIT + 200 {
            Ok(())
        } else {
            Err(sent)
        }
    })
    .await;
    let seen = load.stop().await;
    seen.assert_only(&["200", "403 quota_exceeded"]);
    assert_eq!(
        (seen.allowed(), shop.upstream.requests()),
        (LIMIT, LIMIT),
        "{seen}"
    );
    shop.wait_until_used(&subscriber.subscription, LIMIT).await;
    let counters = subscriber.customer.counters(&shop.redis);
    assert_eq!((counters.consumed(), counters.leased()), (500.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_gateways_lose_nothing_that_a_client_saw() {
    const KILLS: u64 = 3;
    let _alone = alone().await;
    let mut shop = Shop::open().await;
    shop.sell("plan", Quota::Soft(100)).await;
    let subscriber = shop.subscribe("plan").await;
    let mut doomed = Envoy::start(exact(shop.options())).await;
    let mut seen = Seen::default();
    for _ in 0..KILLS {
        let load = Load::start([&doomed], CLIENTS, "/", subscriber.key());
        sleep(Duration::from_millis(1_200)).await;
        doomed.kill();
        seen.add(load.stop().await);
        doomed.restart().await;
    }
    let counted = subscriber.customer.counters(&shop.redis).consumed() as u64;
    let (reached, under_way) = (shop.upstream.requests(), KILLS * u64::from(CLIENTS));
    println!(
        "{} seen complete, {reached} reached the upstream, {counted} counted: {seen}",
        seen.allowed()
    );
    assert!(seen.allowed() <= counted && reached <= counted, "lost");
    assert!(counted <= seen.allowed() + under_way, "counted twice");
    // What the dead had claimed is recorded for them.
    shop.wait_until_used(&subscriber.subscription, counted)
        .await;
}

/// A gateway of short times beyond a network that can be disturbed.
struct Scene {
    world: World,
    proxy: Proxy,
    envoy: Envoy,
}

impl Scene {
    async fn set() -> Self {
        Self::set_with(|_, _| {}).await
    }

    async fn set_with(change: impl FnOnce(&World, &mut EnvoyOptions)) -> Self {
        let world = World::open();
        let proxy = Proxy::start(world.redis.address());
        let mut options = exact(world.hasty_options(&proxy));
        options.policy["redis"]["maxCallsPerSecond"] = 100.into();
        change(&world, &mut options);
        let envoy = Envoy::start(options).await;
        Self {
            world,
            proxy,
            envoy,
        }
    }

    fn load(&self, customer: &Customer) -> Load {
        Load::start([&self.envoy], CLIENTS, "/", &customer.key)
    }

    /// Waits until what the upstream answered is counted, and nothing that was refused meanwhile any more.
    async fn wait_until_counted(&self, customers: &[&Customer]) {
        let metered = self.world.upstream.requests();
        self.wait_until_units(customers, metered).await;
    }

    async fn wait_until_units(&self, customers: &[&Customer], units: u64) {
        wait::until("every unit to count once", async || {
            let of = |customer: &&Customer| customer.counters(&self.world.redis).consumed();
            let counted: f64 = customers.iter().map(of).sum();
            let is_right = counted == units as f64;
            is_right
                .then_some(())
                .ok_or_else(|| format!("{counted} of {units}"))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_metered_gives_its_units_back() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let customer = scene.world.customer(&[("api_requests", Quota::Hard(10))]);
    scene.world.upstream.set_status(500);
    let client = scene.envoy.client(Connections::Kept);
    for _ in 0..30 {
        let answer = client.get_with_key("/", &customer.key).await.unwrap();
        assert_eq!(answer.status, 500, "{answer}");
    }
    scene.wait_until_units(&[&customer], 0).await;
    scene.world.upstream.set_status(200);
    let seen = scene.load(&customer).for_ms(500).await;
    seen.assert_only(&["200", "403 quota_exceeded"]);
    assert_eq!(seen.allowed(), 10, "{seen}");
    scene.world.wait_until_consumed(&customer, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bad_network_every_unit_counts_once() {
    const LIMIT: u64 = 300;
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let limited = scene
        .world
        .customer(&[("api_requests", Quota::Hard(LIMIT))]);
    scene.load(&limited).for_ms(200).await;
    let misfortunes = [
        Fate::Arrives,
        Fate::Arrives,
        Fate::RequestLost,
        Fate::AnswerLost,
        Fate::AnswerLate(Duration::from_millis(TIMEOUT_MS + 100)),
        Fate::AnswerShort,
        Fate::Repeated(Duration::from_millis(500)),
    ];
    for _ in 0..2 {
        scene.proxy.treat(&misfortunes);
        let seen = scene.load(&limited).for_ms(1_500).await;
        scene.proxy.heal();
        println!("{seen}; {} calls disturbed", scene.proxy.disturbed());
        seen.assert_only(&["200", "403 quota_exceeded", "503 store_unavailable"]);
        scene.wait_until_counted(&[&limited]).await;
    }
    wait::until("the whole limit to be used", async || {
        scene.load(&limited).for_ms(300).await;
        let used = scene.world.upstream.requests();
        assert!(used <= LIMIT, "{used} requests reached the upstream");
        if used == LIMIT { Ok(()) } else { Err(used) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_known_keys_go_on_uncounted_and_are_told_of_later() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let soft = scene.world.customer(&[("api_requests", Quota::Soft(10))]);
    let hard = scene
        .world
        .customer(&[("api_requests", Quota::Hard(1_000))]);
    for customer in [&soft, &hard] {
        scene.load(customer).for_ms(300).await.assert_only(&["200"]);
    }
    assert_eq!(stat(&scene.envoy, "exact_degraded").await, 0);
    scene.world.redis.pause();
    let (of_soft, of_hard) = tokio::join!(
        scene.load(&soft).for_ms(1_500),
        scene.load(&hard).for_ms(1_500)
    );
    scene.world.redis.resume();
    println!("soft {of_soft}; hard {of_hard}");
    of_hard.assert_only(&["503 store_unavailable"]);
    assert!(of_soft.allowed() > 50, "{of_soft}");
    scene.wait_until_counted(&[&soft, &hard]).await;
    wait::until("what went on uncounted to be told", async || {
        let degraded = stat(&scene.envoy, "exact_degraded").await;
        let is_told = degraded >= of_soft.allowed();
        is_told.then_some(()).ok_or(degraded)
    })
    .await;
}

/// A scene before an upstream that answers as it is told, with a rule whose responses tell what they cost.
async fn telling(costs: Value) -> (Scene, Scripted, Customer) {
    let upstream = Scripted::start();
    let address = upstream.address();
    let mut scene = Scene::set_with(|_, options| {
        options.upstream = address;
        options.concurrency = 1;
        options.policy["redis"]["timeoutMs"] = 400.into();
        let mut rule = json!({"match": {"pathPrefix": "/"}, "meters": {"tokens": 0}});
        for (name, value) in costs.as_object().unwrap() {
            rule[name] = value.clone();
        }
        options.policy["rules"] = json!([rule]);
    })
    .await;
    let customer = scene.world.customer(&[("tokens", Quota::Soft(1_000))]);
    (scene, upstream, customer)
}

/// When which bytes of the answer to one request came, its connection closed after it.
async fn ask(scene: &Scene, customer: &Customer) -> Vec<(Duration, String)> {
    let address = scene.envoy.url().replace("http://", "");
    let head = format!(
        "GET / HTTP/1.1\r\nhost: api\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        customer.key
    );
    let reading = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let (start, mut pieces, mut buffer) = (Instant::now(), Vec::new(), [0; 65_536]);
        loop {
            let size = stream.read(&mut buffer).unwrap();
            if size == 0 {
                return pieces;
            }
            let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
            pieces.push((start.elapsed(), text));
        }
    });
    reading.await.unwrap()
}

fn came(pieces: &[(Duration, String)], text: &str) -> Duration {
    let mut all = String::new();
    for (at, piece) in pieces {
        all.push_str(piece);
        if all.contains(text) {
            return *at;
        }
    }
    panic!("no {text} in {all}");
}

const GAP: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_piece_behind_and_its_end_waits_for_redis() {
    let _alone = alone().await;
    let costs = json!({"meterFrom": {"tokens": {"jsonPointer": "/n"}}});
    let (scene, upstream, customer) = telling(costs).await;
    let event = |number: u32| format!("data: {{\"n\":{number}}}\n\n");
    let chunk = |text: &str| Piece::text(&format!("{:x}\r\n{text}\r\n", text.len()));
    let pause = Piece::Pause(GAP);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let stream = vec![
        Piece::text(head),
        chunk(&event(5)),
        pause.clone(),
        chunk(&event(6)),
        pause,
        chunk(&event(7)),
        Piece::text("0\r\n\r\n"),
    ];
    upstream.perform(stream);
    let pieces = ask(&scene, &customer).await;
    let [first, second, last] = [5, 6, 7].map(|number| came(&pieces, &event(number)));
    assert!(first >= GAP && second >= 2 * GAP, "{pieces:?}");
    assert!(
        first < second && last < 2 * GAP + Duration::from_millis(250),
        "{pieces:?}"
    );
    assert_eq!(customer.counters(&scene.world.redis).consumed(), 7.0);

    // Redis hears of the request before it goes on, and is not heard at its end.
    let disturb = async {
        sleep(GAP + GAP / 2).await;
        scene.proxy.treat(&[Fate::AnswerLost]);
    };
    let (pieces, ()) = tokio::join!(ask(&scene, &customer), disturb);
    let last = came(&pieces, &event(7));
    assert!(last >= 2 * GAP + Duration::from_millis(300), "{pieces:?}");
    wait::until("the late answer to be told", async || {
        let degraded = stat(&scene.envoy, "exact_degraded").await;
        if degraded == 1 { Ok(()) } else { Err(degraded) }
    })
    .await;
    scene.proxy.heal();
    scene.world.wait_until_consumed(&customer, 14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_known_length_and_a_cost_in_headers_wait_for_redis_too() {
    let _alone = alone().await;
    let costs = json!({"meterFrom": {"tokens": {"sum": [{"jsonPointer": "/n"}, {"header": "x-cost"}]}},
        "reserve": {"tokens": 3}});
    let (scene, upstream, customer) = telling(costs).await;
    upstream.answer(
        &["content-type: application/json", "x-cost: 2"],
        r#"{"n": 5}"#,
    );
    for round in 1..=5 {
        let pieces = ask(&scene, &customer).await;
        came(&pieces, r#"{"n": 5}"#);
        let counted = customer.counters(&scene.world.redis).consumed();
        assert_eq!(counted, 7.0 * f64::from(round), "{pieces:?}");
    }
    let costs = json!({"upstreamMeters": ["tokens"]});
    let (scene, upstream, customer) = telling(costs).await;
    upstream.answer(&["x-tollgate-meters: tokens=4"], "{}");
    for round in 1..=5 {
        let pieces = ask(&scene, &customer).await;
        came(&pieces, "{}");
        let counted = customer.counters(&scene.world.redis).consumed();
        assert_eq!(counted, 4.0 * f64::from(round), "{pieces:?}");
    }
}
