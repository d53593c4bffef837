//! The page: asked without sockets, and in a real browser.

mod answers;
mod browser;
mod made_up;
mod webdriver;
