//! The threads that run plugins.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::{io, mem};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::{Plugin, PluginError, Role, Transaction};
use crate::limits;
use crate::queue::Queue;
use crate::stats::Stats;

/// The plugins of a daemon, running.
pub(crate) struct Chain {
    queue: Arc<Queue<Transaction>>,
    subscribers: Arc<Mutex<Vec<Sender<Arc<Transaction>>>>>,
    sinks: Vec<Arc<Queue<Arc<Transaction>>>>,
    threads: Vec<JoinHandle<()>>,
    stats: Arc<Stats>,
}

impl Chain {
    /// Runs plugins that are configured and started. Changers keep the order they have here.
    pub(crate) fn start(plugins: Vec<Box<dyn Plugin>>, stats: &Arc<Stats>) -> io::Result<Self> {
        let (changers, sinks): (Vec<_>, Vec<_>) = plugins.into_iter().partition(|p| p.role() == Role::Changer);
        let mut chain = Self {
            queue: Arc::new(Queue::new(limits::CHAIN_QUEUE)),
            subscribers: Arc::default(),
            sinks: Vec::new(),
            threads: Vec::new(),
            stats: Arc::clone(stats),
        };
        for mut sink in sinks {
            let queue = Arc::new(Queue::<Arc<Transaction>>::new(limits::SINK_QUEUE));
            chain.sinks.push(Arc::clone(&queue));
            let stats = Arc::clone(stats);
            chain.spawn(sink.name().to_owned(), move || {
                while let Some(transaction) = queue.pop() {
                    // A sink only reads; its copy costs a few pointers.
                    let mut own = Transaction::clone(&transaction);
                    call(&mut *sink, "notify", &stats, |sink| sink.notify(&mut own));
                }
                call(&mut *sink, "stop", &stats, |sink| {
                    sink.stop();
                    Ok(())
                });
            })?;
        }
        let (queue, sinks, subscribers) =
            (Arc::clone(&chain.queue), chain.sinks.clone(), Arc::clone(&chain.subscribers));
        let stats = Arc::clone(stats);
        let mut changers = changers;
        chain.spawn("chain".to_owned(), move || {
            while let Some(mut transaction) = queue.pop() {
                for changer in &mut changers {
                    let before = transaction.clone();
                    if !call(&mut **changer, "notify", &stats, |changer| changer.notify(&mut transaction)) {
                        // Half a change is none.
                        transaction = before;
                    }
                }
                let key = transaction.key();
                let transaction = Arc::new(transaction);
                for sink in &sinks {
                    if sink.push(key, Arc::clone(&transaction)) {
                        stats.dropped.add(1);
                    }
                }
                subscribers.lock().retain(|subscriber| match subscriber.try_send(Arc::clone(&transaction)) {
                    Err(crossbeam_channel::TrySendError::Disconnected(_)) => false,
                    Err(crossbeam_channel::TrySendError::Full(_)) => {
                        stats.dropped.add(1);
                        true
                    }
                    Ok(()) => true,
                });
            }
            for changer in &mut changers {
                call(&mut **changer, "stop", &stats, |changer| {
                    changer.stop();
                    Ok(())
                });
            }
            sinks.iter().for_each(|sink| sink.close());
            subscribers.lock().clear();
        })?;
        Ok(chain)
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }

    /// Hands transactions to the plugins; never waits.
    pub(crate) fn notifier(&self) -> Box<dyn Fn(Transaction) + Send + Sync> {
        let (queue, stats) = (Arc::clone(&self.queue), Arc::clone(&self.stats));
        Box::new(move |transaction| {
            if queue.push(transaction.key(), transaction) {
                stats.dropped.add(1);
            }
        })
    }

    pub(crate) fn subscribe(&self, subscriber: Sender<Arc<Transaction>>) {
        self.subscribers.lock().push(subscriber);
    }

    /// Lets the plugins finish what they have, and ends them. The threads are the caller's to wait for.
    pub(crate) fn close(&mut self) -> Vec<JoinHandle<()>> {
        self.queue.close();
        mem::take(&mut self.threads)
    }
}

/// Calls a method of a plugin; false if it failed or panicked, which is logged and counted.
fn call(
    plugin: &mut dyn Plugin,
    method: &str,
    stats: &Stats,
    run: impl FnOnce(&mut dyn Plugin) -> Result<(), PluginError>,
) -> bool {
    let name = plugin.name().to_owned();
    // After a panic the plugin is called again: its own state is its own risk, nobody else's.
    let failure = match catch_unwind(AssertUnwindSafe(|| run(plugin))) {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("panicked: {}", panic_text(&*panic)),
    };
    stats.plugin_errors.add(1);
    log::error!("plugin {name}: {method}: {failure}");
    false
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
