//! A Redis that answers anything: what scripts answer, with numbers at which arithmetic breaks, and garbage.

use tollgate_engine::contract::Script;
use tollgate_engine::resp::Replies;

use crate::documents::{ACCESS, KEY, WORDS};
use crate::harness::{NUMBERS, Random, mutated};

/// Unix time of the requests, ms: within the terms of the documents.
pub const NOW_MS: i64 = 1_791_500_000_000;
const WINDOWS: [&str; 4] = [
    "2/api_requests/1791000000000",
    "2/api_requests/1792592000000",
    "1/api_requests/1790000000000",
    "9//-1",
];

/// Answers in the form of Redis's, to begin with.
pub fn examples() -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    let simple = [
        &b"+OK\r\n:1\r\n$-1\r\n*0\r\n"[..],
        b"-NOSCRIPT No matching script.\r\n",
        b"*2\r\n$3\r\nabc\r\n*1\r\n:-5\r\n",
    ];
    let simple = simple.map(<[u8]>::to_vec);
    let scripted = (0..20).map(|number| {
        if number % 2 == 0 {
            entered(&mut random, 90)
        } else {
            settled(&mut random, 90)
        }
    });
    simple.into_iter().chain(scripted).collect()
}

/// An answer to every command of a call; `sane` percent of its fields are as they should be.
pub fn answer(call: &[u8], random: &mut Random, sane: usize) -> Vec<u8> {
    let enter = Script::Enter.sha1();
    let mut answers = Vec::new();
    for command in Replies::new(call) {
        let command = command.unwrap();
        let words = command.as_array().unwrap();
        let is_enter = words.get(1).and_then(|word| word.as_bulk()) == Some(enter.as_bytes());
        let one = match random.below(100) {
            at if at >= sane => garbage(random),
            _ if is_enter => entered(random, sane),
            _ => settled(random, sane),
        };
        answers.extend(one);
    }
    if !random.chance(sane) {
        answers.truncate(random.below(answers.len() + 1));
    }
    answers
}

fn garbage(random: &mut Random) -> Vec<u8> {
    mutated(
        &examples_of_garbage(),
        &["\r\n", "*", "$", ":1\r\n"],
        random,
    )
}

fn examples_of_garbage() -> Vec<Vec<u8>> {
    [
        "-LOADING Redis is loading\r\n",
        "-NOSCRIPT x\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "*1\r\n$7\r\nunready\r\n",
        "*3\r\n$2\r\nok\r\n:1\r\n:2\r\n",
    ]
    .map(Vec::from)
    .to_vec()
}

fn entered(random: &mut Random, sane: usize) -> Vec<u8> {
    let state = field(random, sane, &["ready"], &["unready", "", "x"]);
    let time = field(random, sane, &[&NOW_MS.to_string()], &NUMBERS);
    let mut fields = vec![state, field(random, sane, &["node"], &["other", ""]), time];
    fields.push(field(random, sane, &["1"], &["2", ""]));
    fields.push(field(random, sane, &[""], &NUMBERS));
    fields.push(field(random, sane, &["5"], &NUMBERS));
    for number in 0..random.below(4) {
        fields.push(field(random, sane, &[&(number + 5).to_string()], &NUMBERS));
        fields.push(field(random, sane, &["s", "k"], &["x"]));
        fields.push(field(
            random,
            sane,
            &["sub_01JCZ4M5RK7Q8T9V0W1X2Y3Z4A"],
            &["", "zz"],
        ));
        fields.push(field(random, sane, &["8"], &NUMBERS));
    }
    array(&fields)
}

fn settled(random: &mut Random, sane: usize) -> Vec<u8> {
    let outcome = field(
        random,
        sane,
        &["ok"],
        &["again", "gap", "stale", "unknown", "unready", ""],
    );
    let mut fields = vec![outcome];
    fields.push(field(random, sane, &["1", "2", "3"], &NUMBERS));
    fields.push(field(random, sane, &["7"], &NUMBERS));
    fields.push(document(random, sane, ACCESS));
    fields.push(document(random, sane, KEY));
    fields.push(field(random, sane, &["0"], &NUMBERS));
    fields.push(field(random, sane, &["", "1", "2 1"], &NUMBERS));
    for _ in 0..random.below(3) {
        fields.push(field(random, sane, &WINDOWS[..2], &WINDOWS));
        for usual in ["5000", "100000", "0", "1000", "1"] {
            fields.push(field(random, sane, &[usual], &NUMBERS));
        }
    }
    array(&fields)
}

fn field(random: &mut Random, sane: usize, usual: &[&str], others: &[&str]) -> String {
    let among = if random.chance(sane) { usual } else { others };
    (*random.pick(among)).to_owned()
}

fn document(random: &mut Random, sane: usize, example: &str) -> String {
    if random.chance(sane) {
        return example.to_owned();
    }
    if random.chance(20) {
        return String::new();
    }
    let bytes = mutated(&[example.as_bytes().to_vec()], WORDS, random);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn array(fields: &[String]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", fields.len()).into_bytes();
    for field in fields {
        out.extend(format!("${}\r\n{field}\r\n", field.len()).bytes());
    }
    out
}
