//! Checkout's pages: to Stripe and back, to the key.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::Page;
use super::page::{STYLE, protect};
use crate::app::App;
use crate::error::{Error, Result};
use crate::http::{document, observe};
use crate::payments::checkout::{self, Checkout, ClaimToken, Claimed, Progress};

/// Holds the tokens of the openings of one Checkout in one browser.
const COOKIE: &str = "tollgate_claim";
/// Openings that a browser remembers: it may have several tabs.
const TOKENS_MAX: usize = 4;
/// How long: as long as a Checkout can be opened and completed.
const COOKIE_SECONDS: u32 = 2 * 86_400;
/// Longest claim.
const CLAIM_MAX_BYTES: usize = 4_096;

/// Opens a Checkout: a Stripe session and a token of its own, then on to Stripe.
pub async fn open_checkout(
    State(app): State<App>,
    Path(checkout): Path<String>,
    headers: HeaderMap,
) -> Response {
    let opened = match checkout::open(&app, &checkout).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return redirect(&format!("/portal/checkout/{checkout}/success")),
        Err(error) => return refusal(&error),
    };
    let mut tokens = tokens_of(&headers);
    tokens.push(opened.token);
    let first = tokens.len().saturating_sub(TOKENS_MAX);
    let tokens: Vec<_> = tokens[first..].iter().map(ClaimToken::expose).collect();
    let cookie = format!(
        "{COOKIE}={}; Path=/portal/checkout/{checkout}; Max-Age={COOKIE_SECONDS}; HttpOnly; Secure; \
         SameSite=Lax",
        tokens.join(".")
    );
    let mut response = redirect(&opened.url);
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Where Stripe sends the customer afterwards: says how far it is, and nothing secret.
pub async fn show_success(
    State(app): State<App>,
    Path(checkout): Path<String>,
    headers: HeaderMap,
) -> Response {
    let checkout = match checkout::look(&app, &checkout).await {
        Ok(checkout) => checkout,
        Err(error) => return refusal(&error),
    };
    let page = match &checkout.progress {
        Progress::Open => Page::waiting("Almost done")
            .text("We are waiting for the confirmation of your payment method. This page looks again by itself."),
        Progress::Failed(_) => Page::new("Not subscribed")
            .text("Your payment method was saved, but you could not be subscribed. Nothing was charged.")
            .text("Please get in touch with whoever sent you here."),
        Progress::Completed(_) if checkout.key.is_some() => Page::new("You are subscribed")
            .text("Your API key was shown before, and is shown only once."),
        Progress::Completed(_) if tokens_of(&headers).is_empty() => Page::new("You are subscribed")
            .text("Open this page in the browser in which you gave your payment method, to get your API key."),
        Progress::Completed(_) => Page::new("You are subscribed")
            .text("Get your API key now. It is shown only once, so have a safe place for it ready.")
            .button("Show my API key", &format!("/portal/checkout/{}/claim", checkout.id)),
    };
    onward(&app, page, &checkout).await.into_response()
}

/// Where Stripe sends the customer who gives up.
pub async fn show_cancel(State(app): State<App>, Path(checkout): Path<String>) -> Response {
    let checkout = match checkout::look(&app, &checkout).await {
        Ok(checkout) => checkout,
        Err(error) => return refusal(&error),
    };
    if checkout.progress != Progress::Open {
        return redirect(&format!("/portal/checkout/{}/success", checkout.id));
    }
    let mut page = Page::new("Checkout canceled")
        .text("No payment method was saved, and nothing was charged.")
        .link("Try again", &format!("/portal/checkout/{}", checkout.id));
    if let Some(url) = &checkout.cancel_url {
        page = page.link("Go back", url);
    }
    page.into_response()
}

/// Where the customer portal leads back to.
pub async fn show_return() -> Response {
    let page = Page::new("All done").text("You can close this page.");
    page.into_response()
}

/// How pages look.
pub async fn get_style() -> Response {
    let mut response = Response::new(Body::from(STYLE));
    let css = HeaderValue::from_static("text/css; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, css);
    response
}

/// What to send to claim a key without a browser.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimDocument {
    #[serde(default)]
    claim_token: String,
}

impl document::Document for ClaimDocument {}

/// Makes the key and shows it, once: to the browser that holds the token, or, asked with JSON, to whoever sends it.
pub async fn claim_key(
    State(app): State<App>,
    Path(checkout): Path<String>,
    request: Request,
) -> Response {
    let json = HeaderValue::from_static("application/json");
    if request.headers().get(header::CONTENT_TYPE) == Some(&json) {
        return claim_by_document(&app, &checkout, request)
            .await
            .into_response();
    }
    let tokens = tokens_of(request.headers());
    let Claimed { issued, checkout } = match checkout::claim(&app, &checkout, &tokens).await {
        Ok(claimed) => claimed,
        Err(error) => return refusal(&error),
    };
    let page = Page::new("Your API key").secret(
        "Keep it in a safe place: it is not shown again.",
        issued.secret.expose(),
    );
    onward(&app, page, &checkout).await.into_response()
}

async fn claim_by_document(app: &App, checkout: &str, request: Request) -> Result<Response> {
    let body = axum::body::to_bytes(request.into_body(), CLAIM_MAX_BYTES)
        .await
        .map_err(|_| Error::body_too_large(CLAIM_MAX_BYTES))?;
    let document = document::read::<ClaimDocument>(&body)?;
    let sent = document.check(|document, _| Some(document.claim_token))?;
    let token = ClaimToken::sent(&sent);
    let claimed = checkout::claim(app, checkout, &[token]).await?;
    let mut response = Json(claimed.issued).into_response();
    protect(&mut response);
    Ok(response)
}

/// The page with the way on: to what is left to pay, and to where the operator wants the customer to go.
async fn onward(app: &App, page: Page, checkout: &Checkout) -> Page {
    let owed = checkout::payment_page(app, checkout).await;
    let page = match owed {
        Ok(Some(url)) => page
            .text("Your first payment did not go through yet. Your API key works once it has.")
            .link("Pay the first invoice", &url),
        Ok(None) => page,
        Err(error) => {
            // A key that was made must be shown all the same.
            observe::log(&error);
            page
        }
    };
    match (&checkout.success_url, &checkout.progress) {
        (Some(url), Progress::Completed(_)) => page.link("Continue", url),
        _ => page,
    }
}

fn redirect(url: &str) -> Response {
    let mut response = Redirect::to(url).into_response();
    protect(&mut response);
    response
}

/// The page for an error, which the log gets, too.
fn refusal(error: &Error) -> Response {
    observe::log(error);
    let mut response = Page::new("That did not work")
        .text(error.detail())
        .into_response();
    *response.status_mut() = error.status();
    response
}

/// The tokens that a browser holds for the Checkout whose pages it asks for.
fn tokens_of(headers: &HeaderMap) -> Vec<ClaimToken> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'));
    let ours = pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    ours.flat_map(|value| value.split('.'))
        .filter(|token| !token.is_empty())
        .map(ClaimToken::sent)
        .take(TOKENS_MAX)
        .collect()
}
