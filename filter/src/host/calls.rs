//! Calls from the worker's root context to a cluster, and how a request wakes the root to make one.

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::Status;
use tollgate_engine::limits::ANSWER_MAX_BYTES;

use super::{Map, Refused, abi, header};

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The other side closed after sending these bytes, which need not be all it meant to send.
    Answered(Vec<u8>),
    /// Envoy made no connection, or answered itself: nothing was sent.
    Unreachable(u16),
    /// Timed out or reset: what was sent may have had its effect.
    Lost,
}

/// Sends bytes to a cluster, whose connection pool makes them a TCP stream of their own.
///
/// `Refused::BadArgument` means that there is no such cluster. The end comes to the context that
/// is called now, in `on_http_call_response`.
pub fn dispatch(cluster: &str, body: &[u8], timeout_ms: u64) -> Result<(), Refused> {
    let headers = vec![(":method", "POST"), (":path", "/"), (":authority", cluster)];
    let timeout = Duration::from_millis(timeout_ms);
    // Through the SDK, since it must know the call's number to hand the answer on. Of the statuses it
    // panics on, Envoy answers none to a call whose memory is valid.
    match hostcalls::dispatch_http_call(cluster, headers, Some(body), vec![], timeout) {
        Ok(_) => Ok(()),
        Err(Status::BadArgument) => Err(Refused::BadArgument),
        Err(_) => Err(Refused::Internal),
    }
}

/// How the call ended that `on_http_call_response` tells of, from the counts it is given.
#[must_use]
pub fn end_of_call(header_count: usize, body_size: usize) -> CallEnd {
    if header_count == 0 {
        return CallEnd::Lost;
    }
    let status = header(Map::CallAnswer, ":status").ok().flatten();
    let status = status.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
    match status {
        // What is too long is not taken in, and so ends early.
        Some(200) if body_size == 0 || body_size > ANSWER_MAX_BYTES => {
            CallEnd::Answered(Vec::new())
        }
        Some(200) => abi::buffer(abi::BUFFER_CALL_BODY, 0, body_size)
            .map_or(CallEnd::Lost, CallEnd::Answered),
        Some(status) => CallEnd::Unreachable(status),
        None => CallEnd::Lost,
    }
}

/// Wakes the root context of this VM, which then gets `on_queue_ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeUp {
    queue: u32,
}

impl WakeUp {
    /// A wake-up for the root context that is called now; the name belongs to this VM alone.
    pub fn register(name: &str) -> Result<Self, Refused> {
        let mut queue = 0;
        abi::call(|| unsafe {
            abi::proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut queue)
        })?;
        Ok(Self { queue })
    }

    /// Wakes the root after the callback under way.
    pub fn ring(self) -> Result<(), Refused> {
        abi::call(|| unsafe { abi::proxy_enqueue_shared_queue(self.queue, [0].as_ptr(), 1) })
    }

    /// Takes back what `ring` has queued; call it in `on_queue_ready`.
    pub fn hear(self) {
        while abi::bytes(|data, size| unsafe {
            abi::proxy_dequeue_shared_queue(self.queue, data, size)
        })
        .is_ok()
        {}
    }
}
