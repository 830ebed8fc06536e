//! Proof that an event comes from Stripe: `Stripe-Signature: t=…,v1=…`, HMAC-SHA-256 over `{t}.{body}`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::MachineInstant;
use crate::config::Secret;
use crate::error::{Error, Result};

/// How far an event's time may be from ours, in seconds.
const TOLERANCE_SECONDS: i64 = 300;

/// Checks that one of the header's signatures was made with one of our secrets, and lately.
///
/// # Errors
/// 400 when none was, or too long ago; 409 when there is no secret to compare with.
pub(super) fn check(
    header: &str,
    body: &[u8],
    secrets: &[Secret],
    now: MachineInstant,
) -> Result<()> {
    let secrets: Vec<_> = secrets
        .iter()
        .filter(|secret| !secret.expose().is_empty())
        .collect();
    if secrets.is_empty() {
        let detail = "Set STRIPE_WEBHOOK_SECRET to the signing secret of this endpoint.";
        return Err(Error::conflict("webhook_secret_missing", detail));
    }
    let parts = || {
        header
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
    };
    let time = parts().find(|(name, _)| *name == "t").map(|(_, time)| time);
    let time = time.ok_or_else(|| refused("The signature has no time."))?;
    let seconds: i64 = time
        .parse()
        .map_err(|_| refused("The signature has no time."))?;
    let signatures: Vec<Vec<u8>> = parts()
        .filter(|(name, _)| *name == "v1")
        .filter_map(|(_, hex)| bytes(hex))
        .collect();
    let signed = signatures.iter().any(|signature| {
        // All of them in constant time: how much fits must not show.
        secrets
            .iter()
            .any(|secret| matches(secret.expose(), time, body, signature))
    });
    if !signed {
        return Err(refused(
            "No signature was made with a secret of this endpoint.",
        ));
    }
    let apart = now.timestamp().as_second().saturating_sub(seconds);
    if apart.saturating_abs() > TOLERANCE_SECONDS {
        let detail = format!("The signature is {apart} seconds old.");
        return Err(Error::invalid_request("stripe_signature_stale", detail));
    }
    Ok(())
}

fn matches(secret: &str, time: &str, body: &[u8], signature: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.verify_slice(signature).is_ok()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

fn refused(detail: &'static str) -> Error {
    Error::invalid_request("stripe_signature_invalid", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn secrets(secrets: &[&str]) -> Vec<Secret> {
        secrets
            .iter()
            .map(|secret| (*secret).to_owned().into())
            .collect()
    }

    fn sign(secret: &str, seconds: i64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{seconds}.").as_bytes());
        mac.update(BODY);
        crate::hex(&mac.finalize().into_bytes())
    }

    fn at(seconds: i64) -> MachineInstant {
        MachineInstant::from_unix_ms(seconds * 1_000)
    }

    #[test]
    fn the_known_example_of_an_hmac_holds() {
        // RFC 4231, test case 2.
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(crate::hex(&mac.finalize().into_bytes()), expected);
    }

    #[test]
    fn any_signature_with_any_secret_proves_it() {
        let header = format!("t=1000,v1={},v1={}", sign("old", 1_000), sign("new", 1_000));
        for ours in [&["new"][..], &["old"], &["other", "new"]] {
            check(&header, BODY, &secrets(ours), at(1_000)).unwrap();
        }
        let code = |header: &str, ours: &[&str], now: i64| {
            check(header, BODY, &secrets(ours), at(now))
                .unwrap_err()
                .code()
        };
        assert_eq!(code(&header, &["other"], 1_000), "stripe_signature_invalid");
        assert_eq!(code(&header, &[], 1_000), "webhook_secret_missing");
        assert_eq!(code(&header, &[""], 1_000), "webhook_secret_missing");
        let moved = header.replace("t=1000", "t=1001");
        assert_eq!(code(&moved, &["new"], 1_000), "stripe_signature_invalid");
        for broken in [
            "",
            "t=1000",
            "v1=00",
            "t=x,v1=00",
            "t=1000,v1=",
            "t=1000,v1=zz",
            "t=1000,v0=00",
        ] {
            assert_eq!(
                code(broken, &["new"], 1_000),
                "stripe_signature_invalid",
                "{broken}"
            );
        }
    }

    #[test]
    fn five_minutes_are_tolerated_either_way() {
        let header = format!("t=1000,v1={}", sign("s", 1_000));
        for now in [700, 1_000, 1_300] {
            check(&header, BODY, &secrets(&["s"]), at(now)).unwrap();
        }
        for now in [699, 1_301] {
            let error = check(&header, BODY, &secrets(&["s"]), at(now)).unwrap_err();
            assert_eq!(error.code(), "stripe_signature_stale");
        }
    }
}
