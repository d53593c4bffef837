//! A request of the interactive port: what it asks for (reference 6.4).

/// What to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Names along the path: source, host, metric. May begin with the own grid's name.
    pub path: Vec<String>,
    /// `?filter=summary`.
    pub summary: bool,
    /// HTTP mode: `*` stands for any name, and a name that matches nothing shows nothing.
    pub strict: bool,
}

/// A request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A document is asked for.
    Xml {
        /// What to print.
        query: Query,
        /// Whether an HTTP header comes first.
        http: bool,
        /// The value of a filter that does not exist; the request is served without it.
        unknown_filter: Option<String>,
    },
    /// A path that begins with `/status`: our own state, with the query string after it.
    Status {
        /// What follows `?`.
        parameters: String,
    },
}

/// The request is nothing we understand; the connection is closed without a byte, as C does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed path request")]
pub struct Malformed;

/// Characters that the C daemon refuses anywhere in a request.
const FORBIDDEN: &[u8] = b">!@#$%`;|\"\\'<";

impl Query {
    /// Everything.
    pub fn dump() -> Self {
        Self::default()
    }

    /// The query of a path such as `/Cluster/Host?filter=summary`, as on the interactive port without HTTP.
    ///
    /// # Errors
    /// [`Malformed`] as the interactive port has it.
    pub fn parse(line: &str) -> Result<Self, Malformed> {
        match Request::parse(line.as_bytes())? {
            Request::Xml { query, .. } => Ok(query),
            Request::Status { .. } => Err(Malformed),
        }
    }
}

impl Request {
    /// Understands a request line (without its line end).
    ///
    /// # Errors
    /// [`Malformed`]: no path, a forbidden character, a `?` without `=`.
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let (line, http) = match line.strip_prefix(b"GET ") {
            Some(rest) => {
                let path = rest.strip_suffix(b" HTTP/1.0").or_else(|| rest.strip_suffix(b" HTTP/1.1"));
                (path.ok_or(Malformed)?, true)
            }
            None => (line, false),
        };
        if !line.starts_with(b"/") || line.iter().any(|b| FORBIDDEN.contains(b)) {
            return Err(Malformed);
        }
        let text = String::from_utf8_lossy(line);
        let (path, parameters) = match text.split_once('?') {
            Some((path, parameters)) => (path, Some(parameters)),
            None => (&*text, None),
        };
        if path.len() >= 7 && path.as_bytes()[..7].eq_ignore_ascii_case(b"/status") {
            return Ok(Self::Status { parameters: parameters.unwrap_or_default().to_owned() });
        }
        let mut unknown_filter = None;
        let summary = match parameters {
            None => false,
            Some(parameters) => {
                let (_, value) = parameters.split_once('=').ok_or(Malformed)?;
                if value != "summary" {
                    unknown_filter = Some(value.to_owned());
                }
                value == "summary"
            }
        };
        let path = path[1..].strip_suffix('/').unwrap_or(&path[1..]);
        let path = if path.is_empty() { Vec::new() } else { path.split('/').map(str::to_owned).collect() };
        Ok(Self::Xml { query: Query { path, summary, strict: http }, http, unknown_filter })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(line: &str) -> Option<(String, bool, bool)> {
        Query::parse(line).ok().map(|q| (q.path.join("|"), q.summary, q.strict))
    }

    #[test]
    fn requests_are_understood_as_c_does() {
        let some = |p: &str, s, h| Some((p.to_owned(), s, h));
        for (line, query) in [
            ("/", some("", false, false)),
            ("/A b/h&1/m", some("A b|h&1|m", false, false)),
            ("/A/", some("A", false, false)),
            ("//", some("", false, false)),
            ("/A//x", some("A||x", false, false)),
            ("/?filter=summary", some("", true, false)),
            ("/A?x=summary", some("A", true, false)),
            ("/A?filter=bogus", some("A", false, false)),
            ("/A?filter=Summary", some("A", false, false)),
            ("GET /*/h HTTP/1.0", some("*|h", false, true)),
            ("GET /A?filter=summary HTTP/1.1", some("A", true, true)),
            ("", None),
            ("foo", None),
            (" /", None),
            ("/?", None),
            ("/?filter", None),
            ("GET /x", None),
            ("get / HTTP/1.0", None),
            ("GET / HTTP/2.0", None),
            ("/a;b", None),
            ("GET /Test%20Cluster HTTP/1.1", None),
        ] {
            assert_eq!(path(line), query, "{line:?}");
        }
        assert!(
            matches!(Request::parse(b"/STATUSx?callback=f"), Ok(Request::Status { parameters }) if parameters == "callback=f")
        );
    }

    proptest! {
        #[test]
        fn any_line_is_answered(line: Vec<u8>) {
            let _ = Request::parse(&line);
        }
    }
}
