//! `meterFrom`, `upstreamMeters` and `reserve`: costs that only the response tells.

use std::rc::Rc;

use super::read::{Node, Object};
use super::rules::{MeterCost, read_distinct, read_slug};
use crate::cost::{Pointer, Source, Term, Told, ToldMeter};
use crate::limits::{
    FIELD_NAME_MAX_BYTES, METERS_PER_RULE_MAX, REQUEST_MAX_MILLI, TERMS_PER_METER_MAX,
};
use crate::slug::Slug;
use crate::units::Units;

/// Reads what a rule says of its meters' costs, and notes with each meter what it holds. `meters` are the rule's,
/// unless they could not be read.
pub(super) fn read(
    rule: &mut Object<'_>,
    meters: Option<&mut [MeterCost]>,
) -> Option<Option<Rc<Told>>> {
    let (from, upstream, reserve) = (
        rule.take("meterFrom"),
        rule.take("upstreamMeters"),
        rule.take("reserve"),
    );
    // Without the meters there is nothing to compare with; their mistake is told already.
    let meters = meters?;
    let mut pointers = Vec::new();
    let from = from.map_or(Some(Vec::new()), |node| {
        read_from(&node, meters, &mut pointers)
    });
    let upstream = upstream.map_or(Some(Vec::new()), |node| read_upstream(&node, meters));
    let (from, upstream) = (from?, upstream?);
    let mut told = Vec::new();
    for (place, cost) in meters.iter_mut().enumerate() {
        let terms = from.iter().find(|(meter, _)| *meter == cost.meter);
        let heeds_upstream = upstream.contains(&cost.meter);
        cost.is_told = terms.is_some() || heeds_upstream;
        if cost.is_told {
            told.push(ToldMeter {
                meter: cost.meter.clone(),
                place,
                units: cost.units,
                terms: terms.map_or_else(Box::default, |(_, terms)| terms.clone()),
                heeds_upstream,
            });
        }
    }
    if let Some(node) = reserve {
        read_reserve(&node, meters)?;
    }
    Some((!told.is_empty()).then(|| {
        Rc::new(Told {
            meters: told.into(),
            pointers: pointers.into(),
        })
    }))
}

const FOREIGN: &str =
    "is not one of the rule's meters: list it there, with 0 units if only the response tells them";

type From = Vec<(Slug, Box<[Term]>)>;

fn read_from(
    node: &Node<'_>,
    meters: &[MeterCost],
    pointers: &mut Vec<Rc<Pointer>>,
) -> Option<From> {
    let fields = node.object()?.into_fields();
    if fields.is_empty() {
        node.mistake("is empty: leave it out");
        return None;
    }
    let mut read = |(name, node): (String, Node<'_>)| {
        let terms = read_terms(&node, pointers);
        let Some(cost) = meters.iter().find(|cost| cost.meter.as_str() == name) else {
            node.mistake(FOREIGN);
            return None;
        };
        Some((cost.meter.clone(), terms?.into()))
    };
    // Collected first, so that every meter's mistake is named.
    let read: Vec<Option<_>> = fields.into_iter().map(&mut read).collect();
    read.into_iter().collect()
}

/// One source, or several that are added up.
fn read_terms(node: &Node<'_>, pointers: &mut Vec<Rc<Pointer>>) -> Option<Vec<Term>> {
    let mut object = node.object()?;
    let Some(sum) = object.take("sum") else {
        return Some(vec![read_term(node, object, pointers)?]);
    };
    object.finish();
    let members = sum.list(1..=TERMS_PER_METER_MAX)?;
    let read: Vec<Option<Term>> = members
        .iter()
        .map(|member| read_term(member, member.object()?, pointers))
        .collect();
    read.into_iter().collect()
}

fn read_term(
    node: &Node<'_>,
    mut object: Object<'_>,
    pointers: &mut Vec<Rc<Pointer>>,
) -> Option<Term> {
    let header = object.take("header");
    let trailer = object.take("trailer");
    let pointer = object.take("jsonPointer");
    let bytes = object.take("responseBytes");
    let times = object.or("times", Units::ONE, |node| {
        node.units(Units::from_milli(REQUEST_MAX_MILLI)?)
    });
    object.finish();
    let source = match (header, trailer, pointer, bytes) {
        (Some(node), None, None, None) => read_field(&node).map(Source::Header),
        (None, Some(node), None, None) => read_field(&node).map(Source::Trailer),
        (None, None, Some(node), None) => read_pointer(&node, pointers).map(Source::Pointer),
        (None, None, None, Some(node)) => read_bytes(&node),
        _ => {
            node.mistake("must have one of header, trailer, jsonPointer and responseBytes");
            None
        }
    };
    Some(Term {
        source: source?,
        times: times?,
    })
}

/// The name of a header or trailer, in lower case as Envoy has it.
fn read_field(node: &Node<'_>) -> Option<Box<str>> {
    let name = node.text_of(
        FIELD_NAME_MAX_BYTES,
        |byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte),
        "the characters of a header name",
    )?;
    Some(name.to_ascii_lowercase().into())
}

/// The place of a pointer among those of the rule.
fn read_pointer(node: &Node<'_>, pointers: &mut Vec<Rc<Pointer>>) -> Option<usize> {
    let pointer = Pointer::parse(&node.text()?)
        .map_err(|mistake| node.mistake(mistake))
        .ok()?;
    let known = pointers.iter().position(|known| **known == pointer);
    Some(known.unwrap_or_else(|| {
        pointers.push(Rc::new(pointer));
        pointers.len() - 1
    }))
}

fn read_bytes(node: &Node<'_>) -> Option<Source> {
    if !node.boolean()? {
        node.mistake("must be true");
        return None;
    }
    Some(Source::Bytes)
}

fn read_upstream(node: &Node<'_>, meters: &[MeterCost]) -> Option<Vec<Slug>> {
    read_distinct(node, METERS_PER_RULE_MAX, |node| {
        let meter = read_slug(node)?;
        if meters.iter().all(|cost| cost.meter != meter) {
            node.mistake(FOREIGN);
            return None;
        }
        Some(meter)
    })
}

fn read_reserve(node: &Node<'_>, meters: &mut [MeterCost]) -> Option<()> {
    let fields = node.object()?.into_fields();
    if fields.is_empty() {
        node.mistake("is empty: leave it out");
        return None;
    }
    let mut read = |(name, node): (String, Node<'_>)| {
        let units = node.units(Units::from_milli(REQUEST_MAX_MILLI)?);
        let Some(cost) = meters.iter_mut().find(|cost| cost.meter.as_str() == name) else {
            node.mistake(FOREIGN);
            return None;
        };
        if !cost.is_told {
            node.mistake(
                "is for a meter whose cost no response tells: see meterFrom and upstreamMeters",
            );
            return None;
        }
        let units = units?;
        if units <= cost.units {
            node.mistake("reserves no more than meters says");
            return None;
        }
        cost.held = units;
        Some(())
    };
    let read: Vec<Option<()>> = fields.into_iter().map(&mut read).collect();
    read.into_iter().collect()
}
