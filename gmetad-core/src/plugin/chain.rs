//! The threads that run plugins.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;

use super::{Editor, Keep, Plugin, PluginError, Role, Transaction};
use crate::limits;
use crate::queue::{Bound, Next, Queue};
use crate::stats::{PluginStats, Stats};

/// How long nothing more is said of the same weakness of a plugin.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// The plugins of a daemon, running.
pub(crate) struct Chain {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Queue<(Instant, Transaction)>,
    /// What is queued is to be passed on as fast as can be.
    closing: AtomicBool,
    /// That the queue was full was said.
    said_full: AtomicBool,
    /// What is to change of the plugins that the chain's thread runs.
    orders: Mutex<Vec<Order>>,
    ordered: AtomicBool,
    sinks: Mutex<Vec<Sink>>,
    subscribers: Mutex<Vec<Sender<Arc<Transaction>>>>,
    stats: Arc<Stats>,
}

enum Order {
    Add(Box<dyn Plugin>),
    Remove(String),
}

/// A sink as the chain's thread sees it.
struct Sink {
    queue: Arc<Queue<Arc<Transaction>>>,
    weighs: bool,
    stats: Arc<PluginStats>,
}

impl Chain {
    /// Runs plugins that are configured and started. Changers keep the order they have here.
    pub(crate) fn start(plugins: Vec<Box<dyn Plugin>>, stats: &Arc<Stats>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Queue::new(Bound::Weight(limits::CHAIN_BYTES)),
            closing: AtomicBool::new(false),
            said_full: AtomicBool::new(false),
            orders: Mutex::default(),
            ordered: AtomicBool::new(false),
            sinks: Mutex::default(),
            subscribers: Mutex::default(),
            stats: Arc::clone(stats),
        });
        let chain = Self { shared: Arc::clone(&shared), threads: Mutex::default() };
        let (sinks, inline): (Vec<_>, Vec<_>) = plugins.into_iter().partition(|p| p.role() == Role::Sink);
        for sink in sinks {
            chain.start_sink(sink)?;
        }
        let inline = inline.into_iter().map(|plugin| Runner::new(plugin, stats)).collect();
        chain.spawn("chain".to_owned(), move || shared.run(inline))?;
        Ok(chain)
    }

    /// Runs one more: the last of the sinks, or among the others added before, which are in the order of their names.
    pub(crate) fn add(&self, plugin: Box<dyn Plugin>) -> io::Result<()> {
        if plugin.role() == Role::Sink {
            return self.start_sink(plugin);
        }
        self.order(Order::Add(plugin));
        Ok(())
    }

    /// Ends the plugins of that name when they have done what they are at.
    pub(crate) fn remove(&self, name: &str) {
        self.shared.sinks.lock().retain(|sink| {
            let stays = sink.stats.name() != name;
            if !stays {
                sink.queue.close();
            }
            stays
        });
        self.order(Order::Remove(name.to_owned()));
    }

    fn order(&self, order: Order) {
        self.shared.orders.lock().push(order);
        self.shared.ordered.store(true, Ordering::Relaxed);
        self.shared.queue.wake();
    }

    fn start_sink(&self, plugin: Box<dyn Plugin>) -> io::Result<()> {
        let keep = plugin.keep();
        let bound = match keep {
            Keep::Newest => Bound::Newest(limits::SINK_QUEUE),
            Keep::Bytes(bytes) => Bound::Weight(bytes),
        };
        let queue = Arc::new(Queue::new(bound));
        let mut runner = Runner::new(plugin, &self.shared.stats);
        let sink = Sink {
            queue: Arc::clone(&queue),
            weighs: matches!(keep, Keep::Bytes(_)),
            stats: Arc::clone(&runner.stats),
        };
        self.spawn(runner.name().to_owned(), move || {
            while let Some(transaction) = queue.pop() {
                runner.stats.set_waiting(queue.len());
                // A sink only reads; its copy costs a few pointers.
                runner.notify(&mut Transaction::clone(&transaction));
                drop(transaction);
                if let Some(time) = runner.rest_time() {
                    queue.rest(time);
                    runner.stats.set_resting(false);
                }
            }
            runner.stop();
        })?;
        self.shared.sinks.lock().push(sink);
        Ok(())
    }

    fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name(name).spawn(run)?;
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Hands transactions to the plugins; never waits.
    pub(crate) fn notifier(&self) -> Box<dyn Fn(Transaction) + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Box::new(move |transaction| {
            let weight = transaction.weight();
            let dropped = shared.queue.push(transaction.key(), weight, (Instant::now(), transaction));
            if dropped > 0 && !shared.said_full.swap(true, Ordering::Relaxed) {
                log::error!("the plugins are slower than the polls: transactions are dropped, see /status; told once");
            }
            shared.stats.dropped.add(dropped);
        })
    }

    pub(crate) fn subscribe(&self, subscriber: Sender<Arc<Transaction>>) {
        self.shared.subscribers.lock().push(subscriber);
    }

    /// Lets the plugins finish what they have, and ends them. The threads are the caller's to wait for.
    pub(crate) fn close(&self) -> Vec<JoinHandle<()>> {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.queue.close();
        mem::take(&mut self.threads.lock())
    }
}

impl Shared {
    /// The life of the chain's thread. The plugins that came at the start keep their order; behind them are those that were
    /// added, in the order of their names.
    fn run(&self, mut plugins: Vec<Runner>) {
        let first = plugins.len();
        let mut editor = Editor::default();
        let mut found = None;
        loop {
            match self.queue.next(|| self.ordered.load(Ordering::Relaxed)) {
                Next::Entry((since, transaction)) => {
                    let closing = self.closing.load(Ordering::Relaxed);
                    let hurry = match closing || since.elapsed() > limits::CHAIN_WAIT {
                        true => Some(Hurry { closing, waiting: self.queue.len() as u32 + 1 }),
                        false => None,
                    };
                    // Asked once: one that becomes another meanwhile gets the transaction all the same, and once.
                    plugins.iter_mut().for_each(|plugin| plugin.role = plugin.plugin.role());
                    if let Some(hurry) = hurry {
                        find_slow(&mut plugins, hurry, &mut found);
                    }
                    let time = transaction.time;
                    self.pass(&mut plugins, &mut editor, transaction, closing);
                    editor.tidy(time);
                }
                Next::Interrupted => {
                    self.ordered.store(false, Ordering::Relaxed);
                    for order in mem::take(&mut *self.orders.lock()) {
                        match order {
                            Order::Add(plugin) => {
                                let new = Runner::new(plugin, &self.stats);
                                let own = plugins.get(first.min(plugins.len())..).unwrap_or_default();
                                let at = own.iter().take_while(|old| old.name() < new.name()).count();
                                plugins.insert(first.min(plugins.len()) + at, new);
                            }
                            Order::Remove(name) => plugins.retain_mut(|plugin| {
                                let stays = plugin.name() != name;
                                if !stays {
                                    plugin.stop();
                                }
                                stays
                            }),
                        }
                    }
                }
                Next::Closed => break,
            }
        }
        plugins.iter_mut().for_each(Runner::stop);
        self.sinks.lock().iter().for_each(|sink| sink.queue.close());
        self.subscribers.lock().clear();
    }

    /// Hands a transaction to all plugins.
    fn pass(&self, plugins: &mut [Runner], editor: &mut Editor, mut transaction: Transaction, closing: bool) {
        for changer in plugins.iter_mut().filter(|plugin| plugin.role == Role::Changer) {
            if changer.is_resting() || changer.is_passed_over(closing) {
                changer.stats.dropped.add(1);
                continue;
            }
            let since = changer.ended.map(|ended| ended.elapsed());
            let before = transaction.clone();
            if changer.notify(&mut transaction) {
                changer.make_changes(&mut transaction, editor);
            } else {
                // Half a change is none.
                transaction = before;
            }
            changer.look_again(since.unwrap_or_default());
        }
        let key = transaction.key();
        let transaction = Arc::new(transaction);
        for tap in plugins.iter_mut().filter(|plugin| plugin.role == Role::Tap) {
            if tap.is_resting() {
                tap.stats.dropped.add(1);
                continue;
            }
            tap.notify(&mut Transaction::clone(&transaction));
        }
        for sink in &*self.sinks.lock() {
            let weight = if sink.weighs { transaction.weight() } else { 0 };
            let dropped = sink.queue.push(key, weight, Arc::clone(&transaction));
            sink.stats.dropped.add(dropped);
            self.stats.dropped.add(dropped);
            sink.stats.set_waiting(sink.queue.len());
        }
        self.subscribers.lock().retain(|subscriber| match subscriber.try_send(Arc::clone(&transaction)) {
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(_)) => {
                self.stats.dropped.add(1);
                true
            }
            Ok(()) => true,
        });
    }
}

/// Transactions wait for too long, or for the end.
#[derive(Clone, Copy)]
struct Hurry {
    closing: bool,
    /// How many.
    waiting: u32,
}

/// Takes changers for slow, the slowest first, until the others would be through in time with what waits. So it does not cost
/// the quick ones anything that they stand beside a slow one. When some were `found`, what waits has time to go first.
fn find_slow(plugins: &mut [Runner], hurry: Hurry, found: &mut Option<Instant>) {
    let time = if hurry.closing { limits::CHANGER_TIME } else { limits::CHAIN_WAIT };
    if !hurry.closing && found.is_some_and(|found| found.elapsed() < 2 * time) {
        return;
    }
    let keeps_up = |plugin: &&mut Runner| plugin.role == Role::Changer && plugin.passed.is_none();
    let mut owed: Duration = plugins.iter_mut().filter(keeps_up).map(|changer| changer.took).sum();
    while owed.saturating_mul(hurry.waiting) > time {
        let Some(slowest) = plugins.iter_mut().filter(keeps_up).max_by_key(|changer| changer.took) else { return };
        owed = owed.saturating_sub(slowest.took);
        slowest.passed = Some(0);
        slowest.say_slow(hurry.waiting);
        *found = Some(Instant::now());
    }
}

/// A plugin with what is known of its failures.
struct Runner {
    plugin: Box<dyn Plugin>,
    /// What it is for the present transaction.
    role: Role,
    stats: Arc<PluginStats>,
    all: Arc<Stats>,
    failures: u32,
    rests_until: Option<Instant>,
    /// When its last call ended, how long it took, and how long the last ones did.
    ended: Option<Instant>,
    last: Duration,
    took: Duration,
    /// It is too slow for what comes; how many have passed it by since its last call.
    passed: Option<u32>,
    /// When it was said that it is slow, and that changes were refused.
    said_slow: Option<Instant>,
    said_refused: Option<Instant>,
}

impl Runner {
    fn new(plugin: Box<dyn Plugin>, all: &Arc<Stats>) -> Self {
        let stats = all.plugins.of(plugin.name());
        Self {
            role: plugin.role(),
            plugin,
            stats,
            all: Arc::clone(all),
            failures: 0,
            rests_until: None,
            ended: None,
            last: Duration::ZERO,
            took: Duration::ZERO,
            passed: None,
            said_slow: None,
            said_refused: None,
        }
    }

    fn name(&self) -> &str {
        self.stats.name()
    }

    /// Calls a method; false if it failed or panicked, which is logged and counted.
    fn call(&mut self, method: &str, run: impl FnOnce(&mut dyn Plugin) -> Result<(), PluginError>) -> bool {
        match guarded(|| run(&mut *self.plugin)) {
            Ok(()) => true,
            Err(failure) => {
                self.all.plugin_errors.add(1);
                self.stats.failed.add(1);
                log::error!("plugin {}: {method}: {failure}", self.name());
                false
            }
        }
    }

    fn notify(&mut self, transaction: &mut Transaction) -> bool {
        let began = Instant::now();
        let done = self.call("notify", |plugin| plugin.notify(transaction));
        (self.ended, self.last) = (Some(Instant::now()), began.elapsed());
        if done {
            // A tap only takes it over, and counts by itself.
            if self.plugin.role() != Role::Tap {
                self.stats.notified.done(self.last);
            }
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            if let Some(time) = self.rest_time() {
                self.rests_until = Some(Instant::now() + time);
                self.stats.set_resting(true);
                log::warn!(
                    "plugin {}: failed {} times in a row and rests for {} s",
                    self.name(),
                    self.failures,
                    time.as_secs()
                );
            }
        }
        done
    }

    /// How long it is to rest after its last call.
    fn rest_time(&self) -> Option<Duration> {
        let more = self.failures.checked_sub(limits::PLUGIN_FAILURES)?;
        Some(limits::PLUGIN_REST.saturating_mul(1 << more.min(16)).min(limits::PLUGIN_LONGEST_REST))
    }

    fn is_resting(&mut self) -> bool {
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        if !rests && self.rests_until.take().is_some() {
            self.stats.set_resting(false);
        }
        rests
    }

    /// Whether it is slow and had one lately: it has a fifth of the time at most, however slow it is.
    fn is_passed_over(&mut self, closing: bool) -> bool {
        let Some(passed) = &mut self.passed else { return false };
        let pause = limits::CHANGER_TIME.max(self.took.saturating_mul(4));
        let lately = self.ended.is_some_and(|ended| ended.elapsed() < pause);
        if closing || lately {
            *passed = passed.saturating_add(1);
        }
        closing || lately
    }

    /// After a call. A slow one that would have done all of `since`'s in half of that time is slow no more.
    fn look_again(&mut self, since: Duration) {
        let Some(passed) = self.passed else {
            // One call that took long for once says little.
            self.took = if self.took.is_zero() { self.last } else { (self.took * 3 + self.last) / 4 };
            return;
        };
        self.took = self.last;
        let all = self.took.saturating_mul(passed.saturating_add(1));
        self.passed = (all.saturating_mul(2) > since).then_some(0);
    }

    fn say_slow(&mut self, waiting: u32) {
        if self.said_slow.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            self.said_slow = Some(Instant::now());
            log::warn!(
                "plugin {}: it takes {} ms, and {waiting} transactions wait: it does not get all of them; make it faster",
                self.name(),
                self.took.as_millis(),
            );
        }
    }

    fn make_changes(&mut self, transaction: &mut Transaction, editor: &mut Editor) {
        if transaction.changes().is_empty() {
            return;
        }
        let began = Instant::now();
        let asked = transaction.changes().len() as u64;
        let refused = editor.apply(transaction);
        self.last += began.elapsed();
        self.stats.changes.add(asked.saturating_sub(refused.len() as u64));
        self.stats.refused.add(refused.len() as u64);
        if let Some(why) = refused.first()
            && self.said_refused.is_none_or(|said| said.elapsed() > SAY_AGAIN)
        {
            self.said_refused = Some(Instant::now());
            log::warn!("plugin {}: {} changes could not be made, the first: {why}", self.name(), refused.len());
        }
    }

    fn stop(&mut self) {
        self.call("stop", |plugin| {
            plugin.stop();
            Ok(())
        });
    }
}

/// The result, or what went wrong, a panic included. After a panic a plugin is called again: its own state is its own
/// risk, nobody else's.
pub(crate) fn guarded(run: impl FnOnce() -> Result<(), PluginError>) -> Result<(), PluginError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic)).into()))
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
