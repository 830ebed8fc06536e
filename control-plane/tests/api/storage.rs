//! The database layer: one writer, readers that see what is committed, the same on both.

use std::time::Duration;

use tollgate::config::Config;
use tollgate::database::{self, Database};
use tollgate::ids::{AdminKeyId, Id};

use crate::both_databases;
use crate::world::{TestDatabase, World, config};

fn patient(database: &TestDatabase) -> Config {
    config(database, &[])
}

both_databases! {
    async fn read_then_write_loses_no_update(database: TestDatabase) {
        let world = World::new(database).await;
        // Two processes, eight writers each.
        let other = Database::connect(&patient(&world.database).database).await.unwrap();
        sqlx::query("INSERT INTO sequences (name, value) VALUES ('test', 0)")
            .execute(&mut *world.app.database.begin_write().await.unwrap())
            .await
            .unwrap();
        let mut tx = world.app.database.begin_write().await.unwrap();
        sqlx::query("INSERT INTO sequences (name, value) VALUES ('count', 0)")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let writers: Vec<_> = (0..16)
            .map(|n| {
                let database =
                    if n % 2 == 0 { world.app.database.clone() } else { other.clone() };
                tokio::spawn(async move {
                    for _ in 0..10 {
                        let mut tx = database.begin_write().await.unwrap();
                        let value: i64 = sqlx::query_scalar(
                            "SELECT value FROM sequences WHERE name = 'count'",
                        )
                        .fetch_one(&mut *tx)
                        .await
                        .unwrap();
                        tokio::task::yield_now().await;
                        sqlx::query("UPDATE sequences SET value = $1 WHERE name = 'count'")
                            .bind(value + 1)
                            .execute(&mut *tx)
                            .await
                            .unwrap();
                        tx.commit().await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let values: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, value FROM sequences WHERE name IN ('count', 'test')")
                .fetch_all(&mut *world.app.database.read().await.unwrap())
                .await
                .unwrap();
        // The first insert was never committed.
        assert_eq!(values, [("count".to_owned(), 160)]);
    }

    async fn readers_go_on_while_someone_writes(database: TestDatabase) {
        let world = World::new(database).await;
        let mut tx = world.app.database.begin_write().await.unwrap();
        sqlx::query("UPDATE admin_keys SET name = 'unseen'").execute(&mut *tx).await.unwrap();
        let mut reader = world.app.database.read().await.unwrap();
        let name: String =
            sqlx::query_scalar("SELECT name FROM admin_keys").fetch_one(&mut *reader).await.unwrap();
        assert_eq!(name, "TOLLGATE_ADMIN_KEY");
        tx.commit().await.unwrap();
        let name: String =
            sqlx::query_scalar("SELECT name FROM admin_keys").fetch_one(&mut *reader).await.unwrap();
        assert_eq!(name, "unseen");
    }

    async fn a_reader_cannot_write(database: TestDatabase) {
        let world = World::new(database).await;
        let mut reader = world.app.database.read().await.unwrap();
        assert!(sqlx::query("DELETE FROM admin_keys").execute(&mut *reader).await.is_err());
    }

    async fn a_writer_that_waits_too_long_is_told_to_come_back(database: TestDatabase) {
        let settings = [("TOLLGATE_DATABASE_BUSY_TIMEOUT_MS", "100")];
        let world = World::with(database, &settings).await;
        let other = Database::connect(&config(&world.database, &settings).database).await.unwrap();
        let holder = other.begin_write().await.unwrap();
        let document = serde_json::json!({"name": "x", "scopes": ["read"]});
        let answer = world.post("/v1/admin-keys", &document).await;
        assert_eq!(answer.headers["retry-after"], "1");
        answer.problem(503, "unavailable");
        drop(holder);
        // The connection that was refused works again.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while world.post("/v1/admin-keys", &document).await.status != 201 {
            assert!(tokio::time::Instant::now() < deadline);
        }
    }

    async fn the_migrations_run_once_whoever_starts(database: TestDatabase) {
        let config = patient(&database);
        let starters: Vec<_> = (0..4)
            .map(|_| {
                let config = config.database.clone();
                tokio::spawn(async move {
                    Database::connect(&config).await.unwrap().migrate().await.unwrap();
                })
            })
            .collect();
        for starter in starters {
            starter.await.unwrap();
        }
        let again = Database::connect(&config.database).await.unwrap();
        again.migrate().await.unwrap();
        again.ping().await.unwrap();
    }

    async fn every_kind_of_value_comes_back_as_it_went(database: TestDatabase) {
        let world = World::new(database).await;
        let mut tx = world.app.database.begin_write().await.unwrap();
        let text = "ünï\u{1F511}'\"\\ \n";
        for (name, number) in [(text, i64::MAX), ("least", i64::MIN)] {
            sqlx::query("INSERT INTO sequences (name, value) VALUES ($1, $2)")
                .bind(name)
                .bind(number)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        let sum: (String, i64, Option<i64>, Option<String>) = sqlx::query_as(
            "SELECT MAX(name), CAST(SUM(value) AS BIGINT), MAX(NULLIF(value, value)),
                 MAX(NULLIF(name, name)) FROM sequences WHERE name IN ($1, 'least')",
        )
        .bind(text)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        assert_eq!(sum, (text.max("least").to_owned(), -1, None, None));
        let nothing: Option<i64> =
            sqlx::query_scalar("SELECT value FROM sequences WHERE $1 IS NOT NULL")
                .bind(None::<String>)
                .fetch_optional(&mut *tx)
                .await
                .unwrap();
        assert_eq!(nothing, None);
    }

    async fn a_second_row_for_a_unique_key_is_told_apart_from_other_failures(database: TestDatabase) {
        let world = World::new(database).await;
        let insert = "INSERT INTO write_lock (id) VALUES (1)";
        let mut tx = world.app.database.begin_write().await.unwrap();
        sqlx::query(insert).execute(&mut *tx).await.unwrap();
        let failure = sqlx::query(insert).execute(&mut *tx).await.unwrap_err();
        assert!(database::is_unique_violation(&failure), "{failure:?}");
        assert!(!database::is_temporary(&failure));
        drop(tx);
        let mut tx = world.app.database.begin_write().await.unwrap();
        let failure = sqlx::query("SELECT nothing FROM nowhere").execute(&mut *tx).await;
        assert!(!database::is_unique_violation(&failure.unwrap_err()));
    }

    async fn ids_sort_in_the_database_as_they_do_here(database: TestDatabase) {
        let world = World::new(database).await;
        let mut ids: Vec<AdminKeyId> = (0..200)
            .map(|n| {
                world.clock.advance_machine(Duration::from_millis(n % 3));
                AdminKeyId::generate(world.clock.machine_now())
            })
            .collect();
        let mut tx = world.app.database.begin_write().await.unwrap();
        for id in &ids {
            sqlx::query("INSERT INTO sequences (name, value) VALUES ($1, 0)")
                .bind(id.to_string())
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sequences WHERE name < $1 ORDER BY name",
        )
        .bind(format!("{}7ZZZZZZZZZZZZZZZZZZZZZZZZZ", AdminKeyId::PREFIX))
        .fetch_all(&mut *tx)
        .await
        .unwrap();
        ids.sort_unstable();
        assert_eq!(rows, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_sqlite_url_names_a_file() {
    for url in ["sqlite::memory:", "sqlite://", "sqlite://x.db?mode=memory"] {
        let mut config = patient(&TestDatabase::sqlite());
        config.database.url = url.to_owned().into();
        assert!(Database::connect(&config.database).await.is_err(), "{url}");
    }
}
