use std::io::Write as _;

use super::*;

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let path = std::env::temp_dir().join(format!("tollgate-config-{}.toml", rand::random::<u64>()));
    std::fs::File::create(&path)
        .unwrap()
        .write_all(file.as_bytes())
        .unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    let loaded = Config::load(Some(&path), variables).map_err(|error| ConfigError {
        place: error.place.replace(&path.display().to_string(), "my.toml"),
        problem: error.problem,
    });
    std::fs::remove_file(&path).unwrap();
    loaded
}

#[test]
fn defaults_load_alone() {
    let config = Config::load(None, []).unwrap();
    assert_eq!(config.environment, Environment::Test);
    assert_eq!(config.database.url.expose(), "sqlite://tollgate.db");
}

#[test]
fn a_file_wins_over_defaults_and_the_environment_over_both() {
    let file = "environment = \"sandbox\"\n[server]\nlisten = \"0.0.0.0:1\"\nrequests_burst = 7\n";
    let config = load(
        file,
        &[
            ("TOLLGATE_ENV", "production"),
            ("DATABASE_URL", "postgres://db/tollgate"),
            ("TOLLGATE_SERVER_REQUESTS_BURST", "9"),
            (
                "TOLLGATE_SERVER_CORS_ORIGINS",
                "https://a.example, https://b.example",
            ),
            ("TOLLGATE_SOMEONE_ELSES", "ignored"),
        ],
    )
    .unwrap();
    assert_eq!(config.environment, Environment::Production);
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:1");
    assert_eq!(config.server.requests_burst, 9);
    assert_eq!(
        config.server.cors_origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(config.database.url.expose(), "postgres://db/tollgate");
}

#[test]
fn the_prefix_in_redis_follows_the_environment_unless_set() {
    let prefix = |file: &str| load(file, &[]).unwrap().redis.prefix;
    assert_eq!(prefix(""), "tg:test:");
    assert_eq!(prefix("environment = \"production\"\n"), "tg:live:");
    assert_eq!(
        prefix("environment = \"production\"\n[redis]\nprefix = \"x:\"\n"),
        "x:"
    );
}

#[test]
fn mistakes_say_what_and_where() {
    let refused =
        |file: &str, variables: &[(&str, &str)]| load(file, variables).unwrap_err().to_string();
    assert_eq!(
        refused("[server]\nlisten_on = \"x\"\n", &[]),
        "my.toml: unknown setting server.listen_on"
    );
    assert_eq!(refused("[sever]\n", &[]), "my.toml: unknown setting sever");
    assert_eq!(
        refused("server = 1\n", &[]),
        "my.toml: server is a section, not a setting"
    );
    assert!(refused("[server]\nlisten = \"here\"\n", &[]).starts_with("my.toml: server.listen: "));
    assert!(
        refused("", &[("TOLLGATE_ENV", "staging")])
            .starts_with("environment variable TOLLGATE_ENV: environment: unknown variant"),
    );
    assert!(
        refused("", &[("TOLLGATE_JOBS_LEASE_SECONDS", "soon")])
            .starts_with("environment variable TOLLGATE_JOBS_LEASE_SECONDS: jobs.lease_seconds: "),
    );
    assert_eq!(
        refused("[jobs]\nlease_seconds = 0\n", &[]),
        "my.toml: jobs.lease_seconds: must be greater than 0"
    );
    assert_eq!(
        refused("", &[("DATABASE_URL", "mysql://root@db")]),
        "environment variable DATABASE_URL: database.url: neither a sqlite nor a postgres URL"
    );
}

#[test]
fn secrets_are_not_printed() {
    let config = load("", &[("DATABASE_URL", "postgres://u:hunter2@db/x")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn every_setting_of_the_manual_is_explained() {
    let mut explained = "";
    for line in DEFAULTS.lines() {
        if let Some((setting, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let covered = explained.starts_with('#') || explained.contains(" = ");
            assert!(covered, "{setting} has no comment above it");
        }
        explained = line;
    }
}

#[test]
fn live_keys_of_stripe_belong_to_production_and_test_keys_to_the_rest() {
    let with = |environment: &str, key: &str, base: &str| {
        let variables = [
            ("TOLLGATE_ENV", environment),
            ("STRIPE_API_KEY", key),
            ("STRIPE_API_BASE", base),
        ];
        // The order of variables must not matter in the end.
        let mut reversed = variables;
        reversed.reverse();
        let (one, other) = (load("", &variables), load("", &reversed));
        assert_eq!(one.is_ok(), other.is_ok(), "{environment} {key}");
        one.map(|config| config.stripe.is_set_up())
    };
    let stripe = "https://api.stripe.com";
    for key in ["sk_test_1", "rk_test_1"] {
        assert_eq!(with("test", key, stripe), Ok(true));
        assert_eq!(with("sandbox", key, "http://127.0.0.1:1"), Ok(true));
        assert!(with("production", key, stripe).is_err());
    }
    for key in ["sk_live_1", "rk_live_1"] {
        assert_eq!(with("production", key, stripe), Ok(true));
        assert!(with("test", key, stripe).is_err());
        assert!(with("production", key, "http://127.0.0.1:1").is_err());
    }
    for key in ["pk_test_1", "sk_test_", "test", "sk_test_1 2"] {
        assert!(with("test", key, stripe).is_err(), "{key}");
    }
    assert_eq!(with("production", "", stripe), Ok(false));
    assert!(load("[stripe]\nwebhook_secrets = [\"\"]\n", &[]).is_err());
    assert!(load("[stripe]\napi_base = \"api.stripe.com\"\n", &[]).is_err());
    for url in [
        "example.com",
        "https://",
        "https://example.com/",
        "https://example.com/a",
    ] {
        assert!(
            load("", &[("TOLLGATE_SERVER_PUBLIC_URL", url)]).is_err(),
            "{url}"
        );
    }
    let several = load("", &[("STRIPE_WEBHOOK_SECRET", "whsec_1, whsec_2")]).unwrap();
    let secrets = several.stripe.webhook_secrets.iter();
    assert_eq!(
        secrets.map(Secret::expose).collect::<Vec<_>>(),
        ["whsec_1", "whsec_2"]
    );
}
