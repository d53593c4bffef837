//! How a program ended, to be translated.

use gmetad_core::agent::Message;
use gmetad_core::message;
use gmetad_process::child::Ended;
use gmetad_process::run::Cut;

pub(super) fn ended(ended: Ended) -> Message {
    match ended {
        Ended::Exit(status) => message!("exit status {}", status),
        Ended::Signal(signal) => message!("ended by the signal {}", signal.as_str()),
    }
}

/// It ended well, and there is nothing to be read.
pub(super) fn nothing() -> Message {
    message!("the program said nothing")
}

pub(super) fn cut(cut: Cut) -> Message {
    match cut {
        Cut::Late(time) => message!("it took longer than {} s", (time.as_secs_f64() * 100.0).round() / 100.0),
        Cut::Much(bytes) => message!("it wrote more than {} bytes", bytes),
        Cut::Stopped => message!("the run was stopped"),
    }
}
