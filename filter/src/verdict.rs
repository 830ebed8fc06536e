//! Carries out verdicts: headers for the upstream, refusals for the client.

use tollgate_engine::admission::{Ending, Refusal, Ticket, Verdict};
use tollgate_engine::grpc;
use tollgate_engine::policy::Policy;
use tollgate_engine::problem::Code;

use crate::host::{self, LocalResponse, LogLevel, Map, Pair, Refused};
use crate::log;
use crate::shared::Shared;

/// What has become of a request.
#[derive(Debug)]
pub enum Carried {
    /// It may go on; what it holds until its response, if it was admitted by a key.
    Goes(Option<Ticket>),
    /// It was answered.
    Answered,
    /// It is not decided yet.
    Waits,
}

/// Carries out a verdict for the request that host calls are made for.
pub fn carry_out(shared: &Shared, verdict: Verdict, headers: &[Pair<'_>]) -> Carried {
    let policy = &shared.policy;
    log::note_decision(shared, &verdict, headers);
    let (forwarded, ticket) = match verdict {
        Verdict::Wait => return Carried::Waits,
        Verdict::Refuse(refusal) => {
            refuse(policy, &refusal, headers);
            return Carried::Answered;
        }
        // Whoever sends a key where none is asked for sends it to us all the same.
        Verdict::Pass
            if !policy
                .credential(headers, path(headers))
                .is_ok_and(|text| policy.is_own_key(text)) =>
        {
            (drop_ours(headers), None)
        }
        Verdict::Pass | Verdict::PassUnknown => (hide(policy, headers), None),
        Verdict::Admit(ticket) => {
            let identified = hide(policy, headers)
                .and_then(|()| identify(&ticket))
                .and_then(|()| ask_for_whole_and_plain(&ticket, headers));
            (identified, Some(ticket))
        }
    };
    let Err(refused) = forwarded else {
        return Carried::Goes(ticket);
    };
    // Rather no answer than a request that says it comes from somebody else.
    host::log(
        LogLevel::Error,
        &format!("a request's headers could not be changed: {refused}"),
    );
    if let Some(ticket) = ticket {
        let now = shared.clock.latest();
        shared.with_worker(|worker| worker.finish(&ticket, Ending::Died, now));
    }
    refuse(policy, &Refusal::Code(Code::StoreUnavailable), headers);
    Carried::Answered
}

/// The value of a pseudo header, empty where it is missing.
pub fn value<'h>(headers: &[Pair<'h>], wanted: &str) -> &'h [u8] {
    headers
        .iter()
        .find(|(name, _)| *name == wanted.as_bytes())
        .map_or(b"", |(_, value)| value)
}

fn path<'h>(headers: &[Pair<'h>]) -> &'h [u8] {
    value(headers, ":path")
}

/// What only Tollgate may say to the upstream.
const OURS: &[u8] = b"x-tollgate-";

/// Many servers read `x_tollgate_identity` as `x-tollgate-identity`.
fn is_ours(name: &[u8]) -> bool {
    let same = |(byte, ours): (&u8, &u8)| byte == ours || (*byte == b'_' && *ours == b'-');
    name.len() >= OURS.len() && name.iter().zip(OURS).all(same)
}

fn drop_ours(headers: &[Pair<'_>]) -> Result<(), Refused> {
    for (name, _) in headers {
        if is_ours(name) {
            host::remove_header(Map::Request, name)?;
        }
    }
    Ok(())
}

/// Takes away what only Tollgate may say, and the key.
fn hide(policy: &Policy, headers: &[Pair<'_>]) -> Result<(), Refused> {
    for (name, value) in headers {
        if is_ours(name) || policy.hides(name, value) {
            host::remove_header(Map::Request, name)?;
        }
    }
    match policy.path_without_credentials(path(headers)) {
        Some(path) => host::set_header(Map::Request, ":path", &path),
        None => Ok(()),
    }
}

/// Says who calls; whatever the client said of it is gone by now.
fn identify(ticket: &Ticket) -> Result<(), Refused> {
    for (name, value) in ticket.identity() {
        host::add_header(Map::Request, name, value.as_bytes())?;
    }
    Ok(())
}

/// Has the upstream answer with what can be read, where the body tells the cost: whoever asks for a part of it, or
/// compressed, would pay nothing.
fn ask_for_whole_and_plain(ticket: &Ticket, headers: &[Pair<'_>]) -> Result<(), Refused> {
    if !ticket.reads_content() {
        return Ok(());
    }
    let has = |wanted: &[u8]| headers.iter().any(|(name, _)| *name == wanted);
    for name in ["range", "if-range"] {
        if has(name.as_bytes()) {
            host::remove_header(Map::Request, name.as_bytes())?;
        }
    }
    if has(b"accept-encoding") {
        host::set_header(Map::Request, "accept-encoding", b"identity")?;
    }
    Ok(())
}

fn refuse(policy: &Policy, refusal: &Refusal, headers: &[Pair<'_>]) {
    let mut problem = refusal.problem().at(path(headers));
    let request_id = str::from_utf8(value(headers, "x-request-id"));
    if let Ok(id) = request_id
        && !id.is_empty()
    {
        problem = problem.of_request(id);
    }
    // Envoy makes trailers of the answer for the same requests, and a message of the body.
    let is_grpc = grpc::is_content_type(value(headers, "content-type"));
    let answer = if is_grpc {
        policy.responses.grpc_answer(&problem)
    } else {
        policy.responses.answer(&problem)
    };
    let headers: Vec<(&str, &str)> = answer
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let sent = host::send_local_response(&LocalResponse {
        status: answer.status,
        grpc_status: answer.grpc_status.number(),
        details: &format!("tollgate_{}", problem.code().as_str()),
        headers: &headers,
        body: &answer.body,
    });
    if let Err(refused) = sent {
        // The request then stays where it is, and does not go on.
        host::log(
            LogLevel::Error,
            &format!("a request could not be answered: {refused}"),
        );
    }
}
