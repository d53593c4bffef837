//! Serves the page with agents that nobody measures: `cargo run -p gmetad-agents --example made_up_page -- 8091`.
//! The token of its buttons is `sesame`.
#![allow(missing_docs)]

#[path = "../tests/page/made_up.rs"]
mod made_up;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use gmetad_agents::page::{PageOptions, site};
use gmetad_http::{Secret, Server, ServerOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8091), |text| text.parse())?;
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let board = made_up::board();
    let control = Arc::new(made_up::Fake { board: Arc::clone(&board), ..made_up::Fake::default() });
    let host = "amon-etab.ac-dijon.example".to_owned();
    let options = PageOptions { host, listen: listen.clone(), token: Secret::new("sesame"), ..PageOptions::default() };
    let server = Server::start(site(options, board, control), ServerOptions { listen, ..ServerOptions::default() })?;
    println!("http://{}/", server.addresses()[0]);
    loop {
        std::thread::park();
    }
}
