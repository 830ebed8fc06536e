//! Rules: which requests they are for and what they ask of them.

use std::rc::Rc;
use std::str::FromStr;

use super::MeteringMode;
use super::grpc::GrpcStatuses;
use super::path::{Extent, PathMatch, Paths};
use super::rates::{self, RateCost};
use super::read::{Node, Object};
use super::statuses::Statuses;
use super::told;
use crate::cost::Told;
use crate::limits::{
    METERS_PER_RULE_MAX, METHOD_MAX_BYTES, METHODS_PER_RULE_MAX, REQUEST_MAX_MILLI,
    REQUIRES_PER_RULE_MAX, RULE_PATH_MAX_BYTES, RULES_MAX,
};
use crate::slug::Slug;
use crate::units::Units;

/// One rule, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    index: usize,
    path: PathMatch,
    methods: Methods,
    access: Access,
}

/// Who may pass a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone: no key is looked at and nothing is metered.
    Public,
    /// Whoever has a key with what the rule asks for.
    Keyed(Demand),
}

/// What a rule asks of a key and its subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// What a request costs, in the order of the slugs; none when the rule only authenticates.
    pub meters: Box<[MeterCost]>,
    /// Features whose boolean entitlement must be true.
    pub requires: Box<[Slug]>,
    /// Statuses of answers that are metered; all others give their units back.
    pub metered_statuses: Statuses,
    /// Statuses of gRPC responses that are metered.
    pub metered_grpc_statuses: GrpcStatuses,
    /// What a request takes of rate limits; nothing in most rules.
    pub rates: Box<[RateCost]>,
    /// Costs that only the response tells, if any.
    pub told: Option<Rc<Told>>,
    /// When its units are counted, if not as the configuration says for all.
    pub mode: Option<MeteringMode>,
}

/// What one request costs on one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterCost {
    /// The meter.
    pub meter: Slug,
    /// Its units; may be 0.
    pub units: Units,
    /// Units held until the response has told the cost; the same as `units` where nothing is reserved.
    pub held: Units,
    /// Whether the response tells the cost.
    pub is_told: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Methods {
    All,
    Only(Box<[Box<str>]>),
}

impl Methods {
    fn contains(&self, method: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Only(methods) => methods.iter().any(|one| one.as_bytes() == method),
        }
    }
}

impl Rule {
    /// Its place in the document's `rules`, counted from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Who may pass it.
    #[must_use]
    pub const fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn matches(&self, method: &[u8], path: impl Iterator<Item = u8>) -> bool {
        self.methods.contains(method) && self.path.matches(path)
    }

    fn is_catch_all(&self) -> bool {
        self.methods == Methods::All && self.path.is_everything()
    }

    fn read(node: &Node<'_>, index: usize, paths: Paths) -> Option<Self> {
        let mut rule = node.object()?;
        let matched = rule.required("match", |node| read_match(node, paths));
        let public = rule.or("public", false, Node::boolean);
        let access = match public {
            Some(true) => {
                refuse_demand(&mut rule);
                Some(Access::Public)
            }
            Some(false) => read_demand(&mut rule).map(Access::Keyed),
            None => read_demand(&mut rule).and(None),
        };
        rule.finish();
        let (path, methods) = matched?;
        Some(Self {
            index,
            path,
            methods,
            access: access?,
        })
    }
}

/// The rules in order and the last of them, which takes whatever no other took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) rules: Box<[Rule]>,
    pub(super) catch_all: Rule,
}

impl Rules {
    pub(super) fn read(node: &Node<'_>, paths: Paths) -> Option<Self> {
        let nodes = node.list(1..=RULES_MAX)?;
        let rules: Vec<Option<Rule>> = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| Rule::read(node, index, paths))
            .collect();
        let all_reachable = refuse_unreachable(&nodes, &rules);
        if !rules.iter().flatten().any(Rule::is_catch_all) {
            // A rule that could not be read may have been meant as the catch-all.
            if rules.iter().all(Option::is_some) {
                node.mistake(
                    "ends without a rule for all other requests: {\"match\": {\"pathPrefix\": \"/\"}}",
                );
            }
            return None;
        }
        if !all_reachable {
            return None;
        }
        let mut rules = rules.into_iter().collect::<Option<Vec<_>>>()?;
        // Every rule after a catch-all is unreachable, so it is the last.
        let catch_all = rules.pop()?;
        Some(Self {
            rules: rules.into(),
            catch_all,
        })
    }
}

/// Refuses each rule whose requests are all taken by rules before it.
fn refuse_unreachable(nodes: &[Node<'_>], rules: &[Option<Rule>]) -> bool {
    let mut all_reachable = true;
    for (at, rule) in rules.iter().enumerate() {
        let Some(rule) = rule else { continue };
        let earlier = || {
            rules[..at]
                .iter()
                .flatten()
                .filter(|other| other.path.covers(&rule.path))
        };
        let shadow = match &rule.methods {
            Methods::All => earlier().find(|other| other.methods == Methods::All),
            // Several earlier rules may share the methods among them.
            Methods::Only(methods) => methods
                .iter()
                .map(|method| earlier().find(|other| other.methods.contains(method.as_bytes())))
                .collect::<Option<Vec<_>>>()
                .and_then(|shadows| shadows.last().copied()),
        };
        if let Some(shadow) = shadow {
            nodes[at].mistake(format!(
                "is never reached: rules[{}] takes its requests",
                shadow.index
            ));
            all_reachable = false;
        }
    }
    all_reachable
}

fn read_match(node: &Node<'_>, paths: Paths) -> Option<(PathMatch, Methods)> {
    let mut object = node.object()?;
    let path = object.take("path");
    let prefix = object.take("pathPrefix");
    let compiled = match (&path, &prefix) {
        (Some(path), None) => read_path(path, Extent::Path, paths),
        (None, Some(prefix)) => read_path(prefix, Extent::Prefix, paths),
        (Some(_), Some(_)) | (None, None) => {
            node.mistake("must have either path or pathPrefix");
            None
        }
    };
    let methods = object.or("methods", Methods::All, read_methods);
    object.finish();
    Some((compiled?, methods?))
}

fn read_path(node: &Node<'_>, extent: Extent, paths: Paths) -> Option<PathMatch> {
    let text = node.text_of(
        RULE_PATH_MAX_BYTES,
        |byte| byte != b'?',
        "a path without a query",
    )?;
    PathMatch::compile(&text, extent, paths)
        .map_err(|refused| node.mistake(refused.to_string()))
        .ok()
}

fn read_methods(node: &Node<'_>) -> Option<Methods> {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    let read = |node: &Node<'_>| node.text_of(METHOD_MAX_BYTES, allowed, "A-Z, 0-9 and -");
    let methods = read_distinct(node, METHODS_PER_RULE_MAX, read)?;
    Some(Methods::Only(
        methods.into_iter().map(String::into_boxed_str).collect(),
    ))
}

/// A list of at least one member and none twice.
pub(super) fn read_distinct<T: PartialEq>(
    node: &Node<'_>,
    max: usize,
    read: impl Fn(&Node<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let nodes = node.list(1..=max)?;
    let members: Vec<Option<T>> = nodes.iter().map(read).collect();
    let mut distinct = true;
    for (at, member) in members.iter().enumerate() {
        if member.is_some() && members[..at].contains(member) {
            nodes[at].mistake("is given twice");
            distinct = false;
        }
    }
    let members = members.into_iter().collect::<Option<Vec<_>>>()?;
    distinct.then_some(members)
}

fn read_demand(rule: &mut Object<'_>) -> Option<Demand> {
    let mut meters = rule.or("meters", Vec::new(), read_meters);
    let told = told::read(rule, meters.as_deref_mut());
    let requires = rule.or("requires", Vec::new(), |node| {
        read_distinct(node, REQUIRES_PER_RULE_MAX, read_slug)
    });
    let needs_meters = |node: &Node<'_>| {
        let is_without = meters.as_ref().is_some_and(Vec::is_empty);
        if is_without {
            node.mistake("means nothing in a rule without meters");
        }
        (!is_without).then_some(())
    };
    let statuses = rule.or("meterOnStatusCodes", Statuses::default(), |node| {
        needs_meters(node).and_then(|()| Statuses::read(node))
    });
    let mode = rule.or("metering", None, |node| {
        needs_meters(node).and_then(|()| read_mode(node).map(Some))
    });
    let grpc_statuses = rule.or("meterOnGrpcStatus", GrpcStatuses::default(), |node| {
        needs_meters(node).and_then(|()| GrpcStatuses::read(node))
    });
    let rates = rule.or("rateLimits", Vec::new(), rates::read);
    Some(Demand {
        mode: mode?,
        meters: meters?.into(),
        requires: requires?.into(),
        metered_statuses: statuses?,
        metered_grpc_statuses: grpc_statuses?,
        rates: rates?.into(),
        told: told?,
    })
}

fn read_mode(node: &Node<'_>) -> Option<MeteringMode> {
    let mut metering = node.object()?;
    let mode = metering.required("mode", MeteringMode::read);
    metering.finish();
    mode
}

fn refuse_demand(rule: &mut Object<'_>) {
    for name in [
        "meters",
        "reserve",
        "meterFrom",
        "upstreamMeters",
        "requires",
        "meterOnStatusCodes",
        "metering",
        "meterOnGrpcStatus",
        "rateLimits",
    ] {
        if let Some(node) = rule.take(name) {
            node.mistake("means nothing in a public rule");
        }
    }
}

fn read_meters(node: &Node<'_>) -> Option<Vec<MeterCost>> {
    let fields = node.object()?.into_fields();
    if fields.is_empty() {
        node.mistake("is empty: leave it out to authenticate and record nothing");
        return None;
    }
    if fields.len() > METERS_PER_RULE_MAX {
        node.mistake(format!("has more than {METERS_PER_RULE_MAX} meters"));
        return None;
    }
    let read = |(name, node): (String, Node<'_>)| {
        let meter = slug(&name, &node);
        let units = node.units(Units::from_milli(REQUEST_MAX_MILLI)?);
        Some(MeterCost {
            meter: meter?,
            units: units?,
            held: units?,
            is_told: false,
        })
    };
    let costs: Vec<Option<MeterCost>> = fields.into_iter().map(read).collect();
    let mut costs = costs.into_iter().collect::<Option<Vec<_>>>()?;
    costs.sort_by(|one, other| one.meter.cmp(&other.meter));
    Some(costs)
}

pub(super) fn read_slug(node: &Node<'_>) -> Option<Slug> {
    slug(&node.text()?, node)
}

pub(super) fn slug(text: &str, node: &Node<'_>) -> Option<Slug> {
    Slug::from_str(text)
        .map_err(|error| node.mistake(error.to_string()))
        .ok()
}
