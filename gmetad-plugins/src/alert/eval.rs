//! What a condition says of a host. Nothing here does I/O, and it takes as long as the condition is long.

use std::borrow::Cow;
use std::cmp::Ordering;

use gmetad_core::model::{Host, Metric, UnixTime};
use gmetad_core::summary::Summary;

use super::ast::{Binary, Comparison, Expr, Figure, Function, Variable};
use super::poll::current;

/// What a condition is about.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) source: &'a str,
    pub(crate) summary: &'a Summary,
    pub(crate) now: UnixTime,
    /// The host, or without one the cluster, is down.
    pub(crate) down: bool,
    pub(crate) host: Option<&'a Host>,
    pub(crate) metric: Option<Metric<'a>>,
}

/// A value while it is computed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Number(f64),
    Text(Cow<'a, str>),
    Truth(bool),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unknown<'a> {
    /// The host, or the summary, has no metric of that name.
    Missing(&'a str),
    /// It makes no sense with these values.
    Senseless(&'static str),
}

impl std::fmt::Display for Unknown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "there is no metric {name:?}"),
            Self::Senseless(text) => f.write_str(text),
        }
    }
}

type Evaluated<'a> = Result<Value<'a>, Unknown<'a>>;

const NO_LIST: Unknown<'static> = Unknown::Senseless("a list can only stand behind in");
const NO_NUMBER: Unknown<'static> = Unknown::Senseless("a text stands where a number is needed");
const TOO_LONG: Unknown<'static> = Unknown::Senseless("a text is too long");
/// Bytes of a text that is made of texts.
const LONGEST: usize = 64 << 10;
/// Bytes of a value that is put into a text.
const LONGEST_FILLED: usize = 4 << 10;

/// Whether the condition holds.
pub(crate) fn holds<'a>(expr: &'a Expr, facts: &Facts<'a>) -> Result<bool, Unknown<'a>> {
    Ok(value(expr, facts)?.is_true())
}

impl Value<'_> {
    fn is_true(&self) -> bool {
        match self {
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Truth(truth) => *truth,
        }
    }

    /// True counts as 1, as in Python.
    fn number(&self) -> Result<f64, Unknown<'static>> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Truth(truth) => Ok(f64::from(u8::from(*truth))),
            Self::Text(_) => Err(NO_NUMBER),
        }
    }
}

fn number<'a>(number: f64) -> Evaluated<'a> {
    if number.is_nan() { Err(Unknown::Senseless("the value is not a number (nan)")) } else { Ok(Value::Number(number)) }
}

/// VAL: a number if it is one, whatever TYPE says.
pub(crate) fn metric_value(metric: Metric<'_>) -> Evaluated<'_> {
    if metric.def().kind().is_numeric() {
        return number(metric.number());
    }
    match metric.value().trim().parse::<f64>() {
        Ok(value) if value.is_finite() => number(value),
        _ => Ok(Value::Text(Cow::Borrowed(metric.value()))),
    }
}

fn value<'a>(expr: &'a Expr, facts: &Facts<'a>) -> Evaluated<'a> {
    match expr {
        Expr::Number(value) => Ok(Value::Number(*value)),
        Expr::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
        Expr::Template(text) => {
            let metric = facts.metric.ok_or(Unknown::Missing("$val"))?;
            match metric.value() {
                value if **text == *"$val" => Ok(Value::Text(Cow::Borrowed(value))),
                value if value.len() > LONGEST_FILLED => Err(TOO_LONG),
                value => Ok(Value::Text(Cow::Owned(text.replace("$val", value)))),
            }
        }
        Expr::Truth(truth) => Ok(Value::Truth(*truth)),
        Expr::Variable(name) => variable(*name, facts),
        Expr::Metric(name) => {
            let metric = facts.host.and_then(|host| current(host, name, facts.now));
            metric_value(metric.ok_or(Unknown::Missing(name))?)
        }
        Expr::Summary(figure, name) => summary(*figure, name, facts.summary),
        Expr::Not(of) => Ok(Value::Truth(!value(of, facts)?.is_true())),
        Expr::Negative(of) => number(-value(of, facts)?.number()?),
        Expr::Binary(operator, left, right) => binary(*operator, value(left, facts)?, value(right, facts)?),
        // As in Python: the rest is not looked at, and the value is the last one that was.
        Expr::All(all) => chain(all, facts, false),
        Expr::Any(any) => chain(any, facts, true),
        Expr::Compare(first, others) => {
            let mut left = value(first, facts)?;
            for (comparison, right) in others {
                if matches!(comparison, Comparison::In | Comparison::NotIn) {
                    let is_in = is_in(&left, right, facts)?;
                    return Ok(Value::Truth(is_in == (*comparison == Comparison::In)));
                }
                let right = value(right, facts)?;
                if !compare(*comparison, &left, &right)? {
                    return Ok(Value::Truth(false));
                }
                left = right;
            }
            Ok(Value::Truth(true))
        }
        Expr::List(_) => Err(NO_LIST),
        Expr::Call(function, arguments) => call(*function, arguments, facts),
    }
}

fn chain<'a>(all: &'a [Expr], facts: &Facts<'a>, stop_at: bool) -> Evaluated<'a> {
    let mut last = Value::Truth(!stop_at);
    for expr in all {
        last = value(expr, facts)?;
        if last.is_true() == stop_at {
            break;
        }
    }
    Ok(last)
}

fn variable<'a>(name: Variable, facts: &Facts<'a>) -> Evaluated<'a> {
    let text = |text: &'a str| Ok(Value::Text(Cow::Borrowed(text)));
    let host = || facts.host.ok_or(Unknown::Missing("$host"));
    let metric = || facts.metric.ok_or(Unknown::Missing("$val"));
    match name {
        Variable::Val => metric_value(metric()?),
        Variable::Name => text(metric()?.name()),
        Variable::Units => Ok(Value::Text(metric()?.def().units())),
        Variable::Tn => match facts.metric {
            Some(metric) => number(metric.tn(facts.now).into()),
            None => number(host()?.tn(facts.now).into()),
        },
        Variable::Age => number(host()?.tn(facts.now).into()),
        Variable::Host => text(host()?.name()),
        Variable::Cluster => text(facts.cluster),
        Variable::Source => text(facts.source),
        Variable::Down => Ok(Value::Truth(facts.down)),
        Variable::HostsUp => number(facts.summary.hosts_up() as f64),
        Variable::HostsDown => number(facts.summary.hosts_down() as f64),
    }
}

fn summary<'a>(figure: Figure, name: &'a str, summary: &Summary) -> Evaluated<'a> {
    let metric = summary.metric(name).filter(|metric| metric.num() > 0).ok_or(Unknown::Missing(name))?;
    match figure {
        Figure::Sum => number(metric.sum()),
        Figure::Num => number(metric.num() as f64),
        Figure::Avg => number(metric.sum() / metric.num() as f64),
    }
}

fn binary<'a>(operator: Binary, left: Value<'a>, right: Value<'a>) -> Evaluated<'a> {
    if let (Binary::Add, Value::Text(left), Value::Text(right)) = (operator, &left, &right) {
        if left.len() + right.len() > LONGEST {
            return Err(TOO_LONG);
        }
        return Ok(Value::Text(Cow::Owned(format!("{left}{right}"))));
    }
    let (left, right) = (left.number()?, right.number()?);
    let divisor = match operator {
        Binary::Div | Binary::Floor | Binary::Rest => right,
        // 1 / left ** -right.
        Binary::Power if right < 0.0 => left,
        _ => 1.0,
    };
    if divisor == 0.0 {
        return Err(Unknown::Senseless("division by zero"));
    }
    number(match operator {
        Binary::Add => left + right,
        Binary::Sub => left - right,
        Binary::Mul => left * right,
        Binary::Div => left / right,
        Binary::Floor => (left / right).floor(),
        // With the sign of the right side, as in Python.
        Binary::Rest => left - right * (left / right).floor(),
        Binary::Power => left.powf(right),
    })
}

fn order<'a>(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, Unknown<'a>> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Ok(left.as_ref().cmp(right.as_ref())),
        (Value::Text(_), _) | (_, Value::Text(_)) => {
            Err(Unknown::Senseless("a text is compared with a number: write '$val' to compare texts"))
        }
        _ => left.number()?.partial_cmp(&right.number()?).ok_or(NO_NUMBER),
    }
}

fn compare<'a>(comparison: Comparison, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Unknown<'a>> {
    let order = order(left, right)?;
    Ok(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual | Comparison::Unequal => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::More => order.is_gt(),
        Comparison::AtMost => order.is_le(),
        Comparison::AtLeast => order.is_ge(),
        Comparison::In | Comparison::NotIn => return Err(NO_LIST),
    })
}

/// Whether a list has an equal, or a text the part.
fn is_in<'a>(left: &Value<'a>, right: &'a Expr, facts: &Facts<'a>) -> Result<bool, Unknown<'a>> {
    let Expr::List(list) = right else {
        return match (left, value(right, facts)?) {
            (Value::Text(part), Value::Text(text)) => Ok(text.contains(part.as_ref())),
            _ => Err(Unknown::Senseless("in needs texts on both sides, or a list such as (1, 2) behind it")),
        };
    };
    for expr in list {
        // Another kind of thing is another thing.
        if order(left, &value(expr, facts)?).is_ok_and(Ordering::is_eq) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn call<'a>(function: Function, arguments: &'a [Expr], facts: &Facts<'a>) -> Evaluated<'a> {
    let Some((first, others)) = arguments.split_first() else { return Err(NO_NUMBER) };
    let first = value(first, facts)?;
    match function {
        Function::Min | Function::Max => {
            let mut best = first.number()?;
            for other in others {
                let other = value(other, facts)?.number()?;
                best = if function == Function::Min { best.min(other) } else { best.max(other) };
            }
            number(best)
        }
        Function::Abs => number(first.number()?.abs()),
        Function::Float | Function::Int => {
            let found = match &first {
                Value::Text(text) => text.trim().parse().map_err(|_| NO_NUMBER)?,
                other => other.number()?,
            };
            number(if function == Function::Int { found.trunc() } else { found })
        }
        Function::Str => Ok(Value::Text(match first {
            Value::Text(text) => text,
            Value::Number(number) => Cow::Owned(number.to_string()),
            Value::Truth(truth) => Cow::Borrowed(if truth { "True" } else { "False" }),
        })),
        Function::Len => match first {
            Value::Text(text) => number(text.chars().count() as f64),
            _ => Err(Unknown::Senseless("len() takes a text")),
        },
        Function::Round => {
            let digits = others.first().map_or(Ok(0.0), |digits| value(digits, facts)?.number())?;
            let power = 10f64.powi(digits.clamp(-300.0, 300.0) as i32);
            number((first.number()? * power).round() / power)
        }
        Function::Contains => match (first, others.first().map(|part| value(part, facts)).transpose()?) {
            (Value::Text(text), Some(Value::Text(part))) => Ok(Value::Truth(text.contains(part.as_ref()))),
            _ => Err(Unknown::Senseless("contains() takes two texts")),
        },
    }
}
