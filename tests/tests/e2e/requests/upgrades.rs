//! Upgrades and tunnels: metered when they are accepted, however long they last.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_tests::envoy::{Envoy, Upgrades};
use tollgate_tests::scripted::{Piece, Scripted};

use super::METER;
use crate::customer::{Customer, Quota};
use crate::world::{World, alone, hasten};

struct Scene {
    upstream: Scripted,
    world: World,
    envoy: Envoy,
}

impl Scene {
    async fn set() -> Self {
        let (world, upstream) = (World::open(), Scripted::start());
        let mut options = world.options();
        options.upstream = upstream.address();
        options.upgrades = Upgrades::Allowed;
        options.concurrency = 1;
        hasten(&mut options.policy);
        options.policy["rules"] = json!([
            {"match": {"pathPrefix": "/", "methods": ["CONNECT"]}, "meters": {"api_requests": 2}},
            {"match": {"pathPrefix": "/"}, "meters": {"api_requests": 1}},
        ]);
        let envoy = Envoy::start(options).await;
        Self {
            upstream,
            world,
            envoy,
        }
    }

    /// A connection with a request on it, and the head of the answer.
    async fn ask(&self, line: &str, lines: &[&str], customer: &Customer) -> (TcpStream, String) {
        let address = self.envoy.url().replace("http://", "");
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let key = format!("x-api-key: {}", customer.key);
        let request = [&[line, "host: example.com:80", &key], lines].concat();
        let request = request.join("\r\n") + "\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(head).unwrap())
    }

    async fn switch(&self, customer: &Customer) -> (TcpStream, String) {
        let lines = ["connection: upgrade", "upgrade: websocket"];
        self.ask("GET /live HTTP/1.1", &lines, customer).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_metered_when_it_is_accepted() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let pieces = [
        Piece::text(head),
        Piece::text("hello"),
        Piece::Pause(std::time::Duration::from_secs(3)),
    ];
    scene.upstream.perform(pieces.to_vec());
    let customer = scene.world.customer(&[(METER, Quota::Hard(1))]);
    let (mut socket, head) = scene.switch(&customer).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let mut greeting = [0; 5];
    socket.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");
    // It is still open.
    scene.world.wait_until_consumed(&customer, 1).await;
    let (_, refused) = scene.switch(&customer).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");

    scene.upstream.perform(vec![Piece::text(
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    )]);
    let customer = scene.world.customer(&[(METER, Quota::Hard(1))]);
    for _ in 0..3 {
        let (_, head) = scene.switch(&customer).await;
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    }
    scene.world.wait_until_consumed(&customer, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_metered_when_it_is_accepted() {
    let _alone = alone().await;
    let mut scene = Scene::set().await;
    let pieces = [
        Piece::text("hello"),
        Piece::Pause(std::time::Duration::from_secs(3)),
    ];
    scene.upstream.perform(pieces.to_vec());
    let customer = scene.world.customer(&[(METER, Quota::Hard(3))]);
    let connect = "CONNECT example.com:80 HTTP/1.1";
    let (mut tunnel, head) = scene.ask(connect, &[], &customer).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // The upstream waits for something like a request.
    tunnel.write_all(b"hi\r\n\r\n").await.unwrap();
    let mut greeting = [0; 5];
    tunnel.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello");
    scene.world.wait_until_consumed(&customer, 2).await;
    let (_, refused) = scene.ask(connect, &[], &customer).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let nobody = scene.world.stranger();
    let (_, refused) = scene.ask(connect, &[], &nobody).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
}
