//! Conditions: what they mean, and what is said of those that mean nothing.

use proptest::prelude::*;

use super::super::ast::Scope;
use super::super::eval::{Facts, holds};
use super::super::lexer::LONGEST;
use super::super::parser::parse;
use super::{Lab, START};

/// Of a host with `load_one` 6.5, `os` Linux, `count` "12" as text, `zero` 0; the rule's metric is the one given.
fn answer(metric: &str, condition: &str) -> Result<bool, String> {
    let mut lab = Lab::new("metricrule none \"1\" \"m\"");
    lab.poll(&[
        (
            "n1",
            3,
            0,
            &[
                ("load_one", "float", "6.5"),
                ("os", "string", "Linux"),
                ("count", "string", "12"),
                ("zero", "uint32", "0"),
                ("bad", "float", "nan"),
                ("disk.free", "double", "1e3"),
            ],
        ),
        ("n2", 500, 0, &[("load_one", "float", "1")]),
    ]);
    let cluster = lab.last.unwrap();
    let host = cluster.host("n1").unwrap();
    let condition = parse(condition, Scope::Metric).unwrap_or_else(|m| panic!("{condition}: {} at {}", m.text, m.at));
    let facts = Facts {
        cluster: "lab",
        source: "lab source",
        summary: cluster.summary(),
        now: START + 20,
        down: false,
        host: Some(host),
        metric: host.metric(metric),
    };
    holds(&condition.expr, &facts).map_err(|unknown| unknown.to_string())
}

#[test]
fn conditions_mean_what_python_means() {
    for condition in [
        "$val > 5",
        "$val>5 and $val<10",
        "not $val < 5",
        "not ($val < 5 or $val > 10)",
        "($val > 5) and not ($val == 7)",
        "$val != 5 and $val <> 5",
        "1 < $val < 7 <= 7",
        "not 1 < $val < 2",
        "(1 < 2) < 2",
        "$val >= 6.5 && !($val > 6.5) || false",
        "1 or 1/0",
        "True and (false or true)",
        "2 + 3 * 4 == 14 and (2 + 3) * 4 == 20",
        "2 ** 3 ** 2 == 512 and -2 ** 2 == -4 and 2 ** -1 == .5",
        "7 // 2 == 3 and -7 // 2 == -4 and -7 % 3 == 2 and 7 % -3 == -2",
        "10 - 2 - 3 == 5 and 16 / 4 / 2 == 2",
        "0x1F == 31 and 1e3 == 1000.",
        "'$val' == '6.5' and 'v$val!' == 'v6.5!'",
        "$val in (1, 6.5) and $val not in [1, 2] and $val in (6.5,)",
        "'in' in 'Linux' and 'q' not in 'Linux'",
        "$metric.os == 'Linux' and metric('os') > 'Lima'",
        "$metric.count == 12 and metric(\"count\") / 2 == 6",
        "$metric.disk.free == 1000",
        "$name == 'load_one' and $units == '%' and $host == 'n1' and $cluster == 'lab' and $source == 'lab source'",
        "$tn == 12 and $age == 8 and not $down",
        "$hosts_up == 1 and $hosts_down == 1",
        "sum('load_one') == 6.5 and num('load_one') == 1 and avg('load_one') == $val",
        "min(3, $val) == 3 and max(1, 2, $val) == $val and abs(0 - $val) == $val and round(2.345, 1) == 2.3",
        "float('$val') == 6.5 and int('12') == 12 and str($val) == '6.5' and len('abc') == 3 and contains('abc', 'b')",
        "true + true == 2",
        "$val in ((1, 6.5)) and ($val in (1, 2)) == false and 0 ** 0 == 1",
    ] {
        assert_eq!(answer("load_one", condition), Ok(true), "{condition}");
    }
    for condition in ["0", "''", "$val", "false", "$val > 0", "1 > 2 > 1/0", "0 and 1/0", "$val in ()", "not '0'"] {
        assert_eq!(answer("zero", condition), Ok(false), "{condition}");
    }
    assert_eq!(answer("os", "'$val' == 'Linux' and $val != 'AIX'"), Ok(true));
}

#[test]
fn what_makes_no_sense_is_unknown_and_says_why() {
    for (metric, condition, why) in [
        ("load_one", "$metric.no_such > 1", "\"no_such\""),
        ("load_one", "sum('os') > 1", "\"os\""),
        ("load_one", "not metric('no_such')", "\"no_such\""),
        ("os", "$val > 5", "a text is compared with a number"),
        ("os", "$val + 1 > 5", "a number is needed"),
        ("load_one", "$val / 0 > 1", "division by zero"),
        ("load_one", "$val % $metric.zero > 1", "division by zero"),
        ("load_one", "(-8) ** .5 > 1", "nan"),
        ("bad", "$val < 5 or true", "nan"),
        ("load_one", "$metric.zero ** -1 > 5", "division by zero"),
        ("load_one", "$val in 5", "in needs texts"),
        ("load_one", "float('x') > 1", "a number is needed"),
    ] {
        let unknown = answer(metric, condition).expect_err(condition);
        assert!(unknown.contains(why), "{condition}: {unknown}");
    }
}

#[test]
fn mistakes_are_named_with_their_place_and_remedy() {
    for (condition, at, word) in [
        ("__import__('os').system('id')", 0, "no function \"__import__\""),
        ("$val > 5 or __import__('os')", 12, "no function"),
        ("$val.__class__ > 1", 0, "there is no $val.__class__"),
        ("$value > 5", 0, "there is no $value"),
        ("$val > 5 foo", 9, "foo is not expected"),
        ("$val >", 6, "a value is missing"),
        ("$val > > 5", 7, "a value is missing before it"),
        ("($val > 5", 9, "\")\" is missing"),
        ("$val > 5)", 8, ") is not expected"),
        ("val > 5", 0, "write $val"),
        ("load_one > 5", 0, "$metric.NAME"),
        ("$val = 5", 5, "write =="),
        ("min() > 1", 0, "takes 1 to 100 values, not 0"),
        ("metric($val) > 1", 7, "takes the name"),
        ("$val(1)", 4, "only functions"),
        ("", 0, "ends too early"),
        ("lambda: 0", 0, "\"lambda\""),
        ("$val if 1 else 2", 5, "if is not expected"),
        ("1 1", 2, "an operator"),
        ("1 ; 2", 2, "';' means nothing"),
        ("$val.5 > 1", 0, "there is no $val.5"),
        ("$val in (9.5, 2) == 99", 17, "in cannot be part of a chain"),
        ("1 < $val in (1, 2)", 9, "in cannot be part of a chain"),
        ("1 < $val not in (1, 2)", 9, "in cannot be part of a chain"),
        ("$val in (1, 2) in (3, 4)", 15, "in cannot be part of a chain"),
        ("(1,2) > 3", 0, "only stand behind in"),
        ("3 < (1, 2)", 4, "only stand behind in"),
        ("[] == []", 0, "only stand behind in"),
        ("()", 0, "only stand behind in"),
        ("$val > 1 and ()", 13, "only stand behind in"),
        ("not [1]", 4, "only stand behind in"),
        ("-(1, 2) > 1", 1, "only stand behind in"),
        ("(1, 2) in (1, 2)", 0, "only stand behind in"),
        ("$val in (1, (2, 3))", 12, "only stand behind in"),
        ("$val in ((2, 3), 1)", 9, "only stand behind in"),
        ("$val in (1, 2) + 3", 8, "only stand behind in"),
        ("max([1, 2]) > 1", 4, "only stand behind in"),
    ] {
        let mistake = parse(condition, Scope::Metric).expect_err(condition);
        assert_eq!(mistake.at, at, "{condition}: {}", mistake.text);
        assert!(mistake.text.contains(word), "{condition}: {}", mistake.text);
    }
    assert!(parse("$val > 1", Scope::Host).is_err() && parse("$metric.a > 1 and $down", Scope::Host).is_ok());
    assert!(parse("$metric.a > 1", Scope::Cluster).is_err() && parse("sum('a') > 1", Scope::Cluster).is_ok());
}

#[test]
fn depth_and_length_are_bounded() {
    for deep in ["(", "-", "not ", "!", "[", "min(", "1+", "1<(", "1 and (", "2**", "1,(", "+"] {
        let text = deep.repeat(LONGEST / deep.len());
        assert!(parse(&text, Scope::Metric).is_err(), "{deep}");
    }
    let wide = format!("$val > 1{}", " and $val > 1".repeat(300));
    assert!(parse(&wide, Scope::Metric).is_ok(), "width is not depth");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text, Scope::Metric);
    }

    #[test]
    fn no_mixture_of_its_own_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "$val", "$name", "$down", "$metric.os", "$metric.zero", "metric('load_one')", "sum('load_one')", "1", "0", "1e308", "'x'", "'$val'",
        "(", ")", "[", "]", ",", "and", "or", "not", "!", "in", "not in", "<", "<=", "==", "!=", "+", "-", "*", "/", "//", "%", "**",
        "min(", "max(", "abs(", "str(", "int(", "len(", "round(", "contains(", "true",
    ]), 0..24)) {
        let text = words.join(" ");
        if let Ok(condition) = parse(&text, Scope::Metric) {
            // The answer is one of three; what matters is that there is one.
            let lab = thread_lab();
            let host = lab.host("n1").unwrap();
            for metric in ["load_one", "os"] {
                let facts = Facts {
                    cluster: "lab", source: "s", summary: lab.summary(), now: START + 20, down: false,
                    host: Some(host), metric: host.metric(metric),
                };
                let _ = holds(&condition.expr, &facts);
            }
        }
    }
}

fn thread_lab() -> std::sync::Arc<gmetad_core::model::Cluster> {
    thread_local! {
        static LAB: std::sync::Arc<gmetad_core::model::Cluster> = {
            let mut lab = Lab::new("metricrule none \"1\" \"m\"");
            lab.poll(&[("n1", 3, 0, &[("load_one", "float", "6.5"), ("os", "string", "Linux"), ("zero", "uint32", "0")])]);
            lab.last.unwrap()
        };
    }
    LAB.with(std::sync::Arc::clone)
}
