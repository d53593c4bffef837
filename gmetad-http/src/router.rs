//! The table of pages.

use std::hash::{DefaultHasher, Hash, Hasher};

use gmetad_core::xml::escaped;

use crate::request::{Method, Request};
use crate::response::Response;

/// Something that answers at a path. Closures do.
pub trait Page: Send + Sync {
    /// The whole answer; it must not block.
    fn answer(&self, request: &Request) -> Response;
}

impl<F: Fn(&Request) -> Response + Send + Sync> Page for F {
    fn answer(&self, request: &Request) -> Response {
        self(request)
    }
}

/// Pages by path; `/` lists them, unless it is a page itself.
pub struct Router {
    title: String,
    entries: Vec<Entry>,
    missing: Option<Box<dyn Page>>,
}

struct Entry {
    path: String,
    about: String,
    action: bool,
    page: Box<dyn Page>,
}

impl Router {
    /// A table without pages; `title` heads its index.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), entries: Vec::new(), missing: None }
    }

    /// Puts a page at this path, with a line about it for the index. A part of the path that is `{name}` stands for any one
    /// part that is not empty, which the page finds by [`Request::captured`]. Of two paths that fit, the first counts.
    pub fn page(self, path: impl Into<String>, about: impl Into<String>, page: impl Page + 'static) -> Self {
        self.entry(path.into(), about.into(), false, Box::new(page))
    }

    /// Puts something at this path that is done by a `POST`. The site must take them: [`crate::Site::with_posts`].
    pub fn action(self, path: impl Into<String>, action: impl Page + 'static) -> Self {
        self.entry(path.into(), String::new(), true, Box::new(action))
    }

    /// Answers for paths that nothing was put at, instead of the list of those that something was.
    pub fn missing(mut self, page: impl Page + 'static) -> Self {
        self.missing = Some(Box::new(page));
        self
    }

    fn entry(mut self, path: String, about: String, action: bool, page: Box<dyn Page>) -> Self {
        self.entries.push(Entry { path, about, action, page });
        self
    }

    /// The page's answer; 404 where there is none, 405 where there is one for other requests.
    pub fn answer(&self, request: &Request) -> Response {
        let posts = request.method() == Method::Post;
        let mut others = false;
        for entry in &self.entries {
            let Some(captured) = captures(&entry.path, request.path()) else { continue };
            if entry.action == posts {
                return match captured.is_empty() {
                    true => entry.page.answer(request),
                    false => entry.page.answer(&request.with_captured(captured)),
                };
            }
            others = true;
        }
        match (others, &self.missing) {
            (true, _) => {
                let allowed = if posts { "GET, HEAD" } else { "POST" };
                Response::text(405, format!("Only {allowed} here.\n")).header("Allow", allowed)
            }
            (false, _) if request.path() == "/" && !posts => self.index(),
            (false, Some(page)) => page.answer(request),
            (false, None) => {
                let known: String = self.listed().map(|entry| format!("{}\n", entry.path)).collect();
                Response::text(404, format!("No such page. There are:\n/\n{known}"))
            }
        }
    }

    /// Pages that can be named without knowing more.
    fn listed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.action && !entry.path.contains('{'))
    }

    fn index(&self) -> Response {
        let title = escaped(&self.title);
        let mut body = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
        );
        for Entry { path, about, .. } in self.listed() {
            let (path, about) = (escaped(path), escaped(about));
            body += &format!("<li><a href=\"{path}\">{path}</a> {about}\n");
        }
        body += "</ul>\n</html>\n";
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Response::html(200, body).etag(format!("{:x}", hasher.finish()))
    }
}

/// What stands for each `{name}` of `pattern` in `path`; `None` if it does not fit.
fn captures(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (mut found, mut parts) = (Vec::new(), path.split('/'));
    for wanted in pattern.split('/') {
        let part = parts.next()?;
        match wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if !part.is_empty() => found.push((name.to_owned(), part.to_owned())),
            None if wanted == part => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str) -> (u16, String) {
        let text = format!("GET {path} HTTP/1.0\r\n\r\n");
        let request = Request::parse(text.as_bytes()).expect("well-formed").expect("complete");
        let router = Router::new("a <b>").page("/x", "the \"x\"", |_: &Request| Response::text(200, "X")).page(
            "/y",
            "",
            |request: &Request| Response::text(200, request.parameter("p").unwrap_or("-")),
        );
        let response = router.answer(&request);
        (response.status(), String::from_utf8_lossy(response.body()).into_owned())
    }

    #[test]
    fn pages_are_found_and_listed() {
        assert_eq!(ask("/x"), (200, "X".to_owned()));
        assert_eq!(ask("/y?p=1"), (200, "1".to_owned()));
        assert_eq!(ask("/x/"), (404, "No such page. There are:\n/\n/x\n/y\n".to_owned()));
        let (status, index) = ask("/");
        assert_eq!(status, 200);
        assert!(index.contains("<h1>a &lt;b&gt;</h1>\n<ul>\n<li><a href=\"/x\">/x</a> the &quot;x&quot;\n"), "{index}");
    }
    #[test]
    fn parts_of_paths_are_captured_and_methods_told_apart() {
        let router = Router::new("")
            .page("/a/{x}/", "", |r: &Request| Response::text(200, r.captured("x").unwrap_or("-")))
            .page("/a/{x}/{y}", "", |r: &Request| {
                Response::text(200, format!("{:?}{:?}", r.captured("x"), r.captured("y")))
            })
            .action("/a/{x}/go", |r: &Request| Response::text(200, [b"go ", r.body()].concat()))
            .action("/only", |_: &Request| Response::text(200, ""))
            .missing(|_: &Request| Response::text(404, "gone"));
        for (text, status, body) in [
            ("GET /a/b/", 200, "b"),
            ("GET /a/b%2fc/", 404, "gone"),
            ("GET /a/%20/go", 200, "Some(\" \")Some(\"go\")"),
            ("POST /a/b/go", 200, "go x"),
            ("POST /a/b/", 405, "Only GET, HEAD here.\n"),
            ("GET /only", 405, "Only POST here.\n"),
            ("GET /a//", 404, "gone"),
            ("GET /a/b", 404, "gone"),
            ("GET /a/b/c/d", 404, "gone"),
            ("POST /", 404, "gone"),
        ] {
            let text = format!("{text} HTTP/1.0\r\nContent-Length: 1\r\n\r\nx");
            let request = Request::parse_any(text.as_bytes(), 9).expect("well-formed").expect("complete");
            let response = router.answer(&request);
            let own = String::from_utf8_lossy(response.body());
            assert_eq!((response.status(), &*own), (status, body), "{text}");
        }
    }
}
