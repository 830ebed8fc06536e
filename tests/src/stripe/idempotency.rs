//! Idempotency keys: the first answer is kept, whatever it was, and given again.

use std::collections::HashMap;

use super::refusal::Refusal;

/// An answer of the API: its status and its body.
pub type Answer = (u16, String);

/// Keys that have been used.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, Use>);

#[derive(Debug)]
struct Use {
    request: String,
    answer: Option<Answer>,
}

/// What a request with a key is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Do it, and say afterwards what came of it.
    First,
    /// Give this answer again.
    Again(Answer),
}

impl Keys {
    /// A request under a key; `request` is its method, path and body.
    ///
    /// # Errors
    /// When the key was used for another request, or its request still runs.
    pub fn begin(&mut self, key: &str, request: &str) -> Result<Turn, Refusal> {
        match self.0.get(key) {
            None => {
                let (request, answer) = (request.to_owned(), None);
                self.0.insert(key.to_owned(), Use { request, answer });
                Ok(Turn::First)
            }
            Some(used) if used.request != request => Err(Refusal::idempotency(
                400,
                None,
                format!(
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{key}' if you meant to execute a different request."
                ),
            )),
            Some(Use {
                answer: Some(answer),
                ..
            }) => Ok(Turn::Again(answer.clone())),
            Some(_) => Err(Refusal::idempotency(
                409,
                Some("idempotency_key_in_use"),
                "There is currently another in-progress request using this Idempotent Key. Please try again later.",
            )),
        }
    }

    /// Keeps the answer of a request that has run.
    pub fn finish(&mut self, key: &str, answer: Answer) {
        if let Some(used) = self.0.get_mut(key) {
            used.answer = Some(answer);
        }
    }
}
