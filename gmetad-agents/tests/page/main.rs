//! The page: asked without sockets, and in a real browser.

mod answers;
mod browser;
mod curves;
mod made_up;
mod webdriver;
