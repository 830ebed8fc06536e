//! Sends requests to Stripe over pooled connections, and again when that may help.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use stripe_client_core::VERSION;
use tokio::time::sleep;

use super::failure::{Refusal, StripeError};
use super::pace::Pace;
use crate::clock::Stopwatch;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
const TRIES_MAX: u32 = 3;
/// Longest pause before the second try without a word from Stripe; doubled for the third.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that Stripe is followed in.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    /// What it is called in logs and metrics, and what its rate is counted by.
    pub(super) endpoint: &'static str,
    /// From `/v1` on, with the query if it has one.
    pub(super) path: &'a str,
    pub(super) body: Body<'a>,
}

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// Nothing: it is a GET.
    None,
    /// Nothing: it is a DELETE, which may be repeated as it is.
    Deletion,
    /// A form, posted under an idempotency key.
    Form { key: &'a str, form: &'a str },
}

/// An answer that is none of a refusal.
#[derive(Debug)]
pub(super) struct Answer {
    endpoint: &'static str,
    pub(super) status: u16,
    pub(super) request_id: String,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the answer.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, StripeError> {
        let mut json = serde_json::Deserializer::from_slice(&self.body);
        serde_path_to_error::deserialize(&mut json).map_err(|error| StripeError::Decode {
            endpoint: self.endpoint,
            request_id: self.request_id.clone(),
            place: error.path().to_string(),
            cause: error.into_inner(),
        })
    }
}

/// The way to Stripe.
#[derive(Debug)]
pub(super) struct Sender {
    http: Client,
    base: String,
    authorization: HeaderValue,
    pace: Pace,
}

impl Sender {
    /// A way to `base` for the holder of `api_key`.
    pub(super) fn new(base: &str, api_key: &str, pace: Pace) -> anyhow::Result<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {api_key}"))?;
        authorization.set_sensitive(true);
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            base: base.to_owned(),
            authorization,
            pace,
        })
    }

    /// Sends a request, up to three times while trying again may help.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, StripeError> {
        let mut tries = 1;
        loop {
            sleep(self.pace.reserve(call.endpoint)).await;
            let (outcome, advice) = self.try_once(call).await;
            let error = match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if tries == TRIES_MAX || !advice.again.unwrap_or_else(|| error.is_temporary()) {
                return Err(error);
            }
            let pause = advice.after.unwrap_or_else(|| jittered(tries));
            tracing::info!(endpoint = call.endpoint, %error, tries, ?pause, "will ask Stripe again");
            sleep(pause).await;
            tries += 1;
        }
    }

    async fn try_once(&self, call: &Call<'_>) -> (Result<Answer, StripeError>, Advice) {
        let stopwatch = Stopwatch::start();
        let endpoint = call.endpoint;
        let (outcome, advice) = match self.request(call).send().await {
            Err(cause) => (Err(transport(endpoint, cause)), Advice::default()),
            Ok(response) => {
                let advice = Advice::of(&response);
                (read(endpoint, response).await, advice)
            }
        };
        let word = match &outcome {
            Ok(_) => "done",
            Err(StripeError::Api { .. }) => "refused",
            Err(_) => "lost",
        };
        metrics::counter!("tollgate_stripe_calls_total", "endpoint" => endpoint, "outcome" => word)
            .increment(1);
        let request = match &outcome {
            Ok(answer) => &answer.request_id,
            Err(error) => error.refusal().map_or("", |refusal| &refusal.request_id),
        };
        let elapsed_ms = stopwatch.elapsed().as_millis();
        tracing::info!(
            endpoint,
            outcome = word,
            stripe_request = request,
            elapsed_ms,
            "called Stripe"
        );
        (outcome, advice)
    }

    fn request(&self, call: &Call<'_>) -> RequestBuilder {
        let url = format!("{}{}", self.base, call.path);
        let request = match call.body {
            Body::None => self.http.get(url),
            Body::Deletion => self.http.delete(url),
            Body::Form { key, form } => self
                .http
                .post(url)
                .header("idempotency-key", key)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.to_owned()),
        };
        request
            .header(AUTHORIZATION, self.authorization.clone())
            .header("stripe-version", VERSION.as_str())
    }
}

fn transport(endpoint: &'static str, cause: reqwest::Error) -> StripeError {
    // The URL may name a customer, and says nothing that the endpoint does not.
    let cause = cause.without_url();
    StripeError::Transport { endpoint, cause }
}

async fn read(endpoint: &'static str, response: Response) -> Result<Answer, StripeError> {
    let status = response.status();
    let request_id = header(&response, "request-id").unwrap_or_default();
    let body = response.bytes().await;
    let body = body.map_err(|cause| transport(endpoint, cause))?.to_vec();
    let status_number = status.as_u16();
    if status.is_success() {
        return Ok(Answer {
            endpoint,
            status: status_number,
            request_id,
            body,
        });
    }
    let refusal = Box::new(Refusal::read(status_number, request_id, &body));
    Err(StripeError::Api { endpoint, refusal })
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

/// What Stripe itself says about asking again.
#[derive(Debug, Default)]
struct Advice {
    again: Option<bool>,
    after: Option<Duration>,
}

impl Advice {
    fn of(response: &Response) -> Self {
        let seconds = header(response, "retry-after").and_then(|text| text.parse().ok());
        Self {
            again: header(response, "stripe-should-retry").and_then(|text| text.parse().ok()),
            after: seconds.map(|seconds| Duration::from_secs(seconds).min(PAUSE_MAX)),
        }
    }
}

/// Any pause up to first × 2^(tries − 1): who failed together does not come back together.
fn jittered(tries: u32) -> Duration {
    let longest = (FIRST_PAUSE * 2_u32.pow(tries - 1)).min(PAUSE_MAX);
    longest.mul_f64(rand::random())
}
