//! How a window that nobody uses is packed.

use std::rc::Rc;

use super::{Window, WindowView};
use crate::contract::WindowId;
use crate::packed::pack_fields;

pack_fields!(WindowView: remaining, leased_to_others, used);
pack_fields!(
    Window: number, meter, epoch, start_ms; id = name(&meter, epoch, start_ms); end_ms, included,
    limit, leases, in_flight, granted,
    reservations, last_spent_ms, rate, spends_fractions, consumed, returned, shares, unacknowledged,
    view, exhausted_until_ms, others_wait
);

/// A window's id as it is in Redis.
pub(super) fn name(meter: &Rc<str>, epoch: u32, start_ms: i64) -> Rc<str> {
    let id = WindowId {
        epoch,
        meter: meter.as_ref().to_owned(),
        start_ms,
    };
    id.to_string().into()
}
