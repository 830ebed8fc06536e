//! Decimal texts of responses: numbers of JSON bodies and values of headers.

use crate::limits::REQUEST_MAX_MILLI;

/// Digits before the point of thousandths that an amount may have.
const DIGITS_MAX: usize = 13;
const _: () = assert!(10_u64.pow(DIGITS_MAX as u32 - 1) == REQUEST_MAX_MILLI);

/// Thousandths of units of a number as JSON writes it; what is finer is cut off, to the customer's benefit.
///
/// `None` for anything else, for what is negative, and for more than one request may cost.
pub(super) fn parse(text: &[u8]) -> Option<u64> {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, decimals) = match point {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let is_number = !whole.is_empty() && (point.is_none() || !decimals.is_empty());
    let digits = || whole.iter().chain(decimals).copied();
    if !is_number || !digits().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let zeros = digits().take_while(|digit| *digit == b'0').count();
    // Where the point of thousandths stands after the zeros that mean nothing.
    let before_point =
        i64::try_from(whole.len()).ok()? + exponent + 3 - i64::try_from(zeros).ok()?;
    if zeros == whole.len() + decimals.len() || before_point <= 0 {
        return Some(0);
    }
    let before_point = usize::try_from(before_point).ok()?;
    if before_point > DIGITS_MAX {
        return None;
    }
    let padded = digits().skip(zeros).chain(std::iter::repeat(b'0'));
    let milli = padded
        .take(before_point)
        .fold(0_u64, |milli, digit| milli * 10 + u64::from(digit - b'0'));
    (milli <= REQUEST_MAX_MILLI).then_some(milli)
}

/// An exponent; one beyond a hundred thousand is as good as that.
fn exponent(text: &[u8]) -> Option<i64> {
    const FAR: i64 = 100_000;
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] | digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0, |size, digit| {
        (size * 10 + i64::from(digit - b'0')).min(FAR)
    });
    Some(sign * size)
}
