//! Tables for commands and replies.

use super::*;

fn read(answer: &[u8]) -> Vec<Result<Reply<'_>, ReplyError>> {
    Replies::new(answer).collect()
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn commands_are_appended_whole() {
    let mut out = Vec::new();
    Command::append(&mut out, "PING", |_| {});
    Command::append(&mut out, "SET", |command| {
        command.word("k\r\n").word([0, 255]).word("");
        command.number(0).number(u64::MAX);
    });
    let expected =
        b"*1\r\n$4\r\nPING\r\n*6\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\n\x00\xff\r\n$0\r\n\r\n\
        $1\r\n0\r\n$20\r\n18446744073709551615\r\n";
    assert_eq!(out, expected);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn every_kind_of_reply_is_read() {
    let answer = b"+OK\r\n-NOSCRIPT No matching script\r\n:-42\r\n$5\r\na\r\nb\0\r\n$-1\r\n*-1\r\n\
        *3\r\n:1\r\n*0\r\n$0\r\n\r\n+\r\n";
    let expected = [
        Reply::Simple(b"OK"),
        Reply::Error(b"NOSCRIPT No matching script"),
        Reply::Integer(-42),
        Reply::Bulk(b"a\r\nb\0"),
        Reply::Nil,
        Reply::Nil,
        Reply::Array(vec![
            Reply::Integer(1),
            Reply::Array(vec![]),
            Reply::Bulk(b""),
        ]),
        Reply::Simple(b""),
    ];
    assert_eq!(read(answer), expected.map(Ok));
    assert_eq!(read(b""), []);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_is_no_reply_is_malformed() {
    let mut deep = b"*1\r\n".repeat(REPLY_DEPTH_MAX + 1);
    deep.extend_from_slice(b":1\r\n");
    let mut long_line = vec![b'+'];
    long_line.resize(REPLY_LINE_MAX_BYTES + 1, b'x');
    // As many values as announced, each within its own array's limit, together beyond it.
    let half = format!(
        "*{0}\r\n{1}",
        REPLY_VALUES_MAX / 2,
        ":1\r\n".repeat(REPLY_VALUES_MAX / 2)
    );
    let many = format!("*2\r\n{half}{half}").into_bytes();
    let table: &[&[u8]] = &[
        b"hello\r\n",
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b":\r\n",
        b":+1\r\n",
        b":-\r\n",
        b":1.5\r\n",
        b":9223372036854775808\r\n",
        b":1\n",
        b"+OK\rX",
        b"+a\nb\r\n",
        b"$-2\r\n",
        b"$x\r\n",
        b"$1\r\nabc\r\n",
        b"$99999999999999999999\r\n",
        b"$9223372036854775807\r\n",
        b"$4194305\r\n",
        b"*9223372036854775807\r\n",
        b"*65536\r\n",
        b"*-2\r\n",
        b"*1\r\n?\r\n",
        &deep,
        &long_line,
        &many,
    ];
    for answer in table {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(40)]);
        assert_eq!(read(answer), [Err(ReplyError::Malformed)], "{shown}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_short_answer_gives_its_whole_replies_and_then_says_so() {
    let answer = b"+OK\r\n*2\r\n$5\r\nhello\r\n:1\r\n";
    assert_eq!(
        read(&answer[..answer.len() - 1]),
        [Ok(Reply::Simple(b"OK")), Err(ReplyError::Incomplete)]
    );
    // Announced within the limits, never sent.
    assert_eq!(read(b"$4194304\r\n"), [Err(ReplyError::Incomplete)]);
    assert_eq!(read(b"*65535\r\n"), [Err(ReplyError::Incomplete)]);
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn a_malformed_reply_ends_the_answer() {
    assert_eq!(
        read(b":1\r\n?\r\n:2\r\n"),
        [Ok(Reply::Integer(1)), Err(ReplyError::Malformed)]
    );
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn views_answer_for_their_kind_only() {
    assert_eq!(
        Reply::Error(b"NOSCRIPT No matching").error_kind(),
        Some(&b"NOSCRIPT"[..])
    );
    assert_eq!(Reply::Error(b"ERR").error_kind(), Some(&b"ERR"[..]));
    assert_eq!(Reply::Simple(b"NOSCRIPT x").error_kind(), None);
    assert_eq!(Reply::Bulk(b"x").as_bulk(), Some(&b"x"[..]));
    assert_eq!(Reply::Simple(b"x").as_bulk(), None);
    assert_eq!(Reply::Array(vec![]).as_array(), Some(&[][..]));
    assert_eq!(Reply::Nil.as_array(), None);
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A reply that owns its bytes, since strategies cannot lend.
    #[derive(Clone, Debug)]
    enum Owned {
        Simple(Vec<u8>),
        Error(Vec<u8>),
        Integer(i64),
        Bulk(Vec<u8>),
        Nil,
        Array(Vec<Owned>),
    }

    impl Owned {
        fn lend(&self) -> Reply<'_> {
            match self {
                Self::Simple(line) => Reply::Simple(line),
                Self::Error(line) => Reply::Error(line),
                Self::Integer(integer) => Reply::Integer(*integer),
                Self::Bulk(bytes) => Reply::Bulk(bytes),
                Self::Nil => Reply::Nil,
                Self::Array(members) => Reply::Array(members.iter().map(Self::lend).collect()),
            }
        }

        fn write(&self, out: &mut Vec<u8>) {
            match self {
                Self::Simple(line) => out.extend([b"+", &line[..], b"\r\n"].concat()),
                Self::Error(line) => out.extend([b"-", &line[..], b"\r\n"].concat()),
                Self::Integer(integer) => out.extend(format!(":{integer}\r\n").bytes()),
                Self::Bulk(bytes) => {
                    out.extend(format!("${}\r\n", bytes.len()).bytes());
                    out.extend([&bytes[..], b"\r\n"].concat());
                }
                Self::Nil => out.extend(b"$-1\r\n"),
                Self::Array(members) => {
                    out.extend(format!("*{}\r\n", members.len()).bytes());
                    members.iter().for_each(|member| member.write(out));
                }
            }
        }
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        vec(
            any::<u8>().prop_filter("ends a line", |byte| !b"\r\n".contains(byte)),
            0..20,
        )
    }

    fn reply() -> impl Strategy<Value = Owned> {
        let leaf = prop_oneof![
            line().prop_map(Owned::Simple),
            line().prop_map(Owned::Error),
            any::<i64>().prop_map(Owned::Integer),
            vec(any::<u8>(), 0..40).prop_map(Owned::Bulk),
            Just(Owned::Nil),
        ];
        leaf.prop_recursive(4, 32, 6, |member| vec(member, 0..6).prop_map(Owned::Array))
    }

    proptest! {
        #[test]
        fn replies_round_trip(replies in vec(reply(), 0..6)) {
            let mut answer = Vec::new();
            replies.iter().for_each(|reply| reply.write(&mut answer));
            let expected: Vec<_> = replies.iter().map(|reply| Ok(reply.lend())).collect();
            prop_assert_eq!(read(&answer), expected);
        }

        #[test]
        fn every_truncation_is_incomplete(reply in reply()) {
            let mut answer = Vec::new();
            reply.write(&mut answer);
            for end in 1..answer.len() {
                prop_assert_eq!(read(&answer[..end]), [Err(ReplyError::Incomplete)]);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            answer in vec(prop_oneof![any::<u8>(), prop::sample::select(&b"*$:+-\r\n0129"[..])], 0..200)
        ) {
            let replies = read(&answer);
            let errors = replies.iter().filter(|reply| reply.is_err()).count();
            prop_assert!(errors <= 1);
        }

        #[test]
        fn commands_are_arrays_of_bulk_strings(words in vec(vec(any::<u8>(), 0..30), 0..8)) {
            let mut out = Vec::new();
            Command::append(&mut out, "EVALSHA", |command| {
                words.iter().for_each(|word| { command.word(word); });
            });
            let expected = std::iter::once(&b"EVALSHA"[..])
                .chain(words.iter().map(Vec::as_slice))
                .map(Reply::Bulk)
                .collect();
            prop_assert_eq!(read(&out), [Ok(Reply::Array(expected))]);
        }
    }
}
