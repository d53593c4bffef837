//! Which clusters and hosts are asked for on the interactive port, for those who keep something about them.

use std::fmt;

use parking_lot::Mutex;

use crate::query::Query;

/// What a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The cluster or source.
    pub cluster: &'a str,
    /// The host, if one is named.
    pub host: Option<&'a str>,
}

type Listener = Box<dyn Fn(Asked<'_>) + Send + Sync>;

/// Tells listeners what is asked for. Requests for everything, for summaries alone and with `*` name nothing.
#[derive(Default)]
pub struct Requests {
    listeners: Mutex<Vec<Listener>>,
}

impl Requests {
    /// Has `listener` called for each request, on the thread that answers: it must not wait for anything.
    pub fn listen(&self, listener: impl Fn(Asked<'_>) + Send + Sync + 'static) {
        self.listeners.lock().push(Box::new(listener));
    }

    /// A query came. `own_grid` is our grid's name, which a path may begin with.
    pub(crate) fn tell(&self, query: &Query, own_grid: &str) {
        if query.summary || query.path.iter().any(|name| name == "*") {
            return;
        }
        let path: Vec<&str> = query.path.iter().map(String::as_str).collect();
        let tell = |path: &[&str]| {
            if let [cluster, rest @ ..] = path {
                let asked = Asked { cluster, host: rest.first().copied() };
                self.listeners.lock().iter().for_each(|listener| listener(asked));
            }
        };
        // `/X/Y` is host Y of cluster X, or cluster Y of our grid X: who listens knows which exists.
        tell(&path);
        if path.first().is_some_and(|first| *first == own_grid) {
            tell(&path[1..]);
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requests with {} listeners", self.listeners.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_requests_name() {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let requests = Requests::default();
        let to = Arc::clone(&heard);
        requests.listen(move |asked| to.lock().push(format!("{}/{}", asked.cluster, asked.host.unwrap_or("-"))));
        let said = |line: &str| {
            heard.lock().clear();
            requests.tell(&Query::parse(line).expect("a query"), "Grid");
            heard.lock().join(" ")
        };
        assert_eq!(said("/"), "");
        assert_eq!(said("/?filter=summary"), "");
        assert_eq!(said("/a?filter=summary"), "");
        assert_eq!(said("GET /*/h HTTP/1.0"), "");
        assert_eq!(said("/a"), "a/-");
        assert_eq!(said("/a/h/m"), "a/h");
        assert_eq!(said("/Grid/a/h"), "Grid/a a/h");
    }
}
