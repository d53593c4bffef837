//! What a condition is made of.

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Metric,
    Host,
    Cluster,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Number(f64),
    Text(Box<str>),
    /// A text with `$val` in it, as conditions on texts had to be written for gmetad-python: `'$val' == 'OFF'`.
    Template(Box<str>),
    Truth(bool),
    Variable(Variable),
    Metric(Box<str>),
    Summary(Figure, Box<str>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    /// `a < b <= c`.
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    List(Vec<Expr>),
    Call(Function, Vec<Expr>),
}

macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $kind { $($variant),* }

        impl $kind {
            pub(crate) fn of(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

names!(Variable {
    Val = "val", Name = "name", Host = "host", Cluster = "cluster", Source = "source", Units = "units", Tn = "tn",
    Age = "age", Down = "down", HostsUp = "hosts_up", HostsDown = "hosts_down",
});
names!(Figure { Sum = "sum", Num = "num", Avg = "avg" });
names!(Function {
    Min = "min", Max = "max", Abs = "abs", Float = "float", Int = "int", Str = "str", Len = "len", Round = "round",
    Contains = "contains",
});
names!(Binary { Add = "+", Sub = "-", Mul = "*", Div = "/", Floor = "//", Rest = "%", Power = "**" });
names!(Comparison {
    Equal = "==", NotEqual = "!=", Unequal = "<>", Less = "<", More = ">", AtMost = "<=", AtLeast = ">=", In = "in",
    NotIn = "not in",
});

impl Function {
    /// How many arguments it takes: from, to.
    pub(crate) fn arguments(self) -> (usize, usize) {
        match self {
            Self::Min | Self::Max => (1, 100),
            Self::Abs | Self::Float | Self::Int | Self::Str | Self::Len => (1, 1),
            Self::Round => (1, 2),
            Self::Contains => (2, 2),
        }
    }
}

/// A condition that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) expr: Expr,
    /// It says itself what to think of a host, or cluster, that is down; else such a one is not looked at.
    pub(crate) asks_down: bool,
}
