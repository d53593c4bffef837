//! A condition's tokens, understood: a Pratt parser with Python's order of operators.

use super::ast::{Binary, Comparison, Condition, Expr, Figure, Function, Scope, Variable};
use super::lexer::{Mistake, Token, tokens};

/// How deep a condition may be nested.
const DEEPEST: usize = 64;

pub(crate) fn parse(text: &str, scope: Scope) -> Result<Condition, Mistake> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0, scope, asks_down: false };
    let (expr, _) = parser.value(OR)?;
    match parser.peek() {
        Token::End => Ok(Condition { expr, asks_down: parser.asks_down }),
        Token::Other(c) => Err(parser.mistake(format!("{c:?} means nothing here: remove it"))),
        Token::Sign("(") => Err(parser.mistake("only functions can be called: see \"Alerts\" in docs/plugins.md")),
        other => {
            let text = format!("{other} is not expected here: an operator such as > or and is missing before it");
            Err(parser.mistake(text))
        }
    }
}

/// How strongly operators bind.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const SIGN: u8 = 7;
const POWER: u8 = 8;

/// `expr` begins at `at`.
fn no_list(expr: &Expr, at: usize) -> Result<(), Mistake> {
    match expr {
        Expr::List(_) => Err(Mistake::new(at, "a list can only stand behind in: $val in (1, 2)")),
        _ => Ok(()),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    scope: Scope,
    asks_down: bool,
}

/// An expression and how deep it is; evaluation goes no deeper.
type Parsed = Result<(Expr, usize), Mistake>;

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |(at, _)| *at)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn mistake(&self, text: impl Into<String>) -> Mistake {
        Mistake::new(self.at(), text)
    }

    /// Takes the sign if it comes next.
    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(own) if *own == sign);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Mistake> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(self.mistake(format!("{:?} is missing before {}", sign, self.peek())))
    }

    fn level(&self, depth: usize) -> Result<usize, Mistake> {
        if depth < DEEPEST {
            return Ok(depth + 1);
        }
        Err(self.mistake(format!("the condition is nested deeper than {DEEPEST}: make two rules")))
    }

    /// What binds at least as strongly as `least`, and is no list.
    fn value(&mut self, least: u8) -> Parsed {
        let at = self.at();
        let parsed = self.expression(least)?;
        no_list(&parsed.0, at)?;
        Ok(parsed)
    }

    /// What binds at least as strongly as `least`; a list, too, which can stand only behind `in`.
    fn expression(&mut self, least: u8) -> Parsed {
        self.depth = self.level(self.depth)?;
        let at = self.at();
        let mut left = self.prefix()?;
        while let Some((operator, binds)) = self.operator()
            && binds >= least
        {
            no_list(&left.0, at)?;
            left = self.infix(left, operator, binds)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// The operator that comes next and how strongly it binds.
    fn operator(&self) -> Option<(String, u8)> {
        let (text, binds) = match self.peek() {
            Token::Word(word) => match word.as_str() {
                "or" => ("or", OR),
                "and" => ("and", AND),
                "in" => ("in", COMPARE),
                "not" if matches!(self.tokens.get(self.next + 1), Some((_, Token::Word(word))) if word == "in") => {
                    ("not in", COMPARE)
                }
                _ => return None,
            },
            Token::Sign(sign) => match *sign {
                "||" => ("or", OR),
                "&&" => ("and", AND),
                "==" | "!=" | "<>" | "<" | ">" | "<=" | ">=" => (*sign, COMPARE),
                "+" | "-" => (*sign, SUM),
                "*" | "/" | "//" | "%" => (*sign, PRODUCT),
                "**" => (*sign, POWER),
                _ => return None,
            },
            _ => return None,
        };
        Some((text.to_owned(), binds))
    }

    fn infix(&mut self, (left, deep): (Expr, usize), operator: String, binds: u8) -> Parsed {
        let is_in = operator == "in" || operator == "not in";
        if let Expr::Compare(_, others) = &left
            && binds == COMPARE
            && (is_in || others.iter().any(|(other, _)| matches!(other, Comparison::In | Comparison::NotIn)))
        {
            return Err(self.mistake("in cannot be part of a chain of comparisons: write and between them"));
        }
        self.next += if operator == "not in" { 2 } else { 1 };
        // A power takes what is right of it first, and -1 may stand there; all others what is left of them.
        let least = if binds == POWER { SIGN } else { binds + 1 };
        let (right, right_deep) = if is_in { self.expression(least)? } else { self.value(least)? };
        // A chain gets longer, not deeper.
        let longer = deep.max(self.level(right_deep)?);
        let deep = deep.max(right_deep);
        if let Some(comparison) = Comparison::of(&operator) {
            return Ok(match left {
                Expr::Compare(first, mut others) => {
                    others.push((comparison, right));
                    (Expr::Compare(first, others), longer)
                }
                left => (Expr::Compare(Box::new(left), vec![(comparison, right)]), self.level(deep)?),
            });
        }
        if binds <= AND {
            let (mut all, deep) = match left {
                Expr::All(all) if binds == AND => (all, longer),
                Expr::Any(any) if binds == OR => (any, longer),
                left => (vec![left], self.level(deep)?),
            };
            all.push(right);
            return Ok((if binds == AND { Expr::All(all) } else { Expr::Any(all) }, deep));
        }
        let Some(binary) = Binary::of(&operator) else { return Err(self.mistake("an operator is missing")) };
        Ok((Expr::Binary(binary, Box::new(left), Box::new(right)), self.level(deep)?))
    }

    fn prefix(&mut self) -> Parsed {
        let at = self.at();
        match self.take() {
            Token::Number(number) => Ok((Expr::Number(number), 1)),
            Token::Text(text) => {
                let has_value = text.contains("$val") && self.scope == Scope::Metric;
                let text = text.into_boxed_str();
                Ok((if has_value { Expr::Template(text) } else { Expr::Text(text) }, 1))
            }
            Token::Variable(name) => self.variable(at, &name),
            Token::Word(word) => self.word(at, word),
            Token::Sign("!") => self.not(),
            Token::Sign("-") => {
                let (expr, deep) = self.value(SIGN)?;
                Ok((Expr::Negative(Box::new(expr)), self.level(deep)?))
            }
            Token::Sign("+") => self.value(SIGN),
            Token::Sign("(") => self.parentheses(),
            Token::Sign("[") => {
                let (list, deep) = self.list("]")?;
                Ok((Expr::List(list), self.level(deep)?))
            }
            Token::End => Err(Mistake::new(at, "the condition ends too early: a value is missing")),
            other => Err(Mistake::new(at, format!("{other} is not expected here: a value is missing before it"))),
        }
    }

    fn not(&mut self) -> Parsed {
        let (expr, deep) = self.value(NOT)?;
        Ok((Expr::Not(Box::new(expr)), self.level(deep)?))
    }

    /// `(a)`, or a list `(a, b)`.
    fn parentheses(&mut self) -> Parsed {
        if self.takes(")") {
            return Ok((Expr::List(Vec::new()), 1));
        }
        let at = self.at();
        let (first, deep) = self.expression(OR)?;
        if self.takes(")") {
            // What follows must not become part of a chain inside: (1 < 2) < 3.
            let chain = matches!(first, Expr::Compare(..));
            return Ok((if chain { Expr::Any(vec![first]) } else { first }, self.level(deep)?));
        }
        if !self.takes(",") {
            self.expect(")")?;
        }
        no_list(&first, at)?;
        let (mut list, more) = self.list(")")?;
        list.insert(0, first);
        Ok((Expr::List(list), self.level(deep.max(more))?))
    }

    /// Expressions up to `end`, with commas between them; one may stand behind the last.
    fn list(&mut self, end: &'static str) -> Result<(Vec<Expr>, usize), Mistake> {
        let (mut list, mut deepest) = (Vec::new(), 0);
        while !self.takes(end) {
            let (expr, deep) = self.value(OR)?;
            list.push(expr);
            deepest = deepest.max(deep);
            if !self.takes(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok((list, deepest))
    }

    fn word(&mut self, at: usize, word: String) -> Parsed {
        match word.as_str() {
            "not" => return self.not(),
            "true" | "True" => return Ok((Expr::Truth(true), 1)),
            "false" | "False" => return Ok((Expr::Truth(false), 1)),
            _ => {}
        }
        if !self.takes("(") {
            let text = match Variable::of(&word) {
                Some(_) => format!("{word} is a variable: write ${word}"),
                None => format!("{word:?} is not known: a metric is $metric.NAME, a text stands in '...'"),
            };
            return Err(Mistake::new(at, text));
        }
        if word == "metric" || Figure::of(&word).is_some() {
            return self.of_name(at, &word);
        }
        let Some(function) = Function::of(&word) else {
            let text = format!(
                "there is no function {word:?}: min, max, abs, float, int, str, len, round, contains, metric, sum, num, avg are there"
            );
            return Err(Mistake::new(at, text));
        };
        let (arguments, deep) = self.list(")")?;
        let (from, to) = function.arguments();
        if !(from..=to).contains(&arguments.len()) {
            let wanted = if from == to { from.to_string() } else { format!("{from} to {to}") };
            return Err(Mistake::new(at, format!("{word}() takes {wanted} values, not {}", arguments.len())));
        }
        Ok((Expr::Call(function, arguments), self.level(deep)?))
    }

    /// `metric('name')`, `sum('name')`: the name stands there as it is, so that a rule can be checked.
    fn of_name(&mut self, at: usize, word: &str) -> Parsed {
        let name = match self.peek() {
            Token::Text(name) if !name.is_empty() && name.len() <= 1000 => name.clone().into_boxed_str(),
            _ => return Err(self.mistake(format!("{word}() takes the name of a metric: {word}('load_one')"))),
        };
        self.next += 1;
        self.expect(")")?;
        match Figure::of(word) {
            Some(figure) => Ok((Expr::Summary(figure, name), 1)),
            None => self.metric(at, name),
        }
    }

    fn metric(&self, at: usize, name: Box<str>) -> Parsed {
        if self.scope == Scope::Cluster {
            let text = "a clusterrule sees no hosts: sum('name'), num('name') and avg('name') are there";
            return Err(Mistake::new(at, text));
        }
        Ok((Expr::Metric(name), 1))
    }

    fn variable(&mut self, at: usize, name: &str) -> Parsed {
        if let Some(metric) = name.strip_prefix("metric.").filter(|metric| !metric.is_empty()) {
            return self.metric(at, metric.into());
        }
        let Some(variable) = Variable::of(name) else {
            let text = format!(
                "there is no ${name}: $val $name $units $tn $age $host $cluster $source $down $hosts_up $hosts_down $metric.NAME are there"
            );
            return Err(Mistake::new(at, text));
        };
        let fits = match variable {
            Variable::Val | Variable::Name | Variable::Units => self.scope == Scope::Metric,
            Variable::Host | Variable::Tn | Variable::Age => self.scope != Scope::Cluster,
            _ => true,
        };
        if !fits {
            let what = if self.scope == Scope::Host { "hostrule" } else { "clusterrule" };
            return Err(Mistake::new(at, format!("a {what} has no ${name}: write a metricrule, or $metric.NAME")));
        }
        self.asks_down |= variable == Variable::Down;
        Ok((Expr::Variable(variable), 1))
    }
}
