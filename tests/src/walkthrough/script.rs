//! Commands, run by a shell as they are printed.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long an answer may take to become what it should be.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);

/// A step whose answer was not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected}, after: {command}\n{answer}")]
pub struct Failed {
    command: String,
    expected: String,
    answer: String,
}

impl Failed {
    /// A step that failed for a reason of its own.
    pub fn because(expected: &str, answer: String) -> Self {
        Self {
            command: "the step".to_owned(),
            expected: expected.to_owned(),
            answer,
        }
    }
}

/// A session of a shell.
#[derive(Debug)]
pub struct Script<W> {
    out: W,
    variables: Vec<(String, String)>,
}

impl<W: Write> Script<W> {
    /// A session that prints to `out` and knows `variables`.
    pub const fn new(out: W, variables: Vec<(String, String)>) -> Self {
        Self { out, variables }
    }

    /// Prints a line of explanation.
    pub fn say(&mut self, text: &str) {
        self.print(text);
    }

    /// Sets a variable to the text between two others in `answer`, and prints the line that does it.
    ///
    /// # Errors
    /// When the answer has no such text.
    pub fn set(
        &mut self,
        name: &'static str,
        answer: &str,
        between: (&str, &str),
    ) -> Result<(), Failed> {
        let value = answer
            .split_once(between.0)
            .and_then(|(_, rest)| rest.split_once(between.1))
            .map(|(value, _)| value.to_owned());
        let Some(value) = value else {
            return Err(Failed {
                command: name.to_owned(),
                expected: format!("{}…{}", between.0, between.1),
                answer: answer.to_owned(),
            });
        };
        self.print(&format!("$ {name}={}", masked(&value)));
        self.assign(name, value);
        Ok(())
    }

    /// Prints the line that sets a variable that is known already.
    pub fn show(&mut self, name: &str) {
        let known = self.variables.iter().find(|(known, _)| known == name);
        let value = known.map_or("", |(_, value)| value);
        let line = if value.contains(' ') {
            format!("$ {name}='{}'", masked(value))
        } else {
            format!("$ {name}={}", masked(value))
        };
        self.print(&line);
    }

    /// Everything the commands know, as lines of a shell.
    #[must_use]
    pub fn variables(&self) -> String {
        self.variables
            .iter()
            .map(|(name, value)| format!("export {name}='{value}'\n"))
            .collect()
    }

    /// Sets a variable without a word.
    pub fn assign(&mut self, name: &'static str, value: String) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value));
    }

    /// Prints what is done by hand, such as starting a server again.
    pub fn by_hand(&mut self, command: &str) {
        self.print(&format!("$ {command}"));
    }

    /// Runs a command whose answer must contain each of `expected`.
    ///
    /// # Errors
    /// When it does not.
    pub fn run(&mut self, command: &str, expected: &[&str]) -> Result<String, Failed> {
        let answer = self.shell(command);
        self.print(&format!("$ {command}"));
        self.judge(command, answer, expected)
    }

    /// Runs a command until its answer contains each of `expected`, and prints it once.
    ///
    /// # Errors
    /// When it still does not after 20 s.
    pub fn run_until(&mut self, command: &str, expected: &[&str]) -> Result<String, Failed> {
        self.print(&format!("$ {command}"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.shell(command);
            if expected.iter().all(|text| answer.contains(text)) || Instant::now() > deadline {
                return self.judge(command, answer, expected);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn judge(
        &mut self,
        command: &str,
        answer: String,
        expected: &[&str],
    ) -> Result<String, Failed> {
        self.print(masked(&answer).trim_end());
        match expected.iter().find(|text| !answer.contains(**text)) {
            None => Ok(answer),
            Some(missing) => Err(Failed {
                command: command.to_owned(),
                expected: (*missing).to_owned(),
                answer,
            }),
        }
    }

    fn shell(&self, command: &str) -> String {
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let output = Command::new("bash")
            .args(["-c", command])
            .current_dir(crate::process::repository())
            .envs(variables)
            .output();
        match output {
            Ok(output) => {
                let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
                text.push_str(&String::from_utf8_lossy(&output.stderr));
                // Headers end with a carriage return.
                text.replace('\r', "")
            }
            Err(error) => format!("bash cannot be run: {error}"),
        }
    }

    fn print(&mut self, text: &str) {
        if !text.is_empty() {
            // A reader that is gone is no reason to stop the walk.
            let _ = writeln!(self.out, "{text}");
        }
    }
}

/// The text with ids, secrets and instants as `…`.
fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (kept, variable) = next_variable(rest);
        shown.push_str(kept);
        if variable > 0 {
            shown.push('…');
        }
        rest = &rest[kept.len() + variable..];
    }
    shown
}

/// What stands before the next part that differs from run to run, and how long that part is.
fn next_variable(text: &str) -> (&str, usize) {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.');
    let mut at = 0;
    while at < text.len() {
        let length = text.as_bytes()[at..]
            .iter()
            .take_while(|byte| is_word(**byte))
            .count();
        if is_variable(&text[at..at + length], &text[..at]) {
            return (&text[..at], length);
        }
        at += length.max(1);
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    (text, 0)
}

/// Whether a word is an instant, a request id, a port, a number of seconds, or follows the prefix of an id or a key.
fn is_variable(word: &str, before: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        word.get(range)
            .is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_instant = word.len() >= 20 && digits(0..4) && digits(5..7) && word.ends_with('Z');
    let is_uuid = word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4;
    let is_id = word.len() >= 26 && before.ends_with('_');
    let follows = |prefix: &&str| !word.is_empty() && before.ends_with(*prefix);
    is_instant || is_uuid || is_id || VARIABLE_AFTER.iter().any(follows)
}

/// What stands before words that differ from run to run.
const VARIABLE_AFTER: [&str; 11] = [
    "http://",
    "tg_test_",
    "tga_",
    "cs_test_",
    "bps_",
    "/in_",
    "\"claimToken\":\"",
    "\"lastCharacters\":\"",
    ";r=",
    ";t=",
    ";w=",
];

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn only_what_differs_from_run_to_run_is_masked() {
        let text = r#"{"id":"sub_01JCZ4M5RK7Q8T9V0W1X2Y3Z4A","at":"2026-11-20T07:00:00.123Z","api_requests":"20","key":"tg_test_Ab3dabcdefghijklmnopqrstuvwxyz123456"}"#;
        assert_eq!(
            masked(text),
            r#"{"id":"sub_…","at":"…","api_requests":"20","key":"tg_test_…"}"#
        );
    }
}
