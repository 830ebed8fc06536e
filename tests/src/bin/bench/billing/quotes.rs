//! Quotes: `tollgate quote` over many lines, by the processor time of its one process.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Bar, Figure};
use crate::work::ended_children_us;

const LINES: usize = 400_000;
const ROUNDS: usize = 5;
/// Different rate cards, one after another.
const CARDS: usize = 64;
const LEAST_PER_SECOND: f64 = 200_000.0;

/// Quotes of graduated prices per second of one processor, the median of several rounds.
pub fn measure() -> Figure {
    let mut input = lines();
    check(&mut input);
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(&mut input)).collect();
    rounds.sort_by(f64::total_cmp);
    Figure {
        name: "quotes".to_owned(),
        value: rounds[ROUNDS / 2],
        unit: "graduated quotes per second and core".to_owned(),
        bar: Some(Bar::AtLeast(LEAST_PER_SECOND)),
        limit: None,
    }
}

fn lines() -> File {
    let file = tempfile::tempfile().expect("a file can be made");
    let cards: Vec<_> = (0..CARDS).map(card).collect();
    let mut writer = BufWriter::new(&file);
    for (number, card) in cards.iter().cycle().take(LINES).enumerate() {
        let quantity = number * 7_919 % 2_000_000;
        let line = json!({"currency": "USD", "rateCard": card, "quantity": quantity.to_string(), "credits": "0"});
        writeln!(writer, "{line}").expect("a file can be written");
    }
    writer.flush().expect("a file can be written");
    drop(writer);
    file
}

/// A rate card of three tiers, as a plan has it.
fn card(number: usize) -> Value {
    let tiers = json!([
        {"upToAmount": format!("{}", 1_000 + number), "unitPrice": {"type": "unit", "amount": "0.10"}},
        {"upToAmount": "100000", "flatPrice": {"type": "flat", "amount": "10"},
         "unitPrice": {"type": "unit", "amount": format!("0.05{number}")}},
        {"upToAmount": null, "flatPrice": null, "unitPrice": {"type": "unit", "amount": "0.01"}},
    ]);
    json!({
        "type": "usage_based", "key": "api_calls", "name": "API calls", "featureKey": "api_calls",
        "billingCadence": "P1M", "price": {"type": "tiered", "mode": "graduated", "tiers": tiers},
    })
}

fn quote(input: &mut File, output: Stdio) -> std::process::Child {
    let program = env::var_os("TOLLGATE_BIN").expect("TOLLGATE_BIN names the program");
    input.rewind().expect("a file can be read again");
    let input = input.try_clone().expect("a file can be shared");
    let mut command = Command::new(program);
    command.arg("quote").stdin(input).stdout(output);
    command.spawn().expect("the program starts")
}

/// Every line is priced: what is fast is right, too.
fn check(input: &mut File) {
    let mut child = quote(input, Stdio::piped());
    let output = BufReader::new(child.stdout.take().expect("it was asked for"));
    let lines = output.lines().map(|line| line.expect("a line can be read"));
    let priced = lines.filter(|line| {
        line.contains("\"graduated-tiered-1-price-usage\"") || line.contains("\"0.00\"}")
    });
    assert_eq!(priced.count(), LINES, "every line is priced");
    assert!(child.wait().expect("it ends").success());
}

fn round(input: &mut File) -> f64 {
    let before = ended_children_us();
    let status = quote(input, Stdio::null()).wait().expect("it ends");
    assert!(status.success());
    LINES as f64 * 1e6 / (ended_children_us() - before)
}
