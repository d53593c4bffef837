//! A question to a process, and which of its lines is the answer.

use std::time::{Duration, Instant};

use super::changes::Changes;
use super::process::{Failure, Process};
use super::protocol::{self, Answer};
use super::wants::Wants;

/// An answer to what was asked.
pub(super) enum Said {
    Hello(Wants),
    Ok(Option<Changes>),
    Error(String),
}

/// What is asked for, and with which id.
#[derive(Clone, Copy)]
pub(super) struct Question {
    pub(super) what: &'static str,
    pub(super) id: Option<u64>,
    pub(super) began: Instant,
    /// How long the answer may take.
    pub(super) time: Duration,
}

/// Understands a line.
pub(super) fn understood(line: &[u8]) -> Result<Answer<'_>, Failure> {
    protocol::parse(line).map_err(|why| Failure::NotUnderstood(format!("\"{}\"", protocol::excerpt(line)), why))
}

/// The answer, or `None` if the line is none to this question.
pub(super) fn understand(process: &mut Process, line: &[u8], question: Question) -> Result<Option<Said>, Failure> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let answer = understood(line)?;
    if let (Answer::Ok { id, .. } | Answer::Error { id, .. }, Some(expected)) = (&answer, question.id)
        && *id != Some(expected)
    {
        return match id {
            // Of a transaction that was given up, or answered already.
            Some(id) if *id < expected => Ok(None),
            Some(id) => Err(Failure::WrongId(format!("transaction {id}"), expected)),
            None => Err(Failure::WrongId("without an id".to_owned(), expected)),
        };
    }
    match answer {
        Answer::Log { level, text } => {
            process.talk.say(level, &text);
            Ok(None)
        }
        Answer::Hello(wants) if question.what == "hello" => Ok(Some(Said::Hello(wants))),
        Answer::Hello(_) => Err(Failure::Unexpected("hello", question.what)),
        Answer::Error { text, .. } => Ok(Some(Said::Error(text))),
        Answer::Ok { .. } if question.what == "hello" => Err(Failure::Unexpected("ok", "hello")),
        Answer::Ok { changes, .. } => {
            let changes = changes.map(Changes::parse).transpose();
            changes
                .map(|changes| Some(Said::Ok(changes)))
                .map_err(|why| Failure::NotUnderstood(format!("\"{}\"", protocol::excerpt(line)), why))
        }
    }
}
