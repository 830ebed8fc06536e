//! Tables for configurations, in files by subject.

mod configuration;
mod fields;
mod keys;
mod modes;
mod paths;
mod statuses;
mod told;
