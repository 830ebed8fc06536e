//! A control plane of a test's own: application, database, clock and a way to call it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tollgate::admin::bootstrap;
use tollgate::app::{App, Role};
use tollgate::clock::Clock;
use tollgate::config::Config;
use tollgate::router;
use tower::ServiceExt;

use crate::postgres;

/// The admin key of every test, with all scopes.
pub const ADMIN_KEY: &str = "tga_test_only_0123456789abcdefghijklmnop";
/// When every manual clock starts.
pub const START: &str = "2026-01-01T00:00:00Z";

/// A database that is the test's alone.
#[derive(Clone)]
pub struct TestDatabase {
    pub url: String,
    /// The folder of its SQLite file, removed with the last clone; settings go there, too.
    pub folder: Arc<Folder>,
}

/// A folder that is removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("tollgate-test-{}", rand::random::<u64>()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

impl TestDatabase {
    pub fn sqlite() -> Self {
        let folder = Folder::new();
        let url = format!("sqlite://{}", folder.path().join("tollgate.db").display());
        Self {
            url,
            folder: Arc::new(folder),
        }
    }

    /// Another one that holds the same; nobody may be connected to this one.
    pub fn copy(&self) -> Self {
        if self.url.starts_with("postgres") {
            return Self {
                url: postgres::copy(&self.url),
                folder: Arc::new(Folder::new()),
            };
        }
        let copy = Self::sqlite();
        for name in ["tollgate.db", "tollgate.db-wal"] {
            let (from, to) = (self.folder.path().join(name), copy.folder.path().join(name));
            if from.exists() {
                std::fs::copy(from, to).unwrap();
            }
        }
        copy
    }

    /// Ends whatever a process that died has begun in PostgreSQL, which may not have noticed.
    pub fn end_others(&self) {
        if self.url.starts_with("postgres") {
            postgres::end_connections(&self.url);
        }
    }

    pub async fn postgres() -> Option<Self> {
        let url = postgres::new_database()?;
        Some(Self {
            url,
            folder: Arc::new(Folder::new()),
        })
    }
}

/// Makes `async fn name(database: TestDatabase)` two tests, `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($database:ident: TestDatabase) $body:block)+) => {$(
        $(#[$attribute])*
        mod $name {
            use super::*;

            async fn check($database: TestDatabase) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                check(TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                if let Some(database) = TestDatabase::postgres().await {
                    check(database).await;
                }
            }
        }
    )+};
}

/// A control plane that answers without a network in between.
#[derive(Clone)]
pub struct World {
    pub app: App,
    pub clock: Clock,
    pub database: TestDatabase,
    pub router: Router,
    pub admin_key: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The body of an answer that must have been `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.body
    }

    /// The problem document of an answer that must have been `status` with `code`.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json",
            "{}",
            self.text
        );
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:tollgate:problem:{code}"));
        assert!(!body["requestId"].as_str().unwrap().is_empty());
        body
    }

    /// Code and path of every mistake of a document that must have been refused.
    #[track_caller]
    pub fn mistakes(self) -> Vec<(String, String)> {
        let problem = self.problem(400, "invalid_document");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let errors = problem["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| (text(&error["code"]), text(&error["path"])))
            .collect()
    }
}

/// The configuration of a test: the defaults with `settings`, named as in the environment.
pub fn config(database: &TestDatabase, settings: &[(&str, &str)]) -> Config {
    let own = [
        ("DATABASE_URL".to_owned(), database.url.clone()),
        // Nothing listens there: tests of this package need no Redis.
        ("REDIS_URL".to_owned(), "redis://127.0.0.1:1".to_owned()),
        (
            "TOLLGATE_SERVER_LISTEN".to_owned(),
            "127.0.0.1:0".to_owned(),
        ),
        (
            "TOLLGATE_ADMIN_KEY_FILE".to_owned(),
            database
                .folder
                .path()
                .join("admin.key")
                .display()
                .to_string(),
        ),
    ];
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(None, own.into_iter().chain(settings)).unwrap()
}

impl World {
    pub async fn new(database: TestDatabase) -> Self {
        Self::with(database, &[]).await
    }

    /// A world with other settings, named as in the environment.
    pub async fn with(database: TestDatabase, settings: &[(&str, &str)]) -> Self {
        Self::at(database, settings, Clock::manual(START.parse().unwrap())).await
    }

    /// A world in which it is what this clock says.
    pub async fn at(database: TestDatabase, settings: &[(&str, &str)], clock: Clock) -> Self {
        let app = App::build(config(&database, settings), clock.clone())
            .await
            .unwrap();
        bootstrap::ensure_first_key(&app, Some(ADMIN_KEY))
            .await
            .unwrap();
        let router = router::router(&app, &[Role::Api, Role::Jobs]);
        Self {
            app,
            clock,
            database,
            router,
            admin_key: ADMIN_KEY.to_owned(),
        }
    }

    /// The same world for the holder of another admin key.
    pub fn with_key(&self, admin_key: &str) -> Self {
        Self {
            admin_key: admin_key.to_owned(),
            ..self.clone()
        }
    }

    /// A new admin key's document, secret included.
    pub async fn issue_admin_key(&self, scopes: &[&str]) -> Value {
        let document = serde_json::json!({"name": "test", "scopes": scopes});
        self.post("/v1/admin-keys", &document).await.expect(201)
    }

    pub fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin_key))
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    async fn send_json(&self, method: Method, path: &str, document: &Value) -> Answer {
        let request = self
            .request(method, path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(document.to_string().into());
        self.send(request.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap())
            .await
    }

    pub async fn post(&self, path: &str, document: &Value) -> Answer {
        self.send_json(Method::POST, path, document).await
    }

    pub async fn put(&self, path: &str, document: &Value) -> Answer {
        self.send_json(Method::PUT, path, document).await
    }

    /// A POST with an idempotency key.
    pub async fn post_with_key(&self, path: &str, key: &str, document: &Value) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(document.to_string().into());
        self.send(request.unwrap()).await
    }

    /// Every item of a list, over pages of `limit`.
    pub async fn list(&self, path: &str, limit: u32) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut page = self
                .get(&format!("{path}?limit={limit}{cursor}"))
                .await
                .expect(200);
            let page_items = page["items"].as_array_mut().unwrap();
            assert!(page_items.len() <= limit as usize);
            items.append(page_items);
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}
