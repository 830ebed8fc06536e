//! What the README shows is what comes out.

use std::fs;
use std::process::Command;

use tollgate_tests::process::repository;

use crate::world::alone;

#[tokio::test]
async fn the_walk_prints_what_the_readme_shows() {
    let _alone = alone().await;
    let walk = Command::new(env!("CARGO_BIN_EXE_tollgate-walkthrough"))
        .arg("--once")
        .env_remove("REDIS_URL")
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    let printed = String::from_utf8(walk.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&walk.stderr);
    assert!(walk.status.success(), "{printed}\n{complaints}");
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let shown = readme
        .split_once("<!-- walkthrough -->\n```\n")
        .and_then(|(_, rest)| rest.split_once("\n```"));
    let (shown, _) = shown.expect("the README has the walk's output");
    let (shown, printed): (Vec<_>, Vec<_>) = (
        shown.trim_end().lines().collect(),
        printed.trim_end().lines().collect(),
    );
    for (number, (shown, printed)) in shown.iter().zip(&printed).enumerate() {
        assert_eq!(shown, printed, "line {} of the walk", number + 1);
    }
    assert_eq!(shown.len(), printed.len(), "lines of the walk");
}
