//! An agent: measures the load of this machine and judges it. Here it is run by hand; a program that runs agents calls it
//! at its period.

use std::error::Error;
use std::time::Duration;

use gmetad_core::agent::{Agent, AgentError, Context, History, Measurement, State, Status};
use gmetad_core::source::Stop;

/// The load average, against a limit for each processor.
struct Load {
    warn: f64,
}

impl Agent for Load {
    fn name(&self) -> &str {
        "load"
    }

    fn description(&self) -> &str {
        "Load average"
    }

    fn measure(&mut self, _context: &Context) -> Result<Measurement, AgentError> {
        let text = std::fs::read_to_string("/proc/loadavg")?;
        let mut numbers = text.split(' ').map(str::parse::<f64>);
        let mut next = || numbers.next().ok_or("/proc/loadavg is shorter than expected");
        Ok(Measurement::new().number("one", next()??).number("five", next()??).number("fifteen", next()??))
    }

    fn check_status(&self, history: &History<'_>) -> Status {
        match history.number("five") {
            None => Status::default(),
            Some(load) if load > self.warn => Status::new(State::Warn, format!("{load} is over {}", self.warn)),
            Some(_) => Status::ok(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let processors = std::thread::available_parallelism()?.get();
    let mut agent = Load { warn: processors as f64 };
    let now = gmetad_core::now();
    let context = Context { now, deadline: Duration::from_secs(10), stop: Stop::default() };
    let measurement = agent.measure(&context).map_err(|error| error.to_string())?;
    for (field, value) in measurement.fields() {
        println!("{field}: {value:?}");
    }
    let history = History { now, last: Some((now, &measurement)), before: None, status: &Status::default() };
    println!("{} is {}", agent.description(), agent.check_status(&history));
    Ok(())
}
