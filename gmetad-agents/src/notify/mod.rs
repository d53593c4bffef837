//! Tells people of Errors by mail: through sendmail, without a shell, several in one mail, and without ever making anybody
//! wait.

mod text;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use gmetad_core::agent::{Message, Status};
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_process::mail::{MailError, sendmail};
use parking_lot::{Condvar, Mutex};

use crate::lang::Lang;
use crate::said::Said;

/// Notices that wait, at most; the oldest go.
const MOST: usize = 1_000;

/// To whom mails go, and how.
#[derive(Clone, Debug)]
pub struct MailOptions {
    /// `To:`: addresses, separated by commas.
    pub to: String,
    /// `From:`; empty: whom sendmail takes.
    pub from: String,
    /// The program, called as `sendmail -t -oi`.
    pub sendmail: PathBuf,
    /// The machine's name, for subjects.
    pub host: String,
    /// How long notices are collected before a mail is sent.
    pub collect: Duration,
    /// Time between two mails.
    pub pause: Duration,
    /// Seconds that sendmail may take.
    pub deadline: Duration,
    /// How long it is waited before a mail that could not be sent is tried again, and again; the last one stays.
    pub again: Vec<Duration>,
}

impl MailOptions {
    /// To somebody, through `/usr/sbin/sendmail`: collected for 5 s, a minute between two, half a minute for each, tried again
    /// after 10 s, a minute, and every five.
    pub fn new(to: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            from: String::new(),
            sendmail: "/usr/sbin/sendmail".into(),
            host: host.into(),
            collect: Duration::from_secs(5),
            pause: Duration::from_secs(60),
            deadline: Duration::from_secs(30),
            again: [10, 60, 300].map(Duration::from_secs).to_vec(),
        }
    }
}

/// Something to be told.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) agent: String,
    pub(crate) description: Message,
    pub(crate) status: Status,
    pub(crate) since: UnixTime,
    /// The Error is over.
    pub(crate) over: bool,
}

/// A thread that sends mails.
#[derive(Debug)]
pub(crate) struct Notifier(Arc<Outbox>);

#[derive(Debug, Default)]
struct Outbox {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    notices: VecDeque<Notice>,
    dropped: u64,
    /// When all must be over; set at the stop.
    ends: Option<Instant>,
    ended: bool,
}

impl Inner {
    fn cut(&mut self) {
        let surplus = self.notices.len().saturating_sub(MOST);
        self.notices.drain(..surplus);
        self.dropped += surplus as u64;
    }
}

impl Notifier {
    /// Starts the thread, which calls `sent` with what it has sent.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start(
        options: MailOptions,
        lang: Lang,
        sent: impl Fn(&[Notice]) + Send + 'static,
    ) -> io::Result<Self> {
        let outbox = Arc::new(Outbox::default());
        let theirs = Arc::clone(&outbox);
        thread::Builder::new().name("agent-mail".to_owned()).spawn(move || {
            theirs.run(&options, lang, &sent);
            theirs.inner.lock().ended = true;
            theirs.changed.notify_all();
        })?;
        Ok(Self(outbox))
    }

    /// Puts a notice in.
    pub(crate) fn tell(&self, notice: Notice) {
        let mut inner = self.0.inner.lock();
        inner.notices.push_back(notice);
        inner.cut();
        drop(inner);
        self.0.changed.notify_all();
    }

    /// Lets what waits be sent, until then; true if it was.
    pub(crate) fn close(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut inner = self.0.inner.lock();
        // A sendmail that hangs has to be killed within that, too: it would outlive us.
        inner.ends = end.checked_sub(within / 4).or(Some(end));
        self.0.changed.notify_all();
        while !inner.ended && !self.0.changed.wait_until(&mut inner, end).timed_out() {}
        inner.ended
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.0.inner.lock().ends.get_or_insert(Instant::now());
        self.0.changed.notify_all();
    }
}

impl Outbox {
    fn run(&self, options: &MailOptions, lang: Lang, sent: &impl Fn(&[Notice])) {
        let mut failed = 0;
        while self.wait() {
            self.rest(options.collect);
            let (notices, dropped) = {
                let mut inner = self.inner.lock();
                (latest(mem::take(&mut inner.notices)), mem::take(&mut inner.dropped))
            };
            let Err(error) = self.send(options, &text::mail(options, lang, &notices, dropped)) else {
                failed = 0;
                sent(&notices);
                self.rest(options.pause);
                continue;
            };
            let program = options.sendmail.display().to_string();
            if failed == 0 {
                let text = message!("mail through {}: {}", &program, error.said());
                log::warn!("{}", lang.message(&text));
            }
            let pause = options.again.get(failed).or(options.again.last()).copied().unwrap_or(options.pause);
            failed += 1;
            if !self.rest(pause) {
                let text = message!(
                    "mail through {}: one about {} {agent|agents} did not go, the next start tries again: {}",
                    program,
                    notices.len(),
                    error.said()
                );
                return log::error!("{}", lang.message(&text));
            }
            // With what came meanwhile.
            let mut inner = self.inner.lock();
            let later = mem::replace(&mut inner.notices, notices.into());
            inner.notices.extend(later);
            inner.dropped += dropped;
            inner.cut();
        }
    }

    /// Sends a mail, once.
    fn send(&self, options: &MailOptions, mail: &str) -> Result<(), MailError<Message>> {
        let until = Instant::now() + options.deadline;
        sendmail(&options.sendmail, mail.as_bytes(), || {
            let now = Instant::now();
            let ends = self.inner.lock().ends;
            match ends {
                Some(ends) if now >= ends => Err(message!("was ended: the service stops")),
                _ if now >= until => Err(message!("was ended: it took too long")),
                _ => Ok(()),
            }
        })
    }

    /// Waits for something to tell; false when closed and empty.
    fn wait(&self) -> bool {
        let mut inner = self.inner.lock();
        while inner.notices.is_empty() {
            if inner.ends.is_some() {
                return false;
            }
            self.changed.wait(&mut inner);
        }
        true
    }

    /// Lets so much time pass; false if closed before.
    fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut inner = self.inner.lock();
        while inner.ends.is_none() && !self.changed.wait_until(&mut inner, until).timed_out() {}
        inner.ends.is_none()
    }
}

/// Of each agent what is true now: it may be over, or again, what could not be told before.
fn latest(notices: VecDeque<Notice>) -> Vec<Notice> {
    let mut seen = HashSet::new();
    let mut latest: Vec<Notice> =
        notices.into_iter().rev().filter(|notice| seen.insert(notice.agent.clone())).collect();
    latest.reverse();
    latest
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use gmetad_core::agent::State;

    use super::*;

    fn notice(agent: &str) -> Notice {
        Notice {
            agent: agent.to_owned(),
            description: "".into(),
            status: Status::new(State::Error, "down"),
            since: 0,
            over: false,
        }
    }

    fn options(dir: &std::path::Path, script: &str) -> MailOptions {
        let sendmail = dir.join("sendmail");
        fs::write(&sendmail, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&sendmail, fs::Permissions::from_mode(0o755)).unwrap();
        let short = Duration::from_millis(50);
        MailOptions { sendmail, collect: short, pause: short, again: vec![short], ..MailOptions::new("root", "host") }
    }

    #[test]
    fn a_storm_is_one_mail_and_waits_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        // Each run makes a file of its own; the name is that of the process.
        let options = MailOptions {
            collect: Duration::from_secs(3600),
            ..options(dir.path(), &format!("cat > {}/mail.$$", dir.path().display()))
        };
        let notifier = Notifier::start(options, Lang::English, |_| {}).unwrap();
        let begin = Instant::now();
        (0..MOST + 5).for_each(|number| notifier.tell(notice(&format!("agent{number}"))));
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert!(notifier.close(Duration::from_secs(20)), "the stop ends the collecting");
        let mails: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let mails: Vec<_> = mails.iter().filter(|path| path.extension().is_some()).collect();
        assert_eq!(mails.len(), 1);
        let mail = fs::read_to_string(mails[0]).unwrap();
        assert!(mail.contains("To: root\n") && !mail.contains("agent4 ") && mail.contains("agent5"), "{mail}");
    }

    #[test]
    fn a_sendmail_that_fails_is_tried_again_and_one_that_hangs_ended() {
        let dir = tempfile::tempdir().unwrap();
        let (tries, mail) = (dir.path().join("tries"), dir.path().join("mail"));
        // The first time it hangs, the second and the third it fails.
        let script = format!(
            "echo x >> {tries}; case $(wc -l < {tries}) in 1) sleep 600;; 2|3) exit 75;; esac; cat > {mail}.new && mv {mail}.new {mail}",
            tries = tries.display(),
            mail = mail.display()
        );
        let options = MailOptions { deadline: Duration::from_millis(500), ..options(dir.path(), &script) };
        let (to, from) = std::sync::mpsc::channel();
        let sent = move |notices: &[Notice]| {
            to.send(notices.iter().map(|notice| notice.agent.clone()).collect::<Vec<_>>()).unwrap();
        };
        let notifier = Notifier::start(options, Lang::English, sent).unwrap();
        notifier.tell(notice("web"));
        while !tries.exists() {
            thread::sleep(Duration::from_millis(5));
        }
        notifier.tell(notice("later"));
        let sent = from.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(sent, ["web", "later"], "once, and when it went");
        let mail = fs::read_to_string(mail).unwrap();
        assert!(mail.contains("2 agents in Error"), "{mail}");
        assert!(notifier.close(Duration::from_secs(20)) && from.try_recv().is_err());
    }

    #[test]
    fn a_sendmail_that_hangs_does_not_outlive_the_stop() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("trap '' TERM; echo $$ > {0}.new; mv {0}.new {0}; sleep 600", pid.display());
        let notifier = Notifier::start(options(dir.path(), &script), Lang::English, |_| {}).unwrap();
        notifier.tell(notice("web"));
        let end = Instant::now() + Duration::from_secs(20);
        while !pid.exists() {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(5));
        }
        assert!(notifier.close(Duration::from_secs(4)), "it is ended within that");
        let pid = fs::read_to_string(pid).unwrap();
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "it is gone");
    }

    #[test]
    fn a_mail_that_is_tried_again_says_what_is_true_then() {
        let dir = tempfile::tempdir().unwrap();
        let (tries, ok, mail) = (dir.path().join("tries"), dir.path().join("ok"), dir.path().join("mail"));
        let script =
            format!("echo x >> {}; [ -e {} ] || exit 75; cat > {}", tries.display(), ok.display(), mail.display());
        let (to, from) = std::sync::mpsc::channel();
        let sent = move |notices: &[Notice]| {
            to.send(notices.iter().map(|notice| (notice.agent.clone(), notice.over)).collect::<Vec<_>>()).unwrap();
        };
        let notifier = Notifier::start(options(dir.path(), &script), Lang::English, sent).unwrap();
        let over = |agent: &str| Notice { status: Status::new(State::Ok, "up"), over: true, ..notice(agent) };
        notifier.tell(over("web"));
        notifier.tell(notice("mail"));
        while !tries.exists() {
            thread::sleep(Duration::from_millis(5));
        }
        notifier.tell(Notice { since: 1_795_329_948, ..notice("web") });
        fs::write(ok, "").unwrap();
        // The try under way may have been the first that went.
        let mut all = from.recv_timeout(Duration::from_secs(20)).unwrap();
        while !all.contains(&("web".to_owned(), false)) {
            all = from.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        assert_eq!(all.iter().filter(|(agent, _)| agent == "web").count(), 1, "{all:?}");
        let mail = fs::read_to_string(mail).unwrap();
        assert!(mail.contains("since 2026-11-2") && !mail.contains("web OK"), "{mail}");
        assert!(notifier.close(Duration::from_secs(20)));
    }

    #[test]
    fn what_could_not_be_sent_was_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let (to, from) = std::sync::mpsc::channel();
        let options = MailOptions { again: vec![Duration::from_secs(3600)], ..options(dir.path(), "exit 75") };
        let notifier = Notifier::start(options, Lang::English, move |_| to.send(()).unwrap()).unwrap();
        notifier.tell(notice("web"));
        assert!(notifier.close(Duration::from_secs(20)), "the stop ends the trying");
        assert!(from.try_recv().is_err());
    }
}
