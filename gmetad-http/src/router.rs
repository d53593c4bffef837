//! The table of pages.

use std::hash::{DefaultHasher, Hash, Hasher};

use gmetad_core::xml::escaped;

use crate::request::Request;
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

/// Pages by path; `/` lists them.
pub struct Router {
    title: String,
    pages: Vec<Entry>,
}

struct Entry {
    path: String,
    about: String,
    page: Box<dyn Page>,
}

impl Router {
    /// A table without pages; `title` heads its index.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), pages: Vec::new() }
    }

    /// Puts a page at exactly this path, with a line about it for the index. `/` replaces the index.
    pub fn page(mut self, path: impl Into<String>, about: impl Into<String>, page: impl Page + 'static) -> Self {
        self.pages.push(Entry { path: path.into(), about: about.into(), page: Box::new(page) });
        self
    }

    /// The page's answer; 404 with the list of pages where there is none.
    pub fn answer(&self, request: &Request) -> Response {
        match self.pages.iter().find(|entry| entry.path == request.path()) {
            Some(entry) => entry.page.answer(request),
            None if request.path() == "/" => self.index(),
            None => {
                let known: String = self.pages.iter().map(|entry| format!("{}\n", entry.path)).collect();
                Response::text(404, format!("No such page. There are:\n/\n{known}"))
            }
        }
    }

    fn index(&self) -> Response {
        let title = escaped(&self.title);
        let mut body = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
        );
        for Entry { path, about, .. } in &self.pages {
            let (path, about) = (escaped(path), escaped(about));
            body += &format!("<li><a href=\"{path}\">{path}</a> {about}\n");
        }
        body += "</ul>\n</html>\n";
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Response::html(200, body).etag(format!("{:x}", hasher.finish()))
    }
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
}
