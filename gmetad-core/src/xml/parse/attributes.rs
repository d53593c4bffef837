//! Attributes, and what is wrong with them.

use quick_xml::events::attributes::Attribute;

use super::super::escape::{is_damaged, unescape};
use super::super::tags::Tag;
use super::Skipped;
use crate::limits;
use crate::source::PollReport;

impl PollReport {
    /// Hands each attribute of `tag` to `each`, decoded. False if the element is too damaged to be used; it is
    /// counted and named then.
    pub(super) fn attributes(&mut self, tag: &Tag<'_>, host: &str, mut each: impl FnMut(&str, &str)) -> bool {
        for attribute in tag.attributes() {
            let Attribute { key, value } = match attribute {
                Ok(attribute) => attribute,
                Err(error) => {
                    self.skipped(&format!("{}: {error}", tag.name()), host, tag.offset);
                    return false;
                }
            };
            if value.len() > limits::FIELD_BYTES {
                let what = format!(
                    "{}: Field is too big!! {} is longer than {} bytes",
                    tag.name(),
                    key.0,
                    limits::FIELD_BYTES
                );
                self.skipped(&what, host, tag.offset);
                return false;
            }
            if memchr::memchr2(b'&', b'<', value.as_bytes()).is_none() {
                each(key.0, &value);
                continue;
            }
            if is_damaged(value.as_bytes()) {
                self.mended(&format!("{}: {} holds a bare & or <, kept as text", tag.name(), key.0), host, tag.offset);
            }
            each(key.0, &unescape(&value));
        }
        true
    }

    pub(super) fn skipped(&mut self, what: &str, host: &str, offset: u64) {
        self.skipped += 1;
        self.describe(what, host, offset);
    }

    pub(super) fn mended(&mut self, what: &str, host: &str, offset: u64) {
        self.mended += 1;
        self.describe(what, host, offset);
    }

    fn describe(&mut self, what: &str, host: &str, offset: u64) {
        if self.described.len() < limits::SKIPS_DESCRIBED {
            self.described.push(Skipped { what: what.to_owned(), host: host.to_owned(), offset });
        }
    }
}
