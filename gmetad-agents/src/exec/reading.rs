//! What adapters make of the output of a program.

use gmetad_core::agent::{Described, DescribedField, Measurement, Message, Value};
use gmetad_core::message;

use super::names::{FIELDS, INSTANCES, VALUES};

/// What an adapter read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The values, what the program says of its state, and what the page shows besides.
    pub measurement: Measurement,
    /// What the output says of fields and graphs.
    pub described: Described,
}

/// Takes values up to the bounds.
#[derive(Debug, Default)]
pub(super) struct Values {
    fields: Vec<(String, Value)>,
    instances: Vec<(String, Vec<(String, Value)>)>,
    described: Vec<DescribedField>,
    count: usize,
    lost: usize,
}

impl Values {
    /// A value of an instance or of the agent itself; of two of one name the later one counts. False: there are too many.
    pub(super) fn put(&mut self, instance: Option<&str>, field: String, value: Value) -> bool {
        let fields = match instance {
            None => &mut self.fields,
            Some(name) => match self.instances.iter().position(|(known, _)| known == name) {
                Some(at) => &mut self.instances[at].1,
                None if self.instances.len() < INSTANCES => {
                    self.instances.push((name.to_owned(), Vec::new()));
                    match self.instances.last_mut() {
                        Some((_, fields)) => fields,
                        None => return false,
                    }
                }
                None => {
                    self.lost += 1;
                    return false;
                }
            },
        };
        if let Some(known) = fields.iter_mut().find(|(known, _)| *known == field) {
            known.1 = value;
        } else if fields.len() < FIELDS && self.count < VALUES {
            fields.push((field, value));
            self.count += 1;
        } else {
            self.lost += 1;
            return false;
        }
        true
    }

    /// As [`Values::put`], and what is known of the field.
    pub(super) fn put_number(&mut self, instance: Option<&str>, field: DescribedField, value: f64) {
        let value = if value.is_finite() { value } else { f64::NAN };
        if self.put(instance, field.name.clone(), Value::Number(value)) {
            match self.described.iter_mut().find(|known| known.name == field.name) {
                Some(known) => *known = field,
                None => self.described.push(field),
            }
        }
    }

    /// All of it; `notes` are about what was not understood.
    pub(super) fn reading(self, mut notes: Vec<Message>) -> Reading {
        if self.lost > 0 {
            notes.push(message!(
                "{} values are left out: there may be {} fields, {} instances and {} values",
                self.lost,
                FIELDS,
                INSTANCES,
                VALUES
            ));
        }
        let of = |fields: Vec<(String, Value)>| {
            fields.into_iter().fold(Measurement::new(), |all, (name, value)| all.field(name, value))
        };
        let measurement =
            self.instances.into_iter().fold(of(self.fields), |all, (name, fields)| all.instance(name, of(fields)));
        Reading { measurement, described: Described { fields: self.described, notes, ..Described::default() } }
    }
}
