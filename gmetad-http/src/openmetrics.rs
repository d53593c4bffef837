//! The text format of OpenMetrics 1.0.

use std::fmt::Write;

use crate::response::Response;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A text in the format of OpenMetrics, family by family.
///
/// ```
/// let mut out = gmetad_http::OpenMetrics::default();
/// out.family("backups", "counter", "Backups made.");
/// out.sample("_total", &[("to", "tape \"1\"")], 3.0);
/// assert_eq!(out.end(), "# TYPE backups counter\n# HELP backups Backups made.\nbackups_total{to=\"tape \\\"1\\\"\"} 3\n# EOF\n");
/// ```
#[derive(Debug, Default)]
pub struct OpenMetrics {
    out: String,
    name: String,
}

impl OpenMetrics {
    /// Begins a family of that name (letters, digits and `_`) and type; its samples follow.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.name = name.to_owned();
        let _ = writeln!(self.out, "# TYPE {name} {kind}\n# HELP {name} {}", escaped(help));
    }

    /// A sample of the family begun last. Labels without a name are left out.
    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> = labels
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = match value {
            f64::INFINITY => writeln!(self.out, "{}{suffix}{labels} +Inf", self.name),
            f64::NEG_INFINITY => writeln!(self.out, "{}{suffix}{labels} -Inf", self.name),
            value => writeln!(self.out, "{}{suffix}{labels} {value}", self.name),
        };
    }

    /// The whole text.
    pub fn end(mut self) -> String {
        self.out.push_str("# EOF\n");
        self.out
    }

    /// The whole text as an answer.
    pub fn response(self) -> Response {
        Response::new(200, CONTENT_TYPE, self.end())
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_the_format_wants() {
        let mut out = OpenMetrics::default();
        out.family("a_b", "counter", "Helps \"you\"\\.");
        out.sample("_total", &[("", "x")], 3.0);
        out.sample("_total", &[("l", "q\"b\\\n\nü"), ("m", "")], 0.25);
        out.sample("", &[], f64::NAN);
        out.sample("", &[], f64::NEG_INFINITY);
        let expected = "# TYPE a_b counter\n# HELP a_b Helps \\\"you\\\"\\\\.\na_b_total 3\n\
            a_b_total{l=\"q\\\"b\\\\\\n\\nü\",m=\"\"} 0.25\na_b NaN\na_b -Inf\n# EOF\n";
        assert_eq!(out.end(), expected);
    }
}
