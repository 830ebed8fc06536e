//! Whether this process lives, and whether everything it needs is ready.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use tokio::time::timeout;

use crate::app::App;
use crate::error::{Error, Result, Violation};

/// How long a check may take; longer is not ready.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Why something is not ready.
#[derive(Debug)]
pub struct NotReady {
    reason: String,
    cause: Option<anyhow::Error>,
}

impl NotReady {
    /// Not ready for a reason that anyone may read.
    #[must_use]
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            cause: None,
        }
    }

    /// It does not answer, for a reason that only the log tells.
    #[must_use]
    pub fn unreachable(cause: impl Into<anyhow::Error>) -> Self {
        Self {
            reason: "does not answer".to_owned(),
            cause: Some(cause.into()),
        }
    }
}

type Outcome = Pin<Box<dyn Future<Output = Result<(), NotReady>> + Send>>;
type Check = Arc<dyn Fn() -> Outcome + Send + Sync>;

/// The named checks of `/readyz`.
#[derive(Clone, Default)]
pub struct Checks(Arc<RwLock<Vec<(&'static str, Check)>>>);

impl fmt::Debug for Checks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        formatter
            .debug_list()
            .entries(checks.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Checks {
    /// Adds a check under a name.
    pub fn add<F, Fut>(&self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), NotReady>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, check));
    }

    /// Runs every check, and gives their names or what is not ready.
    async fn run(&self) -> Result<Vec<&'static str>, Vec<Violation>> {
        let checks = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let running: Vec<_> = checks
            .into_iter()
            .map(|(name, check)| (name, tokio::spawn(timeout(CHECK_TIMEOUT, check()))))
            .collect();
        let (mut ready, mut missing) = (Vec::new(), Vec::new());
        for (name, outcome) in running {
            let outcome = match outcome.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(elapsed)) => Err(NotReady::unreachable(elapsed)),
                Err(panic) => Err(NotReady::unreachable(panic)),
            };
            match outcome {
                Ok(()) => ready.push(name),
                Err(why) => {
                    let cause = why.cause.as_ref().map(|cause| format!("{cause:#}"));
                    tracing::warn!(check = name, reason = why.reason, cause, "not ready");
                    let (code, path) = ("not_ready".into(), name.to_owned());
                    missing.push(Violation {
                        code,
                        path,
                        detail: why.reason,
                    });
                }
            }
        }
        if missing.is_empty() {
            Ok(ready)
        } else {
            Err(missing)
        }
    }
}

/// What is ready.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Ready {
    /// The names of everything that was checked.
    ready: Vec<&'static str>,
}

/// Says that the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operations",
    responses((status = 200, description = "It lives.", body = String, content_type = "text/plain")))]
pub async fn get_health() -> &'static str {
    "ok\n"
}

/// Says whether everything the process needs is ready, and names what is not.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses((status = 200, description = "Everything is ready.", body = Ready)))]
pub async fn get_readiness(State(app): State<App>) -> Result<Json<Ready>> {
    match app.checks.run().await {
        Ok(ready) => Ok(Json(Ready { ready })),
        Err(missing) => Err(Error::not_ready(missing)),
    }
}

/// Shows the metrics of this process in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Metrics.", body = String, content_type = "text/plain")))]
pub async fn get_metrics(State(app): State<App>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        app.metrics.render(),
    )
}
