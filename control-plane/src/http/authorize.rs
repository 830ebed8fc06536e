//! Lets a request through to its route when its admin key opens the route's scope.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::admin::{AdminKey, AdminSecret, Caller, Scope, store};
use crate::app::App;
use crate::error::{Error, Result};

/// How exact the last use of a key is kept: each mark costs a write.
const LAST_USED_GRAIN: Duration = Duration::from_secs(60);

/// Refuses a request without a key that opens `scope`.
///
/// # Errors
/// 401 without a valid key, 403 without the scope, 429 when it calls too often.
pub async fn authorize(
    State((app, scope)): State<(App, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response> {
    let key = match authenticate(&app, request.headers()).await {
        Ok(key) => key,
        Err(error) if error.is_unauthenticated() => {
            app.failed_authentications
                .take(address_of(&request), app.clock.machine_now())?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    app.requests.take(key.id, app.clock.machine_now())?;
    if !key.scopes.contains(&scope) {
        let detail = format!("This needs a key with the scope {}.", scope.name());
        return Err(Error::forbidden("scope_missing", detail));
    }
    tracing::Span::current().record("admin_key", key.id.to_string());
    request.extensions_mut().insert(Caller {
        id: key.id,
        scopes: key.scopes,
    });
    Ok(next.run(request).await)
}

async fn authenticate(app: &App, headers: &HeaderMap) -> Result<AdminKey> {
    let Some(header) = headers.get(header::AUTHORIZATION) else {
        let detail = "Send an admin key as `Authorization: Bearer tga_…`.";
        return Err(Error::unauthenticated("admin_key_missing", detail));
    };
    let unknown = || Error::unauthenticated("admin_key_unknown", "There is no such admin key.");
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(unknown)?;
    let secret = AdminSecret::parse(token.trim()).ok_or_else(unknown)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unknown());
    }
    let found = store::find_by_hash(&mut *app.database.read().await?, &secret.hash()).await?;
    let key = found.ok_or_else(unknown)?;
    let now = app.clock.machine_now();
    if key.revoked_at.is_some() {
        return Err(Error::unauthenticated(
            "admin_key_revoked",
            "This key is revoked.",
        ));
    }
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::unauthenticated(
            "admin_key_expired",
            "This key has expired.",
        ));
    }
    if key
        .last_used_at
        .is_none_or(|last| last.after(LAST_USED_GRAIN) <= now)
    {
        mark_used(app, &key);
    }
    Ok(key)
}

/// Notes the use beside the request, which does not wait for it.
fn mark_used(app: &App, key: &AdminKey) {
    let (app, id, now) = (app.clone(), key.id, app.clock.machine_now());
    tokio::spawn(async move {
        let marked = async {
            let mut tx = app.database.begin_write().await?;
            store::mark_used(&mut tx, id, now).await?;
            tx.commit().await
        };
        if let Err(error) = marked.await {
            tracing::warn!(%error, "could not note the use of an admin key");
        }
    });
}

fn address_of(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| {
        peer.ip()
    })
}
