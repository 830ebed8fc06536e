//! The users of `envoy/redis/users.acl`: each can do its part, and the filter's nothing more (E10).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use tollgate_engine::api_key::KeyHash;
use tollgate_engine::contract::call::{
    self, BatchHeader, Entry, LostLeases, Order, RateAsk, Subject, Writer,
};
use tollgate_engine::contract::{KeyDocument, Names, Script};
use tollgate_engine::resp::{Replies, Reply};
use tollgate_tests::process::repository;
use tollgate_tests::redis::{RedisOptions, RedisServer};
use tollgate_tests::store::request;

const FILTER: (&str, &str) = ("tollgate-filter", "change-this-password-of-the-filter");
const CONTROL_PLANE: (&str, &str) = ("tollgate", "change-this-password-of-the-control-plane");

fn start() -> RedisServer {
    RedisServer::start(RedisOptions {
        acl_file: Some(repository().join("envoy/redis/users.acl")),
        ..RedisOptions::default()
    })
}

/// Authenticates, runs the commands, and answers what each is answered: `ok`, or the kind of the error.
fn outcomes(redis: &RedisServer, user: (&str, &str), commands: &[Vec<u8>]) -> Vec<String> {
    let mut bytes = Vec::new();
    call::authenticate(&mut bytes, Some(user.0), user.1);
    for command in commands {
        bytes.extend(command);
    }
    let answer = redis.exchange(&bytes);
    let kind = |reply: Reply<'_>| match reply.error_kind() {
        Some(kind) => String::from_utf8_lossy(kind).into_owned(),
        None => "ok".to_owned(),
    };
    let mut replies = Replies::new(&answer).map(|reply| kind(reply.unwrap()));
    assert_eq!(replies.next().as_deref(), Some("ok"), "the user can log in");
    replies.collect()
}

/// What the control plane does to open a store with one key.
fn opened(names: &Names, hash: &KeyHash) -> Vec<Vec<u8>> {
    let tag = "Ab3z".parse().unwrap();
    let document = KeyDocument {
        id: "key_1".to_owned(),
        chain: "sub_1".to_owned(),
        tag,
        subject: None,
        expires_at_ms: None,
        revoked_at_ms: None,
        bypass: false,
    };
    let mut commands: Vec<_> = Script::ALL
        .iter()
        .map(|script| request(&["SCRIPT", "LOAD", script.text()]))
        .collect();
    commands.push(request(&["HSET", &names.store(), "generation", "1"]));
    let (key, publish) = (names.key(tag, hash), Script::Publish.sha1());
    let (store, changes, id) = (names.store(), names.changes(), hash.to_string());
    let mut words = vec![
        "EVALSHA", &publish, "3", &store, &changes, &key, "k", &id, "1", "100",
    ];
    let fields = document.fields();
    for (field, value) in &fields {
        words.extend([field.as_str(), value.as_str()]);
    }
    commands.push(request(&words));
    let (open, guard) = (Script::Open.sha1(), names.guard());
    commands.push(request(&["EVALSHA", &open, "2", &store, &guard, "1", "0"]));
    commands
}

/// A worker's call: it opens, looks the key up, and settles.
fn worker_call(names: &Names, hash: &KeyHash) -> Vec<u8> {
    let writer = Writer::new(names.clone(), LostLeases::Return, 5_000);
    let tag = "Ab3z".parse().unwrap();
    let mut bytes = Vec::new();
    writer.enter(&mut bytes, Some(0));
    let header = |sequence| BatchHeader {
        worker: "worker",
        sequence,
        version: 0,
        order: Order::Next,
    };
    let wanted = Entry::Wanted {
        meter: "calls",
        window: "",
        least: 1_000,
        need: 1_000,
        want: 0,
    };
    writer.settle(
        &mut bytes,
        &Subject::Key { tag, hash },
        &header(1),
        [wanted],
    );
    let consumed = Entry::Consumed {
        window: "1/calls/0",
        hour: 1,
        key: "key_1",
        milli: 1_000,
        funding: call::Funding::Leased,
    };
    let chain = Subject::Chain {
        tag,
        chain: "sub_1",
    };
    writer.settle(&mut bytes, &chain, &header(2), [consumed]);
    let ask = RateAsk {
        held: 0,
        least: 1,
        need: 1,
        want: 0,
    };
    writer.rate(&mut bytes, &chain, ("worker", 1), "requests", ask);
    writer.key(&mut bytes, tag, hash);
    bytes
}

#[test]
fn the_filters_user_can_do_its_part_and_nothing_else() {
    let redis = start();
    let names = Names::new("tg:test:");
    let hash = KeyHash::of("a key");
    let opened = outcomes(&redis, CONTROL_PLANE, &opened(&names, &hash));
    assert!(opened.iter().all(|outcome| outcome == "ok"), "{opened:?}");

    let called = outcomes(&redis, FILTER, &[worker_call(&names, &hash)]);
    assert_eq!(called, ["ok", "ok", "ok", "ok", "ok"]);

    let tag = "Ab3z".parse().unwrap();
    let (key, access) = (names.key(tag, &hash), names.access(tag, "sub_1"));
    let (store, changes) = (names.store(), names.changes());
    let publish = Script::Publish.sha1();
    let refused: Vec<Vec<u8>> = [
        vec!["HSET", &key, "doc", "{}"],
        vec!["HSET", &access, "doc", "{}"],
        vec!["HDEL", &access, "doc"],
        vec!["HSET", &store, "offset", "1"],
        vec!["XADD", &changes, "*", "a", "b"],
        vec![
            "EVALSHA", &publish, "3", &store, &changes, &key, "k", "id", "9", "100", "doc", "{}",
        ],
        vec!["DEL", &key],
        vec!["GET", "tg:test:anything"],
        vec!["HGETALL", &key],
        vec!["KEYS", "*"],
        vec!["SCAN", "0"],
        vec!["FLUSHALL"],
        vec!["CONFIG", "GET", "*"],
        vec!["ACL", "LIST"],
        vec!["SCRIPT", "FLUSH"],
        vec!["HGET", "other:key", "field"],
    ]
    .iter()
    .map(|words| request(words))
    .collect();
    let outcomes = outcomes(&redis, FILTER, &refused);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome == "NOPERM" || outcome == "ERR"),
        "{outcomes:?}"
    );
    let unchanged = redis.exchange(
        &[
            {
                let mut bytes = Vec::new();
                call::authenticate(&mut bytes, Some(CONTROL_PLANE.0), CONTROL_PLANE.1);
                bytes
            },
            request(&["HGET", &key, "version"]),
        ]
        .concat(),
    );
    assert_eq!(unchanged, b"+OK\r\n$1\r\n1\r\n");
}

#[test]
fn nobody_else_gets_in() {
    let redis = start();
    assert!(
        redis
            .exchange(b"*1\r\n$4\r\nPING\r\n")
            .starts_with(b"-NOAUTH")
    );
}
