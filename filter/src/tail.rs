//! The end of a response, held back until Redis has counted what the response told of its cost: whoever has seen all of
//! it is counted, even if the gateway dies then.
//!
//! What can be held back depends on how a response ends. Where its length is known, that is what completes it; a stream
//! whose length is not is always one piece behind; and where trailers may follow, they are what is waited for, since
//! Envoy takes no body once it shows them.

use std::mem;

use tollgate_engine::admission::{Rest, Ticket};
use tollgate_engine::grpc::{self, GrpcStatus};

use crate::host::{self, Headers, LocalResponse, LogLevel};

/// What of a response is held back while it passes.
#[derive(Debug)]
pub enum Tail {
    /// Nothing: its cost is counted afterwards.
    Nothing,
    /// What completes its length, of which so much is still to come.
    Length(u64),
    /// Always the latest piece of the body, until the next has come.
    Piece(Vec<u8>),
    /// Whatever ends it.
    End,
}

/// What has come of a piece of body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Come {
    /// The response goes on.
    Some,
    /// Nothing more may pass until Redis has counted.
    All,
}

impl Tail {
    /// What of the response with these headers is held back.
    pub fn of(ticket: &Ticket, response: &Headers) -> Self {
        if !ticket.is_claimed() {
            return Self::Nothing;
        }
        let mut tail = Self::End;
        for (name, value) in response.iter() {
            match name {
                b"content-length" => {
                    let length = str::from_utf8(value)
                        .ok()
                        .and_then(|text| text.parse().ok());
                    tail = length.map_or(Self::End, Self::Length);
                }
                // Only HTTP/1.1 has these: a body in chunks, or one that ends with the connection.
                b"transfer-encoding" => tail = Self::Piece(Vec::new()),
                b"connection" if matches!(tail, Self::End) => tail = Self::Piece(Vec::new()),
                b"trailer" => return Self::End,
                b"content-type" if grpc::is_content_type(value) => return Self::End,
                _ => {}
            }
        }
        if ticket.reads_trailers() {
            return Self::End;
        }
        tail
    }

    /// Takes in that a piece of the body has come; where it is held back, the one before takes its place.
    pub fn pass(&mut self, size: usize, rest: Rest) -> Come {
        match self {
            Self::Nothing | Self::End => {}
            Self::Length(left) => {
                *left = left.saturating_sub(size as u64);
                if *left == 0 {
                    return Come::All;
                }
            }
            Self::Piece(held) => {
                let before = mem::take(held);
                let latest = match rest {
                    Rest::Follows => host::response_body(0, size).ok(),
                    Rest::None => None,
                };
                let passed = match latest {
                    Some(latest) => {
                        *held = latest;
                        host::replace_response_body(size, &before)
                    }
                    // The last piece, or one that Envoy does not hand out: nothing may be lost.
                    None => host::prepend_response_body(&before),
                };
                if let Err(refused) = passed {
                    give_up(&format!(
                        "a response's body could not be changed: {refused}"
                    ));
                }
            }
        }
        match rest {
            Rest::Follows => Come::Some,
            Rest::None => Come::All,
        }
    }

    /// Takes in that trailers have come. Envoy takes no body any more, so a response that has them without a word before
    /// cannot go on.
    pub fn pass_trailers(&mut self) {
        if let Self::Piece(held) = self
            && !held.is_empty()
        {
            give_up("trailers came that the header `trailer` does not announce");
        }
    }
}

/// Breaks a response off: better none than one that lacks something.
fn give_up(reason: &str) {
    host::log(LogLevel::Error, reason);
    let broken_off = host::send_local_response(&LocalResponse {
        status: 502,
        grpc_status: GrpcStatus::UNKNOWN.number(),
        details: "tollgate_response_not_held",
        headers: &[],
        body: &[],
    });
    if let Err(refused) = broken_off {
        host::log(
            LogLevel::Error,
            &format!("a response could not be broken off: {refused}"),
        );
    }
}
