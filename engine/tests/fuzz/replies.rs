//! Answers of Redis: RESP, and what scripts answer in it.

use tollgate_engine::contract::answer::{AnswerError, Entered, Settled};
use tollgate_engine::contract::{CounterField, WindowId};
use tollgate_engine::limits::REPLY_BULK_MAX_BYTES;
use tollgate_engine::resp::{Command, Replies, Reply, ReplyError};

use crate::harness::Target;
use crate::redis;

const WORDS: &[&str] = &[
    "\r\n",
    "*3\r\n",
    "$5\r\n",
    "$-1\r\n",
    "*-1\r\n",
    ":",
    "+OK\r\n",
    "-NOSCRIPT ",
    "-ERR ",
    "*65535\r\n",
    "$4194304\r\n",
    "ready",
    "unready",
    "ok",
    "again",
    "gap",
    "stale",
    "unknown",
];

/// Writes a reply as Redis would.
fn write(out: &mut Vec<u8>, reply: &Reply<'_>) {
    let line =
        |out: &mut Vec<u8>, kind: u8, line: &[u8]| out.extend([&[kind], line, b"\r\n"].concat());
    match reply {
        Reply::Simple(text) => line(out, b'+', text),
        Reply::Error(text) => line(out, b'-', text),
        Reply::Integer(number) => line(out, b':', number.to_string().as_bytes()),
        Reply::Nil => line(out, b'$', b"-1"),
        Reply::Bulk(bytes) => {
            line(out, b'$', bytes.len().to_string().as_bytes());
            out.extend([bytes, &b"\r\n"[..]].concat());
        }
        Reply::Array(replies) => {
            line(out, b'*', replies.len().to_string().as_bytes());
            replies.iter().for_each(|reply| write(out, reply));
        }
    }
}

fn outcome(error: AnswerError) -> String {
    match error {
        AnswerError::Refused(_) => "refused".to_owned(),
        AnswerError::NoScript | AnswerError::Unexpected => format!("{error:?}"),
    }
}

#[test]
fn replies_are_whole_or_none() {
    let examples = redis::examples();
    Target {
        name: "replies",
        examples,
        words: WORDS,
    }
    .run(
        |length| 96 * length + 4 * 1_024,
        |answer| {
            let mut kinds = Vec::new();
            let mut written = Vec::new();
            let mut error = None;
            for reply in Replies::new(answer) {
                match reply {
                    Ok(reply) => {
                        kinds.push(Entered::read(&reply).map(|_| ()).map_err(outcome));
                        kinds.push(Settled::read(&reply).map(|_| ()).map_err(outcome));
                        write(&mut written, &reply);
                    }
                    Err(met) => error = Some(met),
                }
            }
            // What was read says the same again, with nothing before, between or after.
            let again: Vec<_> = Replies::new(&written).flatten().collect();
            assert_eq!(again.len() * 2, kinds.len());
            if error.is_none() {
                let all: Vec<_> = Replies::new(answer).flatten().collect();
                assert_eq!(all, again);
            }
            // An answer that is cut is never taken for a whole one.
            if error.is_none() && !answer.is_empty() {
                let cut = Replies::new(&answer[..answer.len() - 1]).last();
                assert_eq!(cut, Some(Err(ReplyError::Incomplete)));
            }
            (kinds, error.map(|error| error as u8))
        },
    );
}

#[test]
fn an_announced_length_reserves_nothing() {
    Target {
        name: "announced lengths",
        examples: ["*65535\r\n", "$4194304\r\n", "*8\r\n*8\r\n*8\r\n"]
            .map(Vec::from)
            .to_vec(),
        words: &["*65535\r\n", "*1\r\n", "$4194304\r\n", ":1\r\n"],
    }
    .run(
        |length| (96 * length + 1_024).min(REPLY_BULK_MAX_BYTES),
        |answer| {
            Replies::new(answer)
                .map(|reply| reply.is_ok())
                .collect::<Vec<_>>()
        },
    );
}

#[test]
fn any_words_are_sent_as_they_are() {
    Target {
        name: "commands",
        examples: vec![
            b"tg:{Ab3z}:usage".to_vec(),
            Vec::new(),
            b"\r\n$3\r\n".to_vec(),
        ],
        words: WORDS,
    }
    .run(
        |length| 32 * length + 4 * 1_024,
        |word| {
            let mut out = b"+before\r\n".to_vec();
            Command::append(&mut out, "EVALSHA", |command| {
                command.word(word).number(word.len() as u64).word(word);
            });
            let length = word.len().to_string();
            let expected = [b"EVALSHA", word, length.as_bytes(), word]
                .map(Reply::Bulk)
                .to_vec();
            assert_eq!(Replies::new(&out).nth(1), Some(Ok(Reply::Array(expected))));
        },
    );
}

#[test]
fn names_of_windows_and_counters_come_back() {
    Target {
        name: "names",
        examples: [
            "1/api_requests/1790000000000",
            "h/2/calls/-5/497222/key_1",
            "b/1/a/b/7",
        ]
        .map(Vec::from)
        .to_vec(),
        words: &["/", "h/", "b/", "-", "+", "0"],
    }
    .run(
        |length| 8 * length + 1_024,
        |name| {
            let text = String::from_utf8_lossy(name);
            let (window, counter) = (
                text.parse::<WindowId>().ok(),
                text.parse::<CounterField>().ok(),
            );
            if let Some(window) = &window {
                assert_eq!(window.to_string().parse().as_ref(), Ok(window));
            }
            if let Some(counter) = &counter {
                assert_eq!(counter.to_string().parse().as_ref(), Ok(counter));
            }
            (window.is_some(), counter.is_some())
        },
    );
}
