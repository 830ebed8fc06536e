//! What can go wrong between Stripe and us, on demand.

use serde::{Deserialize, Serialize};

use super::account::matches;

/// Something that goes wrong with requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFault {
    /// The method, such as `POST`; any when left out.
    #[serde(default)]
    pub method: Option<String>,
    /// The path; `*` stands for one part, such as an id.
    pub path: String,
    /// What happens.
    pub what: RequestTrouble,
    /// How many such requests go well before.
    #[serde(default)]
    pub after: u32,
    /// To how many requests it happens; 1 when left out.
    #[serde(default = "once")]
    pub times: u32,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestTrouble {
    /// It is answered so many milliseconds later.
    Late(u64),
    /// It is done, and no answer comes for so many milliseconds; then the connection ends.
    SilentAfter(u64),
    /// The connection ends before anything is done.
    ClosedBefore,
    /// It is done, and the connection ends without an answer.
    ClosedAfter,
    /// It fails before anything is done, and its key keeps that answer (500).
    Failed,
    /// It is done, and yet the answer is a failure, which its key keeps (500).
    FailedAfter,
    /// It is not taken up at all (503).
    Unavailable,
    /// There were too many requests (429), with `Retry-After` in seconds.
    RateLimited(u32),
    /// Something else holds the object (409).
    Locked,
}

/// Something that goes wrong with webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookFault {
    /// The event's type; one that ends in `*` stands for all that begin so.
    pub kind: String,
    /// What happens.
    pub what: WebhookTrouble,
    /// To how many deliveries it happens; 1 when left out.
    #[serde(default = "once")]
    pub times: u32,
}

/// What happens to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookTrouble {
    /// It comes so many milliseconds later.
    Late(u64),
    /// It comes twice at once.
    Twice,
    /// It never comes.
    Dropped,
    /// It is held until so many are held, which then come in the opposite order.
    Shuffled,
    /// It is signed with a secret that is not the endpoint's.
    WrongSecret,
}

const fn once() -> u32 {
    1
}

/// The faults that are still to happen.
#[derive(Debug, Default)]
pub struct Faults {
    requests: Vec<RequestFault>,
    webhooks: Vec<WebhookFault>,
    met: u32,
}

impl Faults {
    /// Lets something go wrong with requests.
    pub fn add_request(&mut self, fault: RequestFault) {
        self.requests.push(fault);
    }

    /// Lets something go wrong with webhooks.
    pub fn add_webhook(&mut self, fault: WebhookFault) {
        self.webhooks.push(fault);
    }

    /// Lets all go well again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What happens to this request.
    pub fn of_request(&mut self, method: &str, path: &str) -> Option<RequestTrouble> {
        let fits = |fault: &&mut RequestFault| {
            let same = fault.method.as_deref().is_none_or(|known| known == method);
            same && fault.times > 0 && fits_path(&fault.path, path)
        };
        let fault = self.requests.iter_mut().find(fits)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        self.met += 1;
        Some(fault.what)
    }

    /// How many requests have met trouble.
    #[must_use]
    pub const fn met(&self) -> u32 {
        self.met
    }

    /// What happens to this webhook, and how many more of its kind it happens to.
    pub fn of_webhook(&mut self, kind: &str) -> Option<(WebhookTrouble, u32)> {
        let fits = |fault: &&mut WebhookFault| fault.times > 0 && matches(&fault.kind, kind);
        let fault = self.webhooks.iter_mut().find(fits)?;
        fault.times -= 1;
        Some((fault.what, fault.times))
    }
}

fn fits_path(pattern: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').count();
    let mut pairs = pattern.split('/').zip(path.split('/'));
    parts(pattern) == parts(path) && pairs.all(|(known, part)| known == "*" || known == part)
}
