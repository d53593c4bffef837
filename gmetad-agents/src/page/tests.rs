//! Every text of the page is in the French catalogue.

use std::fs;
use std::path::Path;

use crate::lang::french_of;

/// The text literals that follow `call` in a source.
fn literals(source: &str, call: &str) -> Vec<String> {
    let after = source.match_indices(call).map(|(at, _)| source[at + call.len()..].trim_start());
    let literal = |rest: &str| Some(rest.strip_prefix('"')?.split('"').next()?.to_owned());
    after.filter_map(literal).collect()
}

#[test]
fn no_text_is_missing_in_french() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
    let mut found = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let own = source.split("#[cfg(test)]").next().unwrap_or_default();
        for text in ["lang.text(", "message!("].iter().flat_map(|call| literals(own, call)) {
            found += 1;
            // Words that are the same in both languages are there too.
            let french = french_of(&text);
            assert!(french.is_some(), "{}: {text:?} is not in lang/fr/page.rs", path.display());
            assert_eq!(Some(text.matches("{}").count()), french.map(|french| french.matches("{}").count()), "{text:?}");
        }
    }
    assert!(found > 80, "only {found} texts were found");
}
