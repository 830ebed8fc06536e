//! Documents and the log of their changes.

use tollgate_engine::contract::Script;
use tollgate_tests::publish::CHANGES_KEPT;

use crate::on_both;
use crate::world::World;

on_both! {
    an_older_version_never_replaces_a_newer_one
    fields_of_the_older_version_are_removed
    workers_read_the_changes_after_their_position
    the_log_keeps_the_last_changes
}

fn an_older_version_never_replaces_a_newer_one(world: &mut World) {
    let newer = world.document(3, &["now 1 -3600..3600 limit 20"]);
    let older = world.document(2, &["now 1 -3600..3600 limit 99"]);
    assert_eq!(world.publish_document(&newer), ":1");
    assert_eq!(world.publish_document(&older), ":0");
    assert_eq!(world.publish_document(&newer), ":0");
    world.check(&[("a 1 v3 w0/0", "ok 1, now +0 left 20 others 0 used 0")]);
    let access = world.names.access(world.tag, &world.chain);
    assert_eq!(world.command(&["HGET", &access, "version"]), "3");
    assert_eq!(world.publish_key(1), ":2");
    assert_eq!(world.publish_key(1), ":0");
    assert_eq!(world.publish_key(10), ":3");
    assert_eq!(world.publish_key(9), ":0");
}

fn fields_of_the_older_version_are_removed(world: &mut World) {
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.publish(&[]);
    let access = world.names.access(world.tag, &world.chain);
    assert_eq!(world.command(&["HLEN", &access]), ":2");
    world.check(&[("a 1 w1/1", "ok 1")]);
}

fn workers_read_the_changes_after_their_position(world: &mut World) {
    assert_eq!(world.enter(None), "g1 last 0 []");
    assert_eq!(world.enter(Some(0)), "g1 last 0 []");
    world.publish(&["now 1 -3600..3600 limit 20"]);
    world.publish_key(7);
    world.publish(&["now 1 -3600..3600 limit 21"]);
    assert_eq!(world.enter(None), "g1 last 3 []");
    assert_eq!(world.enter(Some(0)), "g1 last 3 [1, 2, 3]");
    assert_eq!(world.enter(Some(2)), "g1 last 3 [3]");
    assert_eq!(world.enter(Some(3)), "g1 last 3 []");
    // A log that went back answers with a last number below the position.
    assert_eq!(world.enter(Some(9)), "g1 last 3 []");
    let first = world.changes(0)[0].clone();
    assert_eq!(first, format!("1 chain {} 1", world.chain));
    assert!(world.changes(1)[0].starts_with("2 key "));
    assert!(world.changes(1)[0].ends_with(" 7"));
}

fn the_log_keeps_the_last_changes(world: &mut World) {
    let keys = [world.names.store(), world.names.changes()];
    let record = world.names.access(world.tag, "other");
    let count = 3 * CHANGES_KEPT;
    for version in 1..=count {
        let version = version.to_string();
        let most = CHANGES_KEPT.to_string();
        world.script(
            Script::Publish,
            &[&keys[0], &keys[1], &record],
            &["s", "other", &version, &most, "doc", "{}"],
        );
    }
    let kept: usize = world.command(&["XLEN", &keys[1]])[1..].parse().unwrap();
    assert!((CHANGES_KEPT..2 * CHANGES_KEPT).contains(&kept), "{kept}");
    // Who is further behind sees that numbers are missing after its own.
    let changes = world.changes(5);
    assert_eq!(changes.len(), kept);
    assert_eq!(changes[0], format!("{} chain other {0}", count - kept + 1));
    assert_eq!(changes[kept - 1], format!("{count} chain other {count}"));
}
